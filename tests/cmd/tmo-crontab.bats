#!/usr/bin/env bats
# tmo-crontab - print this installation's crontab lines, or write them as timers for systemd
load ../helper

@test 'the lines: the environment as it is now, and one entry a pipeline' {
    want 0 tmo-crontab
    silent
    grep -q '^#' "$W/out"
    grep -qx "TMO_DB=\"$TMO_DB\"" "$W/out"
    grep -qx "TMO_SOCKET=\"$TMO_SOCKET\"" "$W/out"
    grep -qx "TMO_CONFIG=\"$TMO_CONFIG\"" "$W/out"
    grep -qx "TMO_STUB_HOME=\"$TMO_STUB_HOME\"" "$W/out"
    grep -qx 'LANG="C.UTF-8"' "$W/out"
    [ "$(grep -c '^PATH=' "$W/out")" -eq 1 ]
    for name in start deliver watch complete notify; do grep -qx "\* \* \* \* \* $BIN/tmo-crontab --run $name" "$W/out"; done
    grep -qx "17 4 \* \* \* $BIN/tmo-crontab --run nightly" "$W/out"
    ! grep -Evq '^#|^[A-Z_]+="[^"]*"$|^(\S+ ){5}\S' "$W/out" || fail 'a line that no crontab knows'
    [ ! -e "$W/state" ]
}

@test 'the PATH has our commands, and no relative folder' {
    PATH=/usr/bin:.:bin:/bin want 0 "$BIN/tmo-crontab"
    grep -qx "PATH=\"/usr/bin:/bin:$BIN\"" "$W/out"
}

@test 'the socket of the tmux that one sits in is kept; the default one needs no word' {
    unset TMO_SOCKET
    TMUX=/tmp/elsewhere/work,1,0 want 0 tmo-crontab
    grep -qx 'TMO_SOCKET="/tmp/elsewhere/work"' "$W/out"
    TMUX=/tmp/tmux-0/default,1,0 want 0 tmo-crontab
    ! grep -q TMO_SOCKET "$W/out" || fail 'the default socket is named'
}

@test 'what cannot stand in a crontab is refused' {
    TMO_DB=$W/'a"b'/x.db want 2 tmo-crontab
    says tmo-crontab 'TMO_DB cannot stand in a crontab'
    nothing
    LC_ALL=$'two\nlines' want 2 tmo-crontab
    says tmo-crontab
}

@test 'an installation at an odd place: the lines still run there' {
    odd=$W/"it's 100% & \$HOME; odd"
    mkdir "$odd"
    cp -R "$ROOT/bin" "$ROOT/cron" "$ROOT/lib" "$ROOT/sql" "$odd"
    ln -s "$ROOT/.venv" "$odd/.venv"
    "$odd/bin/tmo-crontab" >"$W/crontab"
    want 0 as_cron deliver
    silent
    [ "$(sql 'SELECT name, status FROM heartbeat')" = 'deliver|0' ]
}

@test '--run does one line of work: no rows, a heartbeat, and its status' {
    project shop 'say ready'
    want 0 tmo-crontab --run start # nothing queued is no trouble
    enqueue shop
    want 0 tmo-crontab --run start
    nothing
    silent
    status_is 1 processing
    for name in deliver watch complete notify nightly; do
        want 0 tmo-crontab --run $name
        nothing
        silent
    done
    [ "$(sql 'SELECT count(*) FROM heartbeat WHERE status = 0 AND finished_at >= started_at')" -eq 6 ]
}

@test '--run tells what went wrong on stderr, and keeps the status' {
    project shop
    enqueue shop
    echo 'no_such_key = 1' >"$W/bad.toml"
    TMO_CONFIG=$W/bad.toml want 2 tmo-crontab --run deliver
    says tmo-crontab "$W/bad.toml"
    rm -r "$W/shop"
    want 0 tmo-crontab --run start
    says tmo-start 'cannot find directory'
    nothing
}

