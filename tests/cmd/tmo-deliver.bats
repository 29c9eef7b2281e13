#!/usr/bin/env bats
# tmo-deliver - bring what is due in the outbox, and settle what dead senders left
load ../helper

@test 'what is due is brought in the order of each pane, a row a message' {
    running a 'say ready'
    running b 'say ready'
    eventually $LONG state_is 1/developer idle
    eventually $LONG state_is 2/developer idle
    for n in 1 2 3; do
        want 0 tmo-send -q 1/developer "a$n"
        want 0 tmo-send -q 2/developer "b$n"
    done
    want 0 tmo-send -A +1h 1/developer 'not yet'
    want 0 tmo-deliver
    silent
    keys id key target pane_id state evidence attempts duration_s reason project_id role due_at
    eventually $LONG settled 1
    [ "$(journal prompt 'select(.prompt | test("^a\\d$")) | .prompt' | tr '\n' ' ')" = 'a1 a2 a3 ' ]
    [ "$(journal prompt 'select(.prompt | test("^b\\d$")) | .prompt' | tr '\n' ' ')" = 'b1 b2 b3 ' ]
    want 0 tmo-deliver
    nothing
}

@test 'a message that cannot be brought holds back those behind it, and no others' {
    running asks 'draft mine'
    idle_agent b
    eventually $LONG state_is 1/developer draft
    want 0 tmo-send -q 1/developer 'first'
    want 0 tmo-send -q 1/developer 'second'
    want 0 tmo-send -q 2/developer 'other'
    want 0 tmo-deliver
    out 'map([.target, .state]) == [["1/developer", "held"], ["2/developer", "submitted"]]'
    tmux -S "$TMO_SOCKET" send-keys -t "$(pane_of 1/developer)" C-u
    eventually $LONG settled 0
    [ "$(journal prompt 'select(.prompt | test("^(first|second)$")) | .prompt' | tr '\n' ' ')" = 'first second ' ]
}

@test 'a message follows project and role into a new pane' {
    idle_agent
    want 0 tmo-send -q 1/developer 'wherever you are'
    tmux -S "$TMO_SOCKET" kill-session -t =quiet-1
    want 0 tmo-deliver
    out '.[0] | .state == "held" and .reason == "no such pane"'
    eventually $LONG confirmed 1/developer missing
    want 0 tmo-recover
    eventually $LONG settled 0
    [ "$(taken 'wherever you are')" -eq 1 ]
}

@test 'a message by the number of a pane stays with its agent, whoever gets that number' {
    idle_agent alpha
    idle_agent beta
    want 0 tmo-send -q "$(pane_of 2/developer)" 'only for beta'
    tmux -S "$TMO_SOCKET" kill-server
    want 0 tmo-project -E cancel 1
    eventually $LONG confirmed 2/developer missing
    want 0 tmo-recover
    running gamma 'say ready'
    [ "$(pane_of 3/developer)" = "$(sql "SELECT pane_id FROM message WHERE text = 'only for beta'")" ] # or nothing is proved
    eventually $LONG settled 0
    [ "$(journal prompt 'select(.prompt == "only for beta") | .cwd')" = "$W/beta" ]
}

GATE='run until [ -e ../go ]; do sleep 0.05; done' # a step that keeps the agent at work

@test 'an agent on a server that this one cannot see has not ended: its message is not typed again' {
    running shop "$GATE" 'say ready'
    eventually $LONG state_is 1/developer working
    want 0 tmo-send 1/developer 'deploy it'
    out '.[0].state == "accepted"'
    sql 'UPDATE message SET typed_at = typed_at - 10' # long ago: by now it would have left its traces
    TMO_SOCKET=$W/other want 0 tmo-deliver
    nothing
    touch "$W/go"
    eventually $LONG settled 0
    [ "$(taken 'deploy it')" -eq 1 ]
}

@test 'a message that a person takes back out of the queue of its agent holds up nobody' {
    running shop "$GATE" 'done'
    eventually $LONG state_is 1/developer working
    want 0 tmo-send 1/developer 'please also paint it'
    out '.[0].state == "accepted"'
    tmux -S "$TMO_SOCKET" send-keys -t %0 Up
    eventually $LONG shown_in_composer 'please also paint it'
    want 0 tmo-deliver # it may be submitted from there
    tmux -S "$TMO_SOCKET" send-keys -t %0 -l ' red'
    eventually $LONG shown_in_composer 'please also paint it red'
    want 0 tmo-deliver # so it may with what they add
    [ "$(sql "SELECT state FROM message WHERE text GLOB 'please*'")" = accepted ]
    tmux -S "$TMO_SOCKET" send-keys -t %0 C-u
    want 0 tmo-deliver
    out '.[0] | .state == "expired" and (.reason | contains("took it back"))'
    touch "$W/go"
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

shown_in_composer() { screen_of %0 | grep -q "^❯.*$1"; }

@test 'too old, tried too often, or of a project that is over: expired, with the reason' {
    project shop 'say ready'
    enqueue shop
    setting message_max_attempts 2
    want 0 tmo-send -q 1/developer 'too old'
    sql "UPDATE message SET expires_at = 1000"
    want 0 tmo-deliver
    out '.[0] | .state == "expired" and (.reason | contains("not delivered within"))'
    want 0 tmo-send -q 1/developer 'too often'
    sql "UPDATE message SET attempts = 2 WHERE text = 'too often'"
    want 0 tmo-deliver
    out '.[0] | .state == "expired" and (.reason | contains("in 2 attempts"))'
    want 0 tmo-send -q 1/developer 'too late'
    want 0 tmo-project -E cancel 1
    want 0 tmo-deliver
    out '.[0] | .state == "expired" and .reason == "the project is cancelled"'
}

@test 'a message to a pane of nobody ends with that pane' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" 'exec cat' \; set-option -g remain-on-exit on
    want 0 tmo-send -q mine:0 'hello'
    tmux -S "$TMO_SOCKET" respawn-pane -k -t mine:0 'exec cat'
    want 0 tmo-deliver
    out '.[0].state == "expired"'
}

