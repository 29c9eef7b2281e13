#!/usr/bin/env bats
# The lines that tmo-crontab prints, run as cron runs them: by /bin/sh, in their own environment and no other.

load ../helper

# cron_minute: all lines of a minute at once. What they print is kept.
cron_minute() {
    local name jobs=()
    for name in start deliver watch complete notify; do
        as_cron $name >>"$W/cron.out" 2>>"$W/cron.err" 3>&- &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || true; done
}

completed_by_cron() {
    cron_minute
    all_status completed
}

@test 'a project goes from the queue to completed by the printed lines alone' {
    project shop 'run echo "$PATH" >../path.txt' 'commit work.txt' 'done the shop is open'
    enqueue shop -v 'test -e work.txt'
    tmo-crontab >"$W/crontab"
    eventually $LONG completed_by_cron
    [ ! -s "$W/cron.out" ] || fail 'rows reached the mail of cron'
    [ ! -s "$W/cron.err" ] || fail "something was said: $(cat "$W/cron.err")"
    # The agent found its programs though the tmux server was started by cron.
    [ "$(cat "$W/path.txt")" = "$BIN:$(sed -n 's/^PATH="\(.*\)"$/\1/p' "$W/crontab")" ]
    # A start that has nothing to do ends with 1, which is no trouble.
    [ "$(sql 'SELECT group_concat(name) FROM (SELECT name FROM heartbeat WHERE status <= 1 ORDER BY name)')" = complete,deliver,notify,start,watch ]
    [ -z "$(unequal)" ]
    want 0 tmo-log -p 1 -k status
    out 'map(.name) == ["enqueue", "start", "auth_required", "auth_complete", "setup_complete", "work_complete", "finalize"]'
}

@test 'the tmux server that a start leaves behind holds nothing of ours' {
    project shop 'say ready'
    enqueue shop
    tmo-crontab >"$W/crontab"
    want 0 as_cron start
    want 0 as_cron watch
    server=$(server_pid)
    [ ! -d "/proc/$server/fd" ] || ! ls -l "/proc/$server/fd" | grep "$W/state" || fail 'an open file of ours'
    for lock in "$W"/state/locks/* "$TMO_DB.lock"; do
        python3 -c 'import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)' "$lock" || fail "$lock is held"
    done
    want 0 as_cron start
    want 0 as_cron watch
}

@test 'what goes wrong reaches the mail of cron, once a line' {
    project shop
    tmo-crontab >"$W/crontab"
    for line in start deliver complete; do
        mkdir -p "$W/state"
        yes 'no database' | head -c 8192 >"$TMO_DB"
        want 2 as_cron $line
        says tmo-crontab 'cannot use database'
        nothing
        rm "$TMO_DB"
    done
    tmo-stub-agent auth logout
    enqueue shop
    want 0 as_cron start
    says tmo-start 'lacks login'
    want 0 as_cron start
    silent # what is known already is not said every minute
}

@test 'the nightly line checks the database and drops what is old' {
    project shop
    enqueue shop
    want 0 tmo-project -E cancel 1
    sql 'UPDATE project_queue SET completed_at = 1000'
    tmo-crontab >"$W/crontab"
    want 0 as_cron nightly
    nothing
    silent
    want 0 tmo-project
    nothing
    sql "INSERT INTO agent_health (project_id, role, agent, host) VALUES (99, 'developer', 'stub', 'h')"
    sql "INSERT INTO event (at, kind, actor) VALUES (1000, 'notice', 'x')"
    want 0 as_cron nightly
    says tmo-repair-db foreign_key
    [ "$(sql 'SELECT count(*) FROM event WHERE at = 1000')" -eq 0 ] # what is found is no reason to let it grow
}

@test 'the watch is one pipeline, and ends anywhere in a table' {
    idle_agent
    "$ROOT/cron/tmo-cron-watch" >"$W/out"
    out 'length == 1 and (.[0] | has("auth") and has("health") and has("grace") and has("recovery"))'
    "$ROOT/cron/tmo-cron-watch" | tmo-fmt | tail -1 >"$W/line"
    grep -q 'developer .* idle' "$W/line"
}

@test 'a part of the watch that fails is its status' {
    idle_agent
    tmo-crontab >"$W/crontab"
    want 0 as_cron watch
    setting tmux_timeout_s 0.5
    stop_server
    want 0 as_cron watch # busy is no trouble
    go_on_server
    [ "$(sql "SELECT status FROM heartbeat WHERE name = 'watch'")" -eq 75 ]
}
