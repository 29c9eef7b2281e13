#!/usr/bin/env bats
# tmo-prune - remove what ended long ago: projects, events, messages, hook logs and backups
load ../helper

# ended NAME DAYS: a cancelled project that ended so many days ago, with a message and a hook log.
ended() {
    [ -e "$W/shop" ] || project shop
    enqueue shop -n "$1"
    want 0 tmo-send -q "$ID/developer" hello
    want 0 tmo-project -E cancel "$ID"
    mkdir -p "$W/state/hooks"
    echo '{}' >"$W/state/hooks/run-$ID.jsonl"
    sql "INSERT INTO event (at, kind, name, project_id, run, actor) VALUES (1000, 'launch', 'start', $ID, 'run-$ID', 'test')"
    sql "UPDATE project_queue SET completed_at = $(date +%s) - $2 * 86400 WHERE id = $ID"
}

@test 'what ended long ago is removed with its events, messages and logs' {
    ended old 91
    ended young 89
    enqueue shop -n queued
    want 0 tmo-prune -n
    out 'map([.project_id, .removed]) == [[1, false]]'
    want 0 tmo-prune
    silent
    keys kind project_id name status completed_at events messages logs removed
    out '.[0] | .kind == "project" and .project_id == 1 and .name == "old" and .events > 2 and .messages == 1 and .logs == 1 and .removed'
    want 0 tmo-project
    out 'map(.id) == [2, 3]'
    [ "$(ls "$W/state/hooks")" = run-2.jsonl ]
    [ "$(sql 'SELECT count(*) FROM message')" -eq 1 ]
    want 0 tmo-log -p 1
    out 'map(.kind) == ["prune"]'
    want 0 tmo-prune -d 88
    out 'map(.project_id) == [2]'
    want 0 tmo-repair-db --check
}

@test 'what something still depends on stays' {
    ended first 200
    ended second 200
    enqueue shop -n third -d 1
    want 0 tmo-prune
    out 'map(.project_id) == [2]'
    want 0 tmo-project -E cancel 3
    want 0 tmo-prune
    out 'map(.project_id) == [1]'
}

@test 'what belongs to no project: closed messages, old events, ended holds, logs and backups; nothing that is open' {
    project shop
    enqueue shop
    want 0 tmo-send -q 1/developer hello
    for state in submitted held; do
        sql "INSERT INTO message (key, target, text, actor, created_at, due_at, expires_at, next_attempt_at, state)
             VALUES ('$state', '%9', 'x', 't', 1000, 1, 9e9, 1, '$state')"
    done
    sql "INSERT INTO event (at, kind, name, project_id, actor) VALUES (1000, 'notice', 'x', 77, 't'), (1000, 'notice', 'x', 1, 't')"
    sql "INSERT INTO hold (name, cause, actor, since_at, released_at) VALUES ('all', 'manual', 't', 1, 2), ('all', 'manual', 't', 1, NULL)"
    sql "INSERT INTO event (at, kind, name, project_id, run, actor) VALUES (1000, 'launch', 'start', 1, 'mine', 't')"
    mkdir -p "$W/state/hooks"
    for name in hooks/mine.jsonl hooks/nobodys.jsonl task_queue.db.backup-1 task_queue.db.backup-2; do echo '{}' >"$W/state/$name"; done
    touch -t 200001010000 "$W/state/hooks/"*.jsonl "$W/state/task_queue.db.backup-1"
    want 0 tmo-prune -n
    cp "$W/out" "$W/plan"
    out 'map([.kind, .rows // (.path | split("/")[-1])]) == [["message", 1], ["event", 5], ["hold", 1], ["log", "nobodys.jsonl"],
        ["backup", "task_queue.db.backup-1"]]'
    want 0 tmo-prune
    [ "$(sed 's/"removed": false/"removed": true/' "$W/plan")" = "$(cat "$W/out")" ] || fail 'not what was said'
    [ "$(sql 'SELECT state FROM message ORDER BY state')" = "$(printf 'held\nqueued')" ]
    [ "$(sql 'SELECT count(*) FROM hold')" -eq 1 ]
    [ "$(sql 'SELECT count(*) FROM event WHERE project_id = 1')" -gt 2 ]
    [ -e "$W/state/hooks/mine.jsonl" ] && [ -e "$W/state/task_queue.db.backup-2" ] && [ ! -e "$W/state/task_queue.db.backup-1" ]
    want 0 tmo-prune
    nothing
}

@test 'what was taken over and pruned is not taken over again' {
    old_database "{'spec_path': '/a', 'status': 'completed', 'completed_at': 1755500000.0}"
    want 0 tmo-import "$W/old.db"
    want 0 tmo-prune -d 1
    out 'map(.kind) == ["project"]'
    want 0 tmo-import "$W/old.db"
    out 'map(.result) == ["left"]'
    want 0 tmo-project
    nothing
}

@test 'wrong calls' {
    for words in '-d many' '-d nan' 'word'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-prune $words
        says tmo-prune
        nothing
    done
}
