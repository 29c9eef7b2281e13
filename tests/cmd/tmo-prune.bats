#!/usr/bin/env bats
# tmo-prune - remove what ended long ago: projects, their events, messages and hook logs
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

@test 'wrong calls' {
    for words in '-d many' '-d nan' 'word'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-prune $words
        says tmo-prune
        nothing
    done
}