@test 'a message to a pane of nobody finds it again under another name' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" "$BIN/tmo-stub-agent --start-s 0"
    eventually $LONG trust_shown
    tmux -S "$TMO_SOCKET" send-keys -t mine:0.0 Down Enter
    eventually $LONG state_is mine:0.0 idle
    want 0 tmo-send -q mine:0 'hello stranger'
    tmux -S "$TMO_SOCKET" rename-session -t =mine yours
    want 0 tmo-deliver
    out '.[0].state == "submitted"'
}

trust_shown() { screen_of %0 | grep -q trust; }

@test 'a hold, and observe, stop what goes to a pane of nobody too' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" "$BIN/tmo-stub-agent --start-s 0"
    eventually $LONG state_is mine:0.0 dialog
    tmux -S "$TMO_SOCKET" send-keys -t mine:0.0 Down Enter
    eventually $LONG state_is mine:0.0 idle
    want 0 tmo-send -q mine:0 'hello'
    for name in all agent/stub; do
        want 0 tmo-hold "$name"
        eventually $LONG held_back "held" "hold $name"
        want 0 tmo-hold -r "$name"
    done
    setting observe true
    eventually $LONG held_back "held" planned
    setting observe false
    eventually $LONG brought
}
brought() { tmo-deliver >/dev/null && [ "$(taken hello)" -eq 1 ]; }
held_back() { tmo-deliver | jq -es 'map([.state, .reason]) == [$ARGS.positional]' --args "$@" >/dev/null; }

@test 'what a dead sender left half done is settled: submitted once, or told' {
    idle_agent
    want 0 tmo-send -q -k orphan 1/developer 'half done'
    # As a sender leaves it that is killed between its paste and its Enter.
    facts=$(tmo-ls 1/developer | jq -r '.pane_pid')
    tmux -S "$TMO_SOCKET" set-buffer -b x 'half done' \; paste-buffer -p -d -b x -t %0
    transcript=$(find "$TMO_STUB_HOME/projects" -name '*.jsonl')
    sql "UPDATE message SET state = 'typing', pane_id = '%0', pane_pid = $facts, typed_at = $(date +%s), attempts = 1,
        server = (SELECT server FROM project_queue), run = (SELECT run FROM agent_health),
        transcript = '$transcript', transcript_at = $(wc -c <"$transcript"), hook_at = 0 WHERE key = 'orphan'"
    want 0 tmo-hold all
    want 0 tmo-deliver
    nothing # Enter is not pressed in a hold
    want 0 tmo-hold -r all
    want 0 tmo-deliver
    out '.[0] | .key == "orphan" and .state == "submitted"'
    [ "$(taken 'half done')" -eq 1 ]
}

@test 'the time of a hold does not count into the age of a message' {
    idle_agent
    want 0 tmo-send -q -k held 1/developer 'after the limit'
    sql "UPDATE message SET due_at = due_at - 10000, created_at = created_at - 10000, expires_at = 2000 + due_at - 10000"
    sql "INSERT INTO hold (name, cause, actor, since_at, released_at) SELECT 'agent/stub', 'limit', 'x', due_at, due_at + 9000 FROM message WHERE key = 'held'"
    want 0 tmo-deliver
    out '.[0].state == "submitted"'
    want 0 tmo-send -q -k old 1/developer 'too late'
    sql "UPDATE message SET due_at = due_at - 20000, expires_at = due_at - 18000 WHERE key = 'old'"
    want 0 tmo-deliver
    out '.[0].state == "expired"'
}

@test 'a message that waited behind a /clear was taken up in the new conversation' {
    running shop 'work 3' 'say first'
    eventually $LONG state_is 1/developer working
    want 0 tmo-send --command -t 5 1/developer /clear
    want 0 tmo-send -t 5 1/developer 'paint the door red'
    out '.[0].state == "accepted"'
    eventually $LONG painted
    eventually $LONG state_is 1/developer idle
    want 0 tmo-deliver
    [ "$(sql "SELECT state, taken_at IS NULL FROM message WHERE text GLOB 'paint*'")" = 'submitted|0' ]
}

painted() { [ "$(taken 'paint the door red')" -ge 1 ]; }

@test '-t 0 is a short wait, not the usual one' {
    setting send_timeout_s $LONG
    running shop 'deaf 60'
    eventually $LONG begun deaf
    want 0 tmo-send -q 1/developer 'hello?'
    want 0 tmo-deliver -t 0
    out '.[0] | .state == "typed" and .duration_s < 30'
}
