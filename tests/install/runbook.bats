#!/usr/bin/env bats
# The runbook: each of its troubles is made, and the lines of its section are typed while cron's minutes go on.

load ../helper

setup() {
    make_world
    mkdir "$W/bin"
    # crontab(1) of a user who has nobody else's lines: a file.
    cat >"$W/bin/crontab" <<'END'
#!/bin/sh
case $1 in -l) cat ~/crontab.now ;; -) cat >~/crontab.new && mv ~/crontab.new ~/crontab.now ;; *) cat "$1" >~/crontab.now ;; esac
END
    chmod +x "$W/bin/crontab"
    PATH=$W/bin:$PATH
    { echo '5 * * * * true' && tmo-crontab; } >"$HOME/crontab.now"
}

# section HEADING: its lines are typed in a shell that knows nothing yet, after those at the top.
section() {
    { sed '/^## /,$d' "$ROOT/docs/runbook.md" && sed -n "/^## $1\$/,\$p" "$ROOT/docs/runbook.md" | sed '1d;/^## /,$d'; } >"$W/section.md"
    env -u TMO_DB -u TMO_SOCKET -u TMO_CONFIG python3 "$ROOT/tests/blocks.py" "$W/section.md" >"$W/typed" 2>&1 || fail "$(cat "$W/typed")"
}

# cron: minutes until the test ends, for as long as its lines are in the crontab.
cron() {
    while :; do
        ! grep -q tmo-crontab "$HOME/crontab.now" || minute
        sleep 0.1
    done
}

held_by() { tmo-hold | jq -es --arg cause "$1" 'any(.cause == $cause)' >/dev/null; }

# typed LINE: one of the lines that the section's blocks printed.
typed() { grep -qE "^$1" "$W/typed" || fail "not printed: $1
$(cat "$W/typed")"; }

@test 'login lost' {
    running shop commit login-lost commit 'done it is open'
    minutes_until $LONG held_by login
    background cron
    (sleep 1 && tmo-stub-agent auth login >/dev/null) 3>&- &
    section 'Login lost'
    typed 'agent/stub: Invalid API key'
    typed 'shop-1:0 logged in by oauth_token'
    eventually $LONG status_is 1 completed
}

@test 'usage limit' {
    running shop commit 'limit 4' commit 'done it is open'
    minutes_until $LONG held_by limit
    project next
    enqueue next
    section 'Usage limit'
    typed 'agent/stub until 20'
    want 0 tmo-project 2
    out '.[0].agent == "codex" and .[0].status == "queued"'
}

@test 'failed, but alive' {
    running shop 'work 2' commit 'done it is open'
    want 0 tmo-project -E error -w 'by mistake' 1
    section 'Failed, but alive'
    typed 'user/.*: by mistake'
    typed 'shop-1:0 (working|idle)'
    typed recovering
    typed processing
    minutes_until $LONG status_is 1 completed
}

@test 'everything stuck: cron is dead, all is held, and the tmux server was killed' {
    running shop commit 'work 1000'
    minute
    sql 'UPDATE heartbeat SET finished_at = finished_at - 7205'
    want 0 tmo-hold -w 'of last week' all
    kill -9 "$(server_pid)"
    section 'Everything stuck'
    typed '. watch +. 72[0-9][0-9] '
    typed 'start: 0'
    typed 'all, by user/.*: of last week'
    typed 'tmux: 0'
    typed '1/developer missing no tmux server is running'
    minutes_until $LONG state_is 1/developer working
}

@test 'database damaged' {
    running old commit 'say waiting'
    project since commit 'say waiting'
    enqueue since
    sqlite3 "$TMO_DB" ".backup $HOME/task_queue.backup"
    want 0 tmo-start
    tmux -S "$TMO_SOCKET" new-session -d -s mine
    yes damaged | head -c 16384 | dd of="$TMO_DB" bs=4096 seek=5 conv=notrunc 2>"$W/log"
    want 2 tmo-start
    says tmo-start 'database disk image is malformed'
    section 'Database damaged'
    typed 'ended since-2$'
    cmp "$HOME/crontab.saved" "$HOME/crontab.now"
    tmux -S "$TMO_SOCKET" has-session -t =mine
    minutes_until $LONG status_is 2 processing
    eventually $LONG state_is 2/developer idle
    [ "$(stat -c %a "$TMO_DB" 2>/dev/null || stat -f %Lp "$TMO_DB")" = 600 ]
    want 0 tmo-ls
    out 'map(.project_id) | sort == [null, 1, 2]'
}

@test 'gradual rollout, and back' {
    local percent
    for n in 1 2 3 4; do project "p$n" 'say ready' && enqueue "p$n"; done
    setting observe true
    minute
    all_status queued
    setting observe false
    for percent in 10 50 100; do # by their numbers, 4 is in the first tenth, 2 and 3 in the first half
        setting enabled $percent
        minute
        tmo-project -s processing | jq -r .id | tr '\n' ' ' >>"$W/started"
    done
    [ "$(cat "$W/started")" = '4 2 3 4 1 2 3 4 ' ] || fail "$(cat "$W/started")"
    setting observe true
    kill -9 "$(server_pid)"
    minute
    sleep 0.3 # confirm_s
    minute
    ! server_pid || fail 'something was started though it only observes'
    section 'Gradual rollout'
    typed ' *4 processing'
    typed '\["1/developer","missing","relaunch","planned"\]'
}

@test 'roll back, and on again' {
    running shop commit 'say waiting'
    cp "$HOME/crontab.now" "$W/before"
    section 'Roll back'
    cmp "$W/before" "$HOME/crontab.now"
    [ "$(sqlite3 "$HOME/before-upgrade.db" 'SELECT count(*) FROM project_queue')" = 1 ]
}
