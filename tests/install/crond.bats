#!/usr/bin/env bats
# A real cron daemon runs the lines that tmo-crontab prints, in a mount namespace with a spool of its own. Its clock goes
# ten times as fast as ours, so that a minute takes six seconds; what it runs has our clock.

load ../helper

setup() {
    [ "$(id -u)" -eq 0 ] && [ "$(uname)" = Linux ] || skip 'needs root, to give cron a spool of its own'
    "$ROOT/dev/need" cron faketime
    make_world
}

# crond: cron in the foreground, until the test ends; its pid is in $CRON.
crond() {
    mkdir "$W/etc"
    chmod 600 "$W/spool/$(id -un)"
    # shellcheck disable=SC2016 # the variables of that shell
    background unshare --mount sh -ec '
        mount --bind "$1/spool" /var/spool/cron/crontabs
        mount --bind "$1/etc" /etc/cron.d
        mount --bind /dev/null /etc/crontab
        mount -t tmpfs none /run
        exec faketime -f "+0 x10" sh -c "echo \$\$ >\"\$1/cron\"; exec cron -f" sh "$1"' sh "$W"
    eventually $LONG test -s "$W/cron"
    CRON=$(cat "$W/cron")
    JOBS+=("$CRON")
}

all_lines_ran() { [ "$(sql 'SELECT count(*) FROM heartbeat WHERE status <= 1')" -eq 5 ]; }

@test 'a batch goes from the queue to completed under cron, and a person is told' {
    setting notify_on '["completed"]'
    setting notify_after_s 0
    setting notify_command "'''cat >>$W/told'''"
    for name in shop blog; do
        project $name 'run echo "$PATH $LANG" >../env.txt' 'commit work.txt' 'done the work is done'
        enqueue $name -v 'test -e work.txt'
    done
    mkdir "$W/spool"
    echo 'SHELL=/bin/false' | cat - <(tmo-crontab) >"$W/spool/$(id -un)"
    crond
    eventually $LONG all_status completed
    eventually $LONG all_lines_ran
    eventually $LONG test -s "$W/told"
    kill "$CRON"
    eventually $LONG gone "$CRON"
    [ -z "$(unequal)" ]
    [ "$(cat "$W/env.txt")" = "$BIN:$(sed -n 's/^PATH="\(.*\)"$/\1/p' "$W/spool/$(id -un)") $LANG" ]
    jq -e .notify.text "$W/told" | grep -q 'is completed'
    want 0 tmo-log -k status
    out 'map(select(.project_id == 1).name) == ["enqueue", "start", "auth_required", "auth_complete", "setup_complete", "work_complete", "finalize"]'
    server_pid >/dev/null # cron has gone, its tmux server stays
}
