#!/usr/bin/env bats
# tmo-kpi - print the figures that a batch is judged by, beside their targets
load ../helper

# What each figure counts is in tests/unit/test_figures.py.

# value NAME: a figure of the last tmo-kpi, as NUMERATOR/N.
value() { jq -r --arg n "$1" 'select(.name == $n) | "\(.numerator)/\(.n)"' "$W/out"; }

# ended NAME: a project that began, by what is typed into sqlite3.
ended() {
    project "$1"
    enqueue "$1" -s small
    sql "UPDATE project_queue SET status = 'initializing', actor = 'tmo-start' WHERE id = $ID"
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-start', why = 'its time is over' WHERE id = $ID"
}

@test 'a row a figure, with its cases and its target' {
    ended one
    want 0 tmo-kpi
    silent
    keys name value n numerator target bound met window
    out 'map(select(.name == "success_rate"))[0] | .value == 0 and .n == 1 and .target == 0.95 and .bound == "above" and .met == false'
    out 'map(select(.name == "false_failure_rate"))[0] | .value == 0 and .n == 1 and .met'
    out 'map(select(.name == "delivery_rate"))[0] | .value == null and .n == 0 and .target == null and .met == null'
    out 'all(.window.since_at == null and .window.until_at > 1e9) and (map(.name) | unique | length) == length'
    [ "$(value success_rate.small)" = 0/1 ]
}

@test 'a verdict that a person reverses was a false failure, and that was a hand' {
    ended one
    ended two
    [ "$(tmo-kpi | jq -s 'map(select(.met == false)) | length')" -eq 1 ]
    want 0 tmo-project -E reinstate -w 'it had done all' 1
    want 0 tmo-kpi
    [ "$(value false_failure_rate)" = 1/2 ]
    [ "$(value manual_intervention_rate)" = 1/2 ]
    [ "$(value success_rate)" = 1/2 ]
}

@test 'a window' {
    ended one
    want 0 tmo-kpi -s "$(($(date +%s) + 60))"
    out 'all(.n == 0)'
    want 0 tmo-kpi -s 1h
    [ "$(value success_rate)" = 0/1 ]
    out 'all(.window.until_at - .window.since_at | . > 3599 and . < 3601)'
}

@test 'with -e the status tells whether a target was missed' {
    want 0 tmo-kpi -e # nothing happened yet
    nothing
    project one
    enqueue one
    want 0 tmo-kpi -e # and there is no case
    ended two
    want 1 tmo-kpi -e
    silent
    out 'any(.met == false)'
    want 0 tmo-kpi
}

@test 'the figures of agents that ran, fell to their shell and came back' {
    running crasher 'say ready' 'crash' 'commit a.txt' 'done'
    eventually $LONG confirmed 1/developer shell
    eventually $LONG came_back
    want 0 tmo-kpi
    [ "$(value fault_recovery_rate)" = 1/1 ]
    out 'map(select(.name == "time_to_recover_p95_s.shell" or .name == "time_to_detect_p95_s.shell")) | length == 2 and all(.value > 0 and .value < 600)'
    out 'map(select(.name == "delivery_rate"))[0] | .value == 1 and .n >= 2' # two briefings
    out 'map(select(.name == "health_pass_rate"))[0] | .value > 0 and .value < 1 and .numerator < .n'
}

came_back() { tmo-health | tmo-recover - >/dev/null && tmo-log -p 1 -k health | jq -es '.[-1].dest | IN("working", "idle")'; }

@test 'wrong calls' {
    for words in 'word' '-s' '-s yesterday'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-kpi $words
        says tmo-kpi
        nothing
    done
}
