#!/usr/bin/env bats
# tmo-import - take over the database of an older system, record by record
load ../helper

# their_session NAME: a session as the older system made it: a window a role, no tags, an agent in the second.
their_session() {
    tmux -S "$TMO_SOCKET" new-session -d -x 200 -y 50 -s "$1" -n Orchestrator -c "$W/shop" sh
    tmux -S "$TMO_SOCKET" new-window -d -t "=$1:" -n Developer -c "$W/shop" "$BIN/tmo-stub-agent --start-s 0.1"
    eventually $LONG at_prompt "$1:Developer"
    tmux -S "$TMO_SOCKET" new-window -d -t "=$1:" -n 2.1.139 -c "$W/shop" sh
}

# at_prompt WINDOW: the agent is; when it asks whether it may work there, it may.
at_prompt() {
    ! state_is "$1" dialog || tmux -S "$TMO_SOCKET" send-keys -t "=$1" Down Enter
    state_is "$1" idle
}

@test 'each record is told in a row: taken, changed or left, and why' {
    old_database "{'id': 3, 'spec_path': '/specs/web.md', 'status': 'completed', 'completed_at': 1755500000.5}" \
        "{'id': 29, 'spec_path': '/specs/api.md', 'status': 'FAILED', 'session_name': 'api-impl-1:0',
          'error_message': 'Phantom project detected: No session', 'completed_at': '2025-08-21T14:03:05.5'}" \
        "{'id': 31, 'spec_path': 'ORPHANED_SESSION_api-impl-1', 'status': 'processing', 'session_name': 'api-impl-1'}"
    sum=$(cksum <"$W/old.db")
    want 0 tmo-import -n --tz Europe/Lisbon "$W/old.db"
    silent
    out 'map([.old_id, .result, .from, .to, .project_id]) == [[3, "taken", "completed", "completed", null],
        [29, "changed", "FAILED", "failed", null], [31, "changed", "processing", "cancelled", null]]'
    [ ! -e "$W/state" ] || fail 'a dry run wrote something'
    cp "$W/out" "$W/rows"
    want 0 tmo-fmt <"$W/rows"
    grep -q '^project  changed  29  *FAILED  *failed  *api-impl-1  ' "$W/out" || fail 'a table of something else'
    want 0 tmo-import --tz Europe/Lisbon "$W/old.db"
    keys kind result old_id project_id from to name session_name failure marks why
    out '.[1] | .failure == "weak" and .session_name == "api-impl-1" and (.why | contains("without the window"))'
    out '.[2] | .why | contains("duplicate of record 29")'
    want 0 tmo-project
    out 'map([.id, .name, .status, .completed_at]) == [[3, "web", "completed", 1755500000.5], [29, "api", "failed", 1755781385.5],
        [31, "project", "cancelled", .[2].completed_at]]'
    want 0 tmo-import "$W/old.db"
    out 'all(.result == "left") and (.[1].why | contains("as project 29"))'
    [ "$(sql "SELECT raw ->> 'completed_at' FROM imported WHERE old_id = 29")" = 2025-08-21T14:03:05.5 ]
    [ "$(cksum <"$W/old.db")" = "$sum" ] && [ "$(echo "$W"/old.db*)" = "$W/old.db" ]
    want 0 tmo-repair-db
    nothing
}

