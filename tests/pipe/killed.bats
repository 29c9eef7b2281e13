#!/usr/bin/env bats
# Commands that are killed (kill -9) at any moment: the next runs finish what they began, once.

load ../helper

# killed_at_random COMMAND...: run it, and kill it within so many hundredths of a second ($WITHIN); its children end by
# themselves. The seed makes the moments the same in each run, as far as a machine is.
killed_at_random() {
    local pid
    python3 -c 'import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])' "$@" >>"$W/killed.out" 2>>"$W/killed.err" 3>&- &
    pid=$!
    sleep "$(printf '0.%02d' $((RANDOM % WITHIN)))"
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    eventually $LONG no_group $pid # a tmux client of its own, say
    ! grep -q Traceback "$W/killed.err" || fail "$(cat "$W/killed.err")"
}

no_group() { ! pgrep -g "$1" >/dev/null; }

@test 'starts: each project comes up, with one agent and one briefing' {
    RANDOM=1 WITHIN=90
    local n
    for n in $(seq 10); do
        project "p$n" 'say ready'
        enqueue "p$n"
        killed_at_random tmo-start
        sql 'UPDATE project_queue SET claimed_until = 1 WHERE claimed_until IS NOT NULL' # as if its two minutes were over
        eventually $LONG up "$n"
    done
    eventually $LONG all_states idle
    eventually $LONG settled 0
    want 0 tmo-ls
    out 'length == 10'
    [ "$(agent_pids | wc -l)" -eq 10 ] || fail "$(agent_pids | wc -l) agents"
    for n in $(seq 10); do [ "$(taken "You are the developer of project $n,")" -eq 1 ] || fail "the briefing of $n: $(taken "of project $n,")"; done
    [ -z "$(unequal)" ] || fail "$(unequal)"
}

up() {
    tmo-start >/dev/null || true
    status_is "$1" processing
}

@test 'recoveries: the agent is back, alone, and every briefing that is called submitted was taken once' {
    RANDOM=2 WITHIN=90
    local n
    setting crash_loop_restarts 100
    idle_agent
    for n in $(seq 8); do
        kill -9 "$(pid_of 1/developer)"
        eventually $LONG confirmed 1/developer shell
        killed_at_random tmo-recover
        eventually $LONG back
        eventually $LONG settled 0
        [ "$(agent_pids | wc -l)" -eq 1 ] || fail "$(agent_pids | wc -l) agents"
        [ "$(tmo-ls | wc -l)" -eq 1 ]
    done
    [ -z "$(unequal)" ] || fail "$(unequal)"
    [ "$(taken 'You were brought back')" -ge 8 ] || fail 'an agent came back without a briefing'
}

back() {
    tmo-recover >/dev/null
    state_is 1/developer idle
}

@test 'senders: every message is there once, and none is half typed' {
    RANDOM=3 WITHIN=40
    local n
    idle_agent
    for n in $(seq 20); do
        killed_at_random tmo-send -k "k$n" 1/developer "message $n of many"
        sql "UPDATE message SET typed_at = typed_at - 5 WHERE state = 'typing'" # an agent may take so long to write it down
        eventually $LONG settled 0
        eventually $LONG state_is 1/developer idle
    done
    [ -z "$(unequal)" ] || fail "$(unequal)"
    want 0 tmo-log -k message
    [ "$(sql "SELECT count(*) FROM message WHERE state <> 'submitted'")" -eq 0 ] || fail "$(sql 'SELECT key, state, reason FROM message')"
}

@test 'enqueueing: all of a call, or nothing' {
    RANDOM=4 WITHIN=12
    project shop
    local n
    for n in $(seq 50); do cp "$W/shop.md" "$W/shop.$n.md"; done
    for n in $(seq 8); do
        killed_at_random tmo-enqueue -p "$W/shop" -b "call $n" "$W"/shop.*.md
    done
    want 0 tmo-enqueue -p "$W/shop" -b 'last call' "$W"/shop.*.md # each may have been killed while it made the database
    want 0 tmo-project
    out 'group_by(.batch_id) | all(length == 50)'
    want 0 tmo-repair-db --check
}

@test 'cron lines: killed in the middle of everything, the batch is completed' {
    RANDOM=5 WITHIN=99
    local n
    for n in 1 2 3; do
        project "p$n" 'work 0.3' 'commit a.txt' 'crash' 'work 0.3' 'commit b.txt' 'done'
        enqueue "p$n"
    done
    setting crash_loop_restarts 100
    for n in $(seq 4); do
        for name in start watch deliver complete; do killed_at_random tmo-crontab --run $name; done
        sql 'UPDATE project_queue SET claimed_until = 1 WHERE claimed_until IS NOT NULL'
    done
    minutes_until $LONG all_status completed
    [ -z "$(unequal)" ] || fail "$(unequal)"
}
