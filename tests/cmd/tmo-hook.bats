#!/usr/bin/env bats
# tmo-hook - append what an agent's hook reports to the agent's log
load ../helper

LOG() { echo "$W/state/hooks/$TMO_RUN.jsonl"; }

@test 'what a hook reports is appended to the log of the run, with the time' {
    export TMO_RUN=run-1
    want 0 tmo-hook <<<'{"hook_event_name": "Stop", "n": 1}'
    nothing
    silent
    want 0 tmo-hook <<<'{"hook_event_name": "Stop", "n": 2}'
    jq -es 'map(.hook.n) == [1, 2] and all(now - .at | . >= 0 and . < 60)' "$(LOG)"
    [ "$(ls -ld "$W/state" "$W/state/hooks" | cut -c1-10 | sort -u)" = drwx------ ]
    [ "$(ls -l "$(LOG)" | cut -c1-10)" = -rw------- ]
}

@test 'it never fails and never speaks: no run, no database, nothing on stdin, a disk that refuses' {
    want 0 tmo-hook <<<'{}' # not in a pane of ours
    for run in '../../escaped' 'a/b' 'a b' '.' '$(touch PWNED)'; do
        TMO_RUN=$run want 0 tmo-hook <<<'{}'
        nothing
        silent
    done
    [ -z "$(find "$W" -name '*.jsonl' -o -name PWNED)" ]
    export TMO_RUN=run-1
    TMO_DB='' want 0 tmo-hook <<<'{}'
    TMO_DB=relative.db want 0 tmo-hook <<<'{}'
    want 0 tmo-hook </dev/null
    : >"$W/file"
    TMO_DB=$W/file/x/task_queue.db want 0 tmo-hook <<<'{}'
    nothing
    silent
    want 0 tmo-hook --no-such-option <<<'{}'
    [ ! -e /hooks ]
}

@test 'many at once lose nothing that is whole' {
    export TMO_RUN=run-1
    for n in $(seq 30); do echo "{\"n\": $n}" | tmo-hook 3>&- & done
    wait
    [ "$(grep -o '"n": [0-9]*' "$(LOG)" | sort -u | wc -l)" -eq 30 ]
}

@test 'the agents call it: their log holds every prompt' {
    idle_agent
    want 0 tmo-send 1/developer 'a word'
    TMO_RUN=$(sql 'SELECT run FROM agent_health')
    jq -es 'map(select(.hook.hook_event_name == "UserPromptSubmit")) | length == 2 and .[1].hook.prompt == "a word"' "$(LOG)"
}