@test 'the one that matters: failed there, alive in tmux; adopted it is ours, and is repaired' {
    project shop
    their_session shop-impl-1a2b3c4d
    old_database "{'id': 60, 'spec_path': '/specs/shop.md', 'status': 'failed', 'session_name': 'shop-impl-1a2b3c4d:0',
        'error_message': 'Phantom project detected: No session created after 900s', 'started_at': 1755500000.0}" \
        "{'id': 61, 'spec_path': '/specs/x.md', 'status': 'failed', 'session_name': 'shop-impl'}" \
        "('tasks', {'session_name': 'shop-impl-1a2b3c4d', 'agent_role': 'Developer', 'window_index': 1, 'next_run': 1.0e9,
          'interval_minutes': 0, 'note': 'look at your tests'})"
    want 0 tmo-import -n --adopt "$W/old.db"
    out 'map(select(.kind == "session") | [.result, .project_id]) == [["changed", null]]'
    want 0 tmo-import "$W/old.db"
    out '.[2] | .kind == "task" and .result == "left" and (.why | contains("not ours"))'
    want 0 tmo-repair-db --apply
    out 'map([.kind, .project_id, .to, .applied]) == [["failed_alive", 60, null, false]]'
    out '.[0].reason | contains("tmo-import --adopt")'
    want 0 tmo-import -n --adopt "$W/old.db"
    out 'map(select(.kind == "session"))[0] | .result == "changed" and .roles == ["orchestrator", "developer"]'
    want 0 tmo-ls
    out 'all(.project_id == null)'
    want 0 tmo-import --adopt "$W/old.db"
    out 'map(select(.kind == "session")) | length == 1 and (.[0].why | contains("2.1.139"))'
    want 0 tmo-ls
    out 'map([.project_id, .role, .agent]) == [[60, "orchestrator", "stub"], [60, "developer", "stub"], [60, null, null]]'
    eventually $LONG state_is 60/developer idle
    want 0 tmo-repair-db --apply
    out '.[0] | .kind == "failed_alive" and .to == "processing" and .applied and .evidence.worth == "weak"'
    want 0 tmo-project 60
    out '.[0] | .status == "processing" and .roles == "orchestrator,developer" and .project_path == $w + "/shop"' --arg w "$W"
    want 0 tmo-repair-db --apply
    nothing
    want 0 tmo-send 60/developer 'are you there?'
    out '.[0].state == "submitted"'
    want 0 tmo-import --adopt "$W/old.db"
    out 'map([.kind, .result]) == [["project", "left"], ["project", "left"], ["session", "left"], ["task", "changed"]]'
    want 0 tmo-deliver
    [ "$(taken 'look at your tests')" -eq 1 ]
    want 0 tmo-import --adopt "$W/old.db"
    out 'all(.result == "left")'
}

@test 'what is not named exactly, tagged by others, or ended is not adopted' {
    project shop 'say ready'
    enqueue shop -n shop
    want 0 tmo-start
    their_session web-impl-2
    for name in many-impl-1 many-impl-2 done-impl-1; do tmux -S "$TMO_SOCKET" new-session -d -s $name -n Developer sh; done
    old_database "{'id': 5, 'spec_path': '/a', 'status': 'failed', 'session_name': 'web-impl'}" \
        "{'id': 6, 'spec_path': '/b', 'status': 'processing', 'session_name': 'shop-1'}" \
        "{'id': 7, 'spec_path': '/c', 'status': 'failed', 'session_name': 'many-impl-1', 'main_session': 'many-impl-2'}" \
        "{'id': 8, 'spec_path': '/d', 'status': 'completed', 'session_name': 'done-impl-1'}"
    want 0 tmo-import --adopt "$W/old.db"
    out 'map(select(.kind == "session") | [.project_id, .result, .why]) == [[6, "left", "it carries the tag of another project"],
        [7, "left", "its record names several that live: many-impl-1, many-impl-2"], [8, "left", "its project is completed"]]'
    want 0 tmo-ls
    out 'map(select(.pane_id and .project_id) | .project_id) == [1]'
}

