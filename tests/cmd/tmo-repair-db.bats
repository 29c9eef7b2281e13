#!/usr/bin/env bats
# tmo-repair-db - find rows that contradict tmux and git, repair them, and check the file
load ../helper

# failed_by_sql: as the system whose rows these are failed them: by age, while the session lived.
failed_by_sql() { sql "UPDATE project_queue SET status = 'failed', why = 'Phantom project detected' WHERE id = $ID"; }

# tells KIND TO APPLIED: the last command printed exactly this one finding.
tells() { out 'map([.kind, .to, .applied]) == [[$k, ($t | if . == "" then null else . end), $a]]' --arg k "$1" --arg t "$2" --argjson a "$3"; }

# nothing_left: a second repair finds nothing and makes no backup.
nothing_left() {
    local backups=("$W"/state/*.backup-*)
    want 0 tmo-repair-db --apply
    nothing
    silent
    [ "$(echo "$W"/state/*.backup-*)" = "${backups[*]}" ] || fail 'another backup'
}

dump() { python3 -c 'import sqlite3, sys; print(*[r for r in sqlite3.connect(sys.argv[1]).iterdump() if not any(word in r for word in ("\"event\"", "\"notification\"", "sqlite_sequence"))], sep="\n")' "$TMO_DB"; }

@test 'failed in the table, alive in tmux: a plan first, then recover and recovery_complete, and nothing is left' {
    idle_agent shop
    failed_by_sql
    tmux -S "$TMO_SOCKET" set-option -u -t =shop-1: @tmo_start # it still says whose it is
    want 0 tmo-repair-db
    tells failed_alive processing false
    keys kind project_id from to reason evidence applied
    out '.[0] | .project_id == 1 and .from == "failed" and (.reason | contains("developer (idle)")) and .evidence.session == "ours"'
    cp "$W/out" "$W/rows"
    want 0 tmo-fmt <"$W/rows"
    grep -q 'failed_alive  1  *failed  processing  .*its session is ours' "$W/out" || fail 'a table of something else'
    status_is 1 failed
    want 0 tmo-repair-db --apply
    tells failed_alive processing true
    says tmo-repair-db "$(jq -r .backup "$W/out")"
    want 0 tmo-project
    out '.[0] | .status == "processing" and .session_name == "shop-1" and .completed_at == null and .error_message == null'
    want 0 tmo-log -p 1
    out 'map(select(.actor == "tmo-repair-db") | [.kind, .name, .source, .dest]) == [["status", "recover", "failed", "recovering"],
        ["status", "recovery_complete", "recovering", "processing"], ["repair", "recover", null, null]]'
    [ "$(tmux -S "$TMO_SOCKET" show-options -v -t =shop-1: @tmo_start)" = "$(sql 'SELECT run FROM project_queue')" ]
    nothing_left
    want 0 tmo-send 1/developer 'and on we go'
    out '.[0].state == "submitted"'
}

@test 'undo takes back what was repaired, once, and nothing else' {
    idle_agent shop
    failed_by_sql
    dump >"$W/dump"
    want 0 tmo-repair-db --apply
    backup=$(jq -r .backup "$W/out")
    want 0 tmo-repair-db --undo "$backup"
    out 'map([.kind, .from, .to, .applied]) == [["undo", "processing", "failed", true]]'
    dump | cmp - "$W/dump"
    want 0 tmo-repair-db --undo "$backup"
    nothing
    want 0 tmo-repair-db --apply
    backup=$(jq -r .backup "$W/out")
    sql "UPDATE project_queue SET status = 'completing' WHERE id = 1"
    want 0 tmo-repair-db --undo "$backup"
    out 'map(.applied) == [false]'
    status_is 1 completing
}

@test 'a session that is not ours, or has no agent, is reported and left' {
    idle_agent shop
    failed_by_sql
    tmux -S "$TMO_SOCKET" set-option -u -t =shop-1: @tmo_project
    tmux -S "$TMO_SOCKET" set-option -u -p -t %0 @tmo_run
    want 0 tmo-repair-db --apply
    out 'map([.kind, .to]) == [["failed_alive", null], ["agent_gone", "missing"]]'
    out '.[0].reason | contains("no tag of ours")'
    tmux -S "$TMO_SOCKET" rename-session -t =shop-1: shop-10 # `-t shop-1` would find it
    want 0 tmo-repair-db --apply
    nothing
    tmux -S "$TMO_SOCKET" rename-session -t =shop-10: shop-1
    tmux -S "$TMO_SOCKET" set-option -t =shop-1: @tmo_project 1
    kill -9 "$(pgrep -P "$(tmo-ls '%0' | jq -r .pane_pid)")"
    eventually $LONG state_is 1/developer shell
    want 0 tmo-repair-db --apply
    tells failed_alive '' false
    out '.[0].reason == "its session lives, but no agent in it"'
    status_is 1 failed
}

@test 'what was failed by its verify command stays failed, what was failed by its time comes back if it works since' {
    idle_agent shop
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-complete', why = 'failed', evidence = '{\"command\": \"false\"}' WHERE id = 1"
    want 0 tmo-repair-db --apply
    nothing
    sql "UPDATE project_queue SET status = 'recovering' WHERE id = 1"
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-complete', why = 'its grace is over', evidence = '{}' WHERE id = 1"
    want 0 tmo-repair-db --apply
    nothing
    project busy 'work 60'
    enqueue busy
    want 0 tmo-start "$ID"
    eventually $LONG state_is "$ID/developer" working
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-complete', why = 'its grace is over', evidence = '{}' WHERE id = $ID"
    sql "UPDATE project_queue SET completed_at = 1 WHERE id = $ID"
    want 0 tmo-repair-db --apply
    out 'map([.kind, .project_id, .to]) == [["failed_alive", 2, "processing"]]'
}

@test 'two projects never run in one directory: the second is left' {
    idle_agent shop
    failed_by_sql
    enqueue shop
    want 0 tmo-start "$ID"
    want 0 tmo-repair-db --apply
    tells failed_alive '' false
    out '.[0].reason | contains("project 2 runs in its directory")'
}

@test 'done and called failed: completed after all' {
    running shop 'done it is done'
    eventually $LONG begun done
    eventually $LONG state_is 1/developer idle
    failed_by_sql
    want 0 tmo-repair-db --apply
    tells failed_done completed true
    status_is 1 completed
    nothing_left
    sql "UPDATE project_queue SET status = 'queued' WHERE id = 1"
    sql "UPDATE project_queue SET status = 'failed', verify_command = 'test -e ok' WHERE id = 1"
    want 0 tmo-repair-db --apply
    tells failed_alive processing true # it was queued anew: what was said of the earlier run does not count
}

@test 'done and called failed, with a verify command: that decides' {
    project shop 'done it is done'
    enqueue shop -v 'test -e ok'
    want 0 tmo-start
    eventually $LONG begun done
    eventually $LONG state_is 1/developer idle
    failed_by_sql
    : >"$W/shop/ok"
    want 0 tmo-repair-db --apply
    tells failed_done '' false # a file that nobody committed
    git -C "$W/shop" add ok && git -C "$W/shop" -c user.name=x -c user.email=x commit -qm ok
    want 0 tmo-repair-db --apply
    tells failed_done processing true
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

@test 'processing without a session: left while its grace lasts, or cron brings its agents back' {
    idle_agent shop
    tmux -S "$TMO_SOCKET" kill-server
    want 0 tmo-repair-db --apply
    nothing
    sql "UPDATE project_queue SET started_at = 1000 WHERE id = 1"
    sql "INSERT INTO heartbeat (name, host, started_at) VALUES ('watch', '$(uname -n)', $(date +%s))"
    want 0 tmo-repair-db --apply
    tells processing_gone '' false
    out '.[0].reason | contains("tmo-recover")'
    sql 'UPDATE agent_health SET needs_human = 1'
    want 0 tmo-repair-db
    tells processing_gone failed false
    sql 'UPDATE agent_health SET needs_human = 0'
    sql 'UPDATE heartbeat SET started_at = started_at - 1000'
    want 0 tmo-repair-db --apply
    out '.[0] | .kind == "processing_gone" and .from == "processing" and .to == "failed" and .applied'
    out '.[1:] | all(.applied and .kind == "agent_gone")'
    want 0 tmo-project
    out '.[0] | .status == "failed" and .error_message == "it has no session, and its grace is over"'
    nothing_left
    want 0 tmo-repair-db --undo "$W"/state/*.backup-*
    out 'all(.applied)'
    status_is 1 processing
}

@test 'processing without a session, and held: left until it is released' {
    idle_agent shop
    tmux -S "$TMO_SOCKET" kill-server
    sql "UPDATE project_queue SET started_at = 1000 WHERE id = 1"
    want 0 tmo-hold -w 'looking first' project/1
    want 0 tmo-repair-db --apply
    tells processing_gone '' false
    out '.[0].reason | contains("it is held (project/1)")'
    status_is 1 processing
    want 0 tmo-hold -r project/1
    want 0 tmo-repair-db
    out '.[0] | .kind == "processing_gone" and .to == "failed"'
}

@test 'a tmux server that does not answer proves nothing' {
    idle_agent shop
    failed_by_sql
    setting tmux_timeout_s 0.3
    stop_server
    want 75 tmo-repair-db --apply
    says tmo-repair-db 'tmux does not answer'
    nothing
    go_on_server
}

@test 'columns that do not fit, duplicates, and what waits for what is over: each is repaired, and undone' {
    project shop
    for _ in 1 2 3 4 5 6; do enqueue shop; done
    sql "UPDATE project_queue SET session_name = 'old-abc' WHERE id = 1"
    sql "UPDATE project_queue SET completed_at = 5 WHERE id = 2"
    for id in 3 4 5; do sql "UPDATE project_queue SET status = 'failed', session_name = 'one-session' WHERE id = $id"; done
    sql "UPDATE project_queue SET completed_at = NULL WHERE id = 5"
    sql "INSERT INTO agent_health (project_id, role, agent, host) VALUES (6, 'nobody', 'stub', '$(uname -n)')"
    sql "INSERT INTO agent_health (project_id, role, agent, host, state, is_stuck) VALUES (5, 'developer', 'stub', '$(uname -n)', 'idle', 1)"
    want 0 tmo-send -q 6/developer stays
    sql "INSERT INTO message (key, target, text, actor, created_at, due_at, expires_at, next_attempt_at, project_id, role)
         VALUES ('k', '3/developer', 'x', 't', 1, 1, 9e9, 1, 3, 'developer')"
    sql "INSERT INTO message (key, target, text, actor, created_at, due_at, expires_at, next_attempt_at, pane_id, pane_pid, server)
         VALUES ('l', '%99', 'x', 't', 1, 1, 9e9, 1, '%99', 4, '999999@1')"
    sql "INSERT INTO hold (name, cause, actor, since_at, until_at) VALUES ('project/6', 'manual', 't', 1, 2)"
    dump >"$W/dump"
    want 0 tmo-repair-db
    cp "$W/out" "$W/plan"
    out 'map([.kind, .project_id]) == [["duplicate_session", 3], ["duplicate_session", 4], ["stale_session", 1],
        ["completed_at", 2], ["completed_at", 5], ["agent_gone", 6], ["agent_gone", 5], ["message_gone", 3], ["message_gone", null],
        ["hold_over", 6]]'
    dump | cmp - "$W/dump"
    want 0 tmo-repair-db --apply
    out 'map(.applied) | all'
    [ "$(jq -c '[.kind, .project_id, .to]' "$W/out")" = "$(jq -c '[.kind, .project_id, .to]' "$W/plan")" ] || fail 'not what was planned'
    want 0 tmo-project
    out 'map([.id, .status, .session_name]) == [[1, "queued", null], [2, "queued", null], [3, "failed", null], [4, "failed", null],
        [5, "failed", "one-session"], [6, "queued", null]]'
    [ "$(sql 'SELECT count(*) FROM event WHERE kind = '"'repair'")" -eq 10 ]
    nothing_left
    want 0 tmo-repair-db --undo "$W"/state/*.backup-*
    out 'length == 10 and all(.applied)'
    dump | cmp - "$W/dump"
}

@test 'a row that is kept from changing is left, and no half of its repair is there' {
    idle_agent shop
    failed_by_sql
    sql "CREATE TRIGGER meanwhile BEFORE UPDATE OF status ON project_queue WHEN NEW.status = 'recovering'
         BEGIN SELECT RAISE(IGNORE); END"
    want 0 tmo-repair-db --apply
    out '.[0] | .applied == false and (.reason | contains("refused"))'
    status_is 1 failed
    want 0 tmo-log -k repair
    nothing
}

# -- the file

@test 'a database that is whole has no findings' {
    idle_agent shop
    want 0 tmo-repair-db --check
    nothing
    silent
}

@test 'a row that refers to nothing is found, and a trigger that is missing' {
    project shop
    enqueue shop
    sql "INSERT INTO agent_health (project_id, role, agent, host) VALUES (99, 'developer', 'stub', 'h')"
    want 1 tmo-repair-db --check
    out 'length == 1 and .[0].kind == "foreign_key" and (.[0].reason | contains("agent_health"))'
    says tmo-repair-db foreign_key
    sql "UPDATE agent_health SET host = '$(uname -n)'"
    want 0 tmo-repair-db --apply
    tells agent_gone '' true
    sql 'DROP TRIGGER project_status_legal'
    want 1 tmo-repair-db --check
    out '.[0] | .kind == "schema" and (.reason | contains("project_status_legal"))'
}

# break_file: zeros in the middle of the file, where rows are.
break_file() {
    sql 'PRAGMA wal_checkpoint(TRUNCATE)'
    pages=$(($(wc -c <"$TMO_DB") / 4096))
    leaf=$(sql "SELECT max(pageno) FROM dbstat WHERE name = 'event' AND pagetype = 'leaf'" 2>/dev/null) || leaf=$((pages - 1))
    dd if=/dev/zero of="$TMO_DB" bs=4096 seek=$((leaf - 1)) count=1 conv=notrunc status=none
}

@test 'a broken page: what can be read is recovered beside it, what was lost is told, and the file stays as it is' {
    project shop
    for _ in $(seq 40); do enqueue shop; done
    break_file
    cp "$TMO_DB" "$W/broken"
    want 1 tmo-repair-db --check
    out 'map(.kind) | contains(["integrity", "recovered"])'
    out 'map(select(.table == "project_queue"))[0] | .rows + (.lost | length) >= 1'
    cmp "$TMO_DB" "$W/broken" || fail 'the damaged file was written to'
    cp "$W/out" "$W/checked"
    want 2 tmo-prune
    cmp "$TMO_DB" "$W/broken" || fail 'the damaged file was pruned'
    cp "$W/checked" "$W/out"
    out '[.[] | select(.table == "event" or .table == "project_queue") | .lost | length] | add > 0'
    ! grep -q Traceback "$W/err" || fail 'a traceback'
    TMO_DB=$TMO_DB.recovered want 0 tmo-repair-db --check
    TMO_DB=$TMO_DB.recovered want 0 tmo-project
    out 'length > 0'
    want 1 tmo-repair-db --check --swap
    want 0 tmo-repair-db --check
    find "$W/state" -name '*.damaged-*[0-9]' -exec cmp {} "$W/broken" \;
    want 0 tmo-project
    enqueue shop
}

@test 'what was written after a file was recovered is swapped in too' {
    project shop
    for _ in $(seq 40); do enqueue shop; done
    break_file
    want 1 tmo-repair-db --check
    touch -d '1 hour' "$TMO_DB.recovered" # whatever the clock said
    sql "INSERT INTO heartbeat (name, host, started_at) VALUES ('watch', 'h', 1)"
    want 1 tmo-repair-db --check --swap
    out 'map(.kind) | contains(["integrity", "recovered", "swapped"])'
    want 0 tmo-repair-db --check
    [ "$(sql 'SELECT count(*) FROM heartbeat')" -eq 1 ]
    [ ! -e "$TMO_DB.recovered" ]
}

@test 'a database that is gone and left a recovered file is told, and no empty one is made beside that' {
    project shop
    enqueue shop
    mv "$TMO_DB" "$TMO_DB.recovered"
    want 1 tmo-repair-db --check
    out 'map(.kind) == ["missing"] and (.[0].reason | contains("task_queue.db.recovered"))'
    want 2 tmo-start
    says tmo-start "'$TMO_DB' is gone"
    [ ! -e "$TMO_DB" ]
    mv "$TMO_DB.recovered" "$TMO_DB"
    want 0 tmo-repair-db --check
    nothing
    want 0 tmo-project
    out 'length == 1'
}

@test 'a file that cannot be read is one line, and no other file comes of it' {
    for file in "$W/none.db" "$W"; do
        want 2 tmo-repair-db --check "$file"
        ! grep -q Traceback "$W/err" || fail 'a traceback'
        grep -qF "$file" "$W/err"
        [ ! -e "$file.recovered" ] && [ ! -e "$W/none.db" ]
    done
}

@test 'wrong calls' {
    for words in '--apply --check' '--swap' 'file' '--undo' '--undo nowhere'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-repair-db $words
        says tmo-repair-db
        nothing
    done
}