@test 'a run does not begin while the one before is under way: 75, in silence' {
    idle_agent shop
    setting tmux_timeout_s 30
    stop_server
    background tmo-crontab --run watch
    first=$!
    eventually $LONG beating
    sql "SELECT * FROM heartbeat" >"$W/before"
    want 75 tmo-crontab --run watch
    nothing
    silent
    sql "SELECT * FROM heartbeat" | cmp - "$W/before"
    want 0 tmo-crontab --run deliver # another line is not held up
    go_on_server
    wait "$first"
    want 0 tmo-crontab --run watch
}

beating() { [ "$(sql "SELECT count(*) FROM heartbeat WHERE name = 'watch' AND finished_at IS NULL")" -eq 1 ]; }

@test 'wrong calls' {
    for words in '--run' '--run nonsense' 'start'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-crontab $words
        says tmo-crontab
        nothing
    done
}

@test '--systemd: timers and services that systemd takes, with the environment as it is now' {
    command -v systemd-analyze >/dev/null || skip 'no systemd here'
    mkdir -m 700 "$W/run"
    export XDG_RUNTIME_DIR=$W/run
    MAILTO=me want 0 tmo-crontab --systemd "$W/units"
    silent
    for name in start deliver watch complete notify nightly; do
        [ -e "$W/units/tmuxorch-$name.service" ] && [ -e "$W/units/tmuxorch-$name.timer" ] || fail "$name has no units"
    done
    systemd-analyze --user --man=no verify "$W"/units/* 2>"$W/err"
    silent
    unit=$W/units/tmuxorch-start.service
    grep -qx "ExecStart=/usr/bin/env \"$BIN/tmo-crontab\" --run start" "$unit"
    grep -qx "Environment=\"TMO_DB=$TMO_DB\"" "$unit"
    grep -qx 'SuccessExitStatus=1 75' "$unit"
    grep -qx 'KillMode=process' "$unit" # else the tmux server that it starts would be killed behind it
    ! grep -q MAILTO "$unit" || fail 'mail is for cron'
    grep -q '^systemctl --user enable --now tmuxorch-start.timer ' "$W/out"
    for timer in "$W"/units/*.timer; do
        grep -qF "${timer##*/}" "$W/out"
        systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' "$timer")" >/dev/null
    done
    grep -qx 'OnCalendar=\*-\*-\* 04:17:00' "$W/units/tmuxorch-nightly.timer"
    want 0 tmo-crontab --systemd "$W/units" # a second time they are written anew
}

@test '--systemd: an installation at an odd place, and one that cannot be written' {
    command -v systemd-analyze >/dev/null || skip 'no systemd here'
    odd=$W/"it's 100% \\ odd"
    mkdir -m 700 "$W/run" "$odd"
    cp -R "$ROOT/bin" "$ROOT/cron" "$ROOT/lib" "$ROOT/sql" "$odd"
    TMO_DB="$odd/x.db" "$odd/bin/tmo-crontab" --systemd "$W/units" >/dev/null
    XDG_RUNTIME_DIR=$W/run systemd-analyze --user --man=no verify "$W"/units/* 2>"$W/err"
    silent
    : >"$W/file"
    want 2 tmo-crontab --systemd "$W/file"
    says tmo-crontab "$W/file"
    nothing
}

@test 'without a locale here the lines have one all the same' {
    LANG='' want 0 tmo-crontab
    grep -qx 'LANG="C.UTF-8"' "$W/out"
    LANG='' LC_ALL=de_DE.UTF-8 want 0 tmo-crontab
    ! grep -q '^LANG=' "$W/out" || fail 'LANG is made up beside LC_ALL'
}

@test 'MAILTO is kept where it is set, and the lines are for sh' {
    want 0 tmo-crontab
    ! grep -q MAILTO "$W/out" || fail 'the MAILTO that stands before is changed'
    grep -qx 'SHELL="/bin/sh"' "$W/out"
    MAILTO=me@example.org want 0 tmo-crontab
    grep -qx 'MAILTO="me@example.org"' "$W/out"
}