@test 'check-ins: of 800 for one role the newest that makes sense, once; the rest is told' {
    project shop
    their_session shop-impl-1
    rows=("{'id': 1, 'spec_path': '/a', 'status': 'processing', 'session_name': 'shop-impl-1', 'started_at': $(date +%s).0}")
    task="'session_name': 'shop-impl-1', 'agent_role': 'developer', 'window_index': 1, 'interval_minutes': 0"
    for n in 1 2 3; do rows+=("('tasks', {$task, 'next_run': 1.0e9, 'note': 'note $n'})"); done
    rows+=("('tasks', {$task, 'next_run': $(($(date +%s) + 365 * 86400)).0, 'note': 'off'})" "('tasks', {$task, 'next_run': None, 'note': 'when'})"
        "('tasks', {$task, 'next_run': 1.0e9, 'note': 'tired', 'retry_count': 136})"
        "('tasks', {$task, 'next_run': 1.0e9, 'note': 'gone', 'session_name': 'shop-impl'})"
        "('message_queue', {'agent_id': 'shop-impl-1:1', 'message': 'first'})"
        "('message_queue', {'agent_id': 'shop-impl-1:1', 'message': 'read', 'status': 'delivered'})"
        "('agents', {'agent_id': 'x'})")
    old_database "${rows[@]}"
    want 0 tmo-import --adopt "$W/old.db"
    out 'map(select(.kind == "task") | .result) == ["left", "left", "changed", "left", "left", "left", "left"]'
    out 'map(select(.kind == "task") | .why)[3:] | (.[0] | contains("switched off")) and (.[1] | contains("no time"))
        and (.[2] | contains("136")) and .[3] == "its session does not exist"'
    out 'map(select(.kind == "message") | .result) == ["taken", "left"]'
    out 'map(select(.kind == "table")) == [{"kind": "table", "result": "left", "table": "agents", "records": 1,
        "why": "nothing of this table is needed here"}]'
    [ "$(sql "SELECT text FROM message ORDER BY text")" = "$(printf 'first\nnote 3')" ]
}

@test 'the registry tells size, roles, directory, and that it was done: with commits since, failed is completed' {
    project shop
    git -C "$W/shop" -c user.name=x -c user.email=x commit -q --allow-empty -m work
    mkdir -p "$W/registry/projects/shop-1" "$W/registry/projects/broken"
    echo '{"session_name": "shop-impl-1", "project_name": "The shop"}' >"$W/registry/projects/shop-1/orchestration_metadata.json"
    echo '{"project_size": {"size": "large"}, "roles": {"tester": {}, "orchestrator": {}}}' >"$W/registry/projects/shop-1/implementation_spec.json"
    echo "{\"completed_at\": $(date +%s), \"session_name\": \"shop-impl-1\"}" >"$W/registry/projects/shop-1/COMPLETION_MARKER"
    echo '{no' >"$W/registry/projects/broken/session_state.json"
    old_database "{'id': 29, 'spec_path': '/a', 'status': 'failed', 'session_name': 'shop-impl-1', 'project_path': '$W/shop',
        'started_at': $(($(date +%s) - 5000)).0, 'error_message': 'Auto-reset: Timeout after 4 hours in processing'}"
    want 0 tmo-import --registry "$W/registry" "$W/old.db"
    says tmo-import broken/session_state.json
    out '.[0] | .name == "The shop" and .marks == ["it has a COMPLETION_MARKER"]'
    want 0 tmo-project
    out '.[0] | .size == "large" and .roles == "orchestrator,tester"'
    want 0 tmo-repair-db --apply
    out 'map([.kind, .to, .applied]) == [["failed_done", "completed", true]]'
    status_is 29 completed
}

@test 'what was paused is held, until a person releases it' {
    project shop 'say ready'
    old_database "{'id': 4, 'spec_path': '$W/shop.md', 'project_path': '$W/shop', 'status': 'credit_paused'}"
    want 0 tmo-import "$W/old.db"
    status_is 4 queued
    want 75 tmo-start
    want 0 tmo-hold -r project/4
    want 0 tmo-start
    status_is 4 processing
}

@test 'without tmux and without a server the records are taken over all the same; to adopt it has to answer' {
    old_database
    mkdir "$W/bin"
    for program in python3 env sh git; do ln -s "$(command -v "$program")" "$W/bin"; done
    want 2 env "PATH=$BIN:$W/bin" tmo-import --adopt "$W/old.db"
    says tmo-import 'cannot find tmux'
    want 0 tmo-import "$W/old.db"
    out '.[0].result == "left"'
}

@test 'wrong calls' {
    old_database
    for words in '' "--tz Mars/Olympus $W/old.db" "--tz +9999 $W/old.db" "--registry $W/none $W/old.db" "$W/none.db" "$W"; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-import $words
        says tmo-import
        nothing
    done
}
