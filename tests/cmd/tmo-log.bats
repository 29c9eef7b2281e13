#!/usr/bin/env bats
# tmo-log - show what happened, an event a row
load ../helper

setup() {
    make_world
    project shop
    enqueue shop
    enqueue shop
    want 0 tmo-project -E cancel 1
    want 0 tmo-hold batch/b
}

@test 'an event a row, the oldest first' {
    want 0 tmo-log
    silent
    keys id at kind name project_id role pane_id run message_id actor source dest why evidence looked_at
    out 'map(.id) == [1, 2, 3, 4] and map(.name) == ["enqueue", "enqueue", "cancel", "hold"]'
    out 'all(.at > 1.6e9) and (map(.at) | . == sort)'
}

@test 'by project, by kind, by time' {
    want 0 tmo-log -p 1
    out 'map(.name) == ["enqueue", "cancel"]'
    want 0 tmo-log -k hold
    out 'map(.dest) == ["batch/b"]'
    want 0 tmo-log -p 1 -k hold
    nothing
    want 0 tmo-log -s 1h
    out 'length == 4'
    want 0 tmo-log -s "$(($(date +%s) + 100))"
    nothing
    sql "INSERT INTO event (at, kind, name, actor) VALUES (1000, 'notice', 'old', 'test')"
    want 0 tmo-log -s 2d
    out 'length == 4'
    want 0 tmo-log -s 999
    out 'length == 5'
}

@test 'wrong calls: a time or a number that is none' {
    for words in '-s yesterday' '-s nan' '-p one' 'word'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-log $words
        says tmo-log
        nothing
    done
}

@test '-f goes on with what happens, from before there is a database until nobody reads' {
    export TMO_DB=$W/later/task_queue.db
    background tmo-log -f >"$W/followed" 2>"$W/err"
    follower=$!
    enqueue shop
    eventually $LONG grep -q enqueue "$W/followed"
    want 0 tmo-project -E cancel 1
    eventually $LONG grep -q cancel "$W/followed"
    [ "$(jq -s 'map(.id) == [1, 2]' "$W/followed")" = true ]
    kill -INT "$follower" || true # a job of a script does not hear it, so it may go on
    tmo-log -f | head -1 >"$W/first"
    [ "$(jq -r .name "$W/first")" = enqueue ]
}
