#!/usr/bin/env bats
# A real systemd of the user runs the units that tmo-crontab writes, in a mount and a cgroup namespace of its own.

load ../helper

setup() {
    [ "$(id -u)" -eq 0 ] && [ -x /usr/lib/systemd/systemd ] || skip 'needs root and systemd, to start one beside the own'
    unshare --mount sh -c 'mount -t cgroup2 none /sys/fs/cgroup && mkdir /sys/fs/cgroup/tmo-try && rmdir /sys/fs/cgroup/tmo-try' 2>/dev/null ||
        skip 'no control groups here'
    make_world
}

teardown() {
    [ -n "${W-}" ] || return 0
    end_world
    unshare --mount sh -c 'mount -t cgroup2 none /sys/fs/cgroup && find "/sys/fs/cgroup/tmo-$1" -depth -type d -exec rmdir {} +' sh $$
}

# systemd_of_the_user: it runs until the test ends; its pid is in $MANAGER.
systemd_of_the_user() {
    mkdir -m 700 "$W/run"
    export XDG_RUNTIME_DIR=$W/run
    # shellcheck disable=SC2016 # the variables of that shell
    background unshare --mount --cgroup sh -ec '
        mount -t cgroup2 none /sys/fs/cgroup
        mkdir "/sys/fs/cgroup/tmo-$2"
        echo $$ >"/sys/fs/cgroup/tmo-$2/cgroup.procs"
        mount -t tmpfs none /run
        mkdir -p /run/systemd/system
        echo $$ >"$1/manager"
        exec /usr/lib/systemd/systemd --user' sh "$W" $$
    eventually $LONG test -s "$W/manager"
    MANAGER=$(cat "$W/manager")
    JOBS+=("$MANAGER")
    eventually $LONG inside systemctl --user is-system-running
}

# inside COMMAND...: where that systemd is the one of the machine.
inside() { nsenter --target "$MANAGER" --mount --wdns="$PWD" "$@"; }

finished_by_a_unit() {
    inside systemctl --user start tmuxorch-complete.service
    all_status completed
}

@test 'the timers are set, a start leaves its tmux server behind, and a batch is finished' {
    project shop 'work 0.3' 'commit work.txt' 'done the work is done'
    enqueue shop -v 'test -e work.txt'
    systemd_of_the_user
    tmo-crontab --systemd "$HOME/.config/systemd/user" | grep '^systemctl' >"$W/lines" # loginctl is not for a namespace
    want 0 inside sh -e "$W/lines"
    want 0 inside systemctl --user list-timers --no-legend
    [ "$(grep -c 'tmuxorch-.*\.timer' "$W/out")" -eq 6 ]
    want 0 inside systemctl --user start tmuxorch-start.service
    status_is 1 processing
    server=$(server_pid)
    want 0 inside systemctl --user start tmuxorch-start.service # nothing is due: its 1 is no failure
    [ "$(inside systemctl --user is-active tmuxorch-start.service || true)" = inactive ]
    [ "$(server_pid)" = "$server" ]
    eventually $LONG finished_by_a_unit
    want 0 inside tmo-doctor
    out 'map(select(.check == "schedule" or .check == "cron_path" or .check == "cron_environment").ok) == [true, true, true]'
    setting no_such_key 1
    want 1 inside systemctl --user start tmuxorch-deliver.service
    [ -z "$(unequal)" ]
}
