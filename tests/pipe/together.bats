#!/usr/bin/env bats
# Several of the commands at once: nothing is done twice, nothing is left out.

load ../helper

# at_once COMMAND...: two of it; each is done, or says that there is nothing for it to do (1, 75).
at_once() {
    local one two job status
    "$@" >"$W/one" 2>"$W/one.err" 3>&- &
    one=$!
    "$@" >"$W/two" 2>"$W/two.err" 3>&- &
    two=$!
    for job in $one $two; do
        status=0
        wait "$job" || status=$?
        case $status in 0 | 1 | 75) ;; *) fail "status $status: $*" ;; esac
    done
    [ ! -s "$W/one.err" ] && [ ! -s "$W/two.err" ] || fail "$(cat "$W/one.err" "$W/two.err")"
}

@test 'two starts on ten queued projects: each is started once' {
    local n
    for n in $(seq 10); do
        project "p$n" 'say ready'
        enqueue "p$n"
    done
    at_once tmo-start
    eventually $LONG started
    want 0 tmo-log -k launch
    out 'length == 10 and (map(.project_id) | sort == [range(1; 11)])'
    want 0 tmo-ls
    out 'length == 10'
    [ "$(journal start .pid | wc -l)" -eq 10 ]
    [ -z "$(unequal)" ]
    cat "$W/one" "$W/two" >"$W/out"
    out 'map(.id) | unique == [range(1; 11)]'
}

started() {
    tmo-start >/dev/null || true # one of the two may have been too busy
    all_status processing
}

@test 'two starts do not pass the limit of running projects' {
    local n
    setting max_running 3
    for n in $(seq 6); do
        project "p$n" 'say ready'
        enqueue "p$n"
    done
    at_once tmo-start
    want 0 tmo-project -s processing
    out 'length == 3'
    want 0 tmo-project -s queued
    out 'length == 3'
}

@test 'twenty messages by rows: each once, and in order' {
    idle_agent
    seq 20 | jq -c '{target: "1/developer", text: "message \(.)."}' >"$W/rows"
    want 0 tmo-send - <"$W/rows"
    out 'length == 20 and all(.send.state == "submitted" or .send.state == "accepted" or .send.state == "held")'
    eventually $LONG settled 0
    [ "$(journal prompt 'select(.prompt | test("^message")) | .prompt')" = "$(seq 20 | sed 's/.*/message &./')" ]
    [ -z "$(unequal)" ]
}

@test 'two deliveries at once: each message once, in the order of its pane' {
    running a 'say ready'
    running b 'say ready'
    eventually $LONG all_states idle
    seq 10 | jq -c '({target: "1/developer", text: "to a: \(.)."}, {target: "2/developer", text: "to b: \(.)."})' >"$W/rows"
    want 0 tmo-send -q - <"$W/rows"
    at_once tmo-deliver
    eventually $LONG settled 0
    for to in a b; do
        [ "$(journal prompt 'select(.prompt | startswith($t)) | .prompt' --arg t "to $to:")" = "$(seq 10 | sed "s/.*/to $to: &./")" ]
    done
    [ -z "$(unequal)" ]
}

@test 'many senders to one agent: none is lost, none is doubled, none is mixed with another' {
    idle_agent
    local n jobs=()
    for n in $(seq 8); do
        { tmo-send -k "k$n" 1/developer "from sender $n: $(printf '%060d' "$n")" || true; } >/dev/null 3>&- &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    eventually $LONG settled 0
    for n in $(seq 8); do [ "$(taken "from sender $n:")" -eq 1 ]; done
    [ -z "$(unequal)" ]
}

@test 'the same key by two at once is one message' {
    idle_agent
    at_once tmo-send -k one 1/developer 'only once'
    eventually $LONG settled 0
    [ "$(taken 'only once')" -eq 1 ]
}

@test 'two recoveries at once launch a crashed agent once' {
    running a 'say ready'
    running b 'say ready'
    eventually $LONG all_states idle
    kill -9 "$(pid_of 1/developer)" "$(pid_of 2/developer)"
    eventually $LONG confirmed 1/developer shell
    eventually $LONG confirmed 2/developer shell
    at_once tmo-recover
    eventually $LONG recovered
    [ "$(journal start .pid | wc -l)" -eq 4 ]
    [ -z "$(unequal)" ]
}

recovered() {
    tmo-recover >/dev/null
    all_states idle
}

@test 'many first commands at once make one database' {
    project shop
    local n jobs=()
    for n in $(seq 16); do
        tmo-enqueue -p "$W/shop" -n "n$n" "$W/shop.md" >"$W/out.$n" 2>&1 3>&- &
        jobs+=($!)
    done
    for n in "${jobs[@]}"; do wait "$n"; done
    want 0 tmo-project
    out 'length == 16 and (map(.name) | unique | length == 16)'
    want 0 tmo-repair-db --check
}
