#!/usr/bin/env bats
# tmo-send - type a message into an agent's pane and prove that it was submitted
load ../helper

KEYS='id key target pane_id state evidence attempts duration_s reason project_id role due_at'

@test 'a message is submitted, and the agent has it once' {
    idle_agent
    want 0 tmo-send 1/developer 'please commit what you have'
    silent
    # shellcheck disable=SC2086 # words
    keys $KEYS
    out '.[0] | .state == "submitted" and .target == "1/developer" and .pane_id == "%0" and .attempts == 1 and .reason == null
        and .project_id == 1 and .role == "developer" and (.evidence == "transcript" or .evidence == "hook")
        and .duration_s > 0 and .duration_s < 60'
    [ "$(taken 'please commit what you have')" -eq 1 ]
}

@test 'a TARGET may be the pane, the window, or project and role; the text may come from stdin' {
    idle_agent
    for target in %0 quiet-1:0 quiet-1:Developer 1/developer 1/Developer; do
        want 0 tmo-send "$target" "to $target"
        [ "$(taken "to $target")" -eq 1 ]
        eventually $LONG state_is 1/developer idle
    done
    printf 'line one\nline two\n' | want 0 tmo-send 1/developer -
    [ "$(last_prompt)" = $'line one\nline two' ]
}

@test 'a text of any kind arrives as it is' {
    idle_agent
    long=$(head -c 20000 /dev/urandom | od -An -tx1)
    i=0
    # shellcheck disable=SC2016 # nothing is to be expanded
    for text in 'ends with;' ';' '-n' '--help' 'Enter' '#{pane_id} #(touch PWNED)' '$(touch PWNED) `touch PWNED`' 'a"b'\''c\d' \
        'ends with \' $'two\n\nparagraphs' 'ünïcödé ✓ 漢字 🚀' '%d %s %%' '? not a command' '@file' "$long"; do
        i=$((i + 1))
        want 0 tmo-send -k "t$i" 1/developer -- "$text"
        out '.[0].state == "submitted" or .[0].state == "accepted"'
        eventually $LONG state_is 1/developer idle
    done
    want 0 tmo-deliver
    # White space may change: agents fold it.
    jq -s '[.[] | select(.kind == "prompt") | .prompt | gsub("\\s"; "")] | .[1:]' "$TMO_STUB_JOURNAL" >"$W/taken"
    jq -e --arg long "$(tr -d '[:space:]' <<<"$long")" 'length == 15 and .[14] == $long and .[0] == "endswith;" and .[1] == ";"
        and .[3] == "--help" and .[5] == "#{pane_id}#(touchPWNED)" and .[8] == "endswith\\" and .[10] == "ünïcödé✓漢字🚀"' "$W/taken"
    [ -z "$(find "$W" -name PWNED)" ]
}

@test 'what a terminal would obey is taken out' {
    idle_agent
    want 0 tmo-send 1/developer $'a\e[201~\rb\e[31mc\e]0;title\ad\x01\x7fe\tf'
    [ "$(last_prompt | tr -d '[:space:]')" = abcdef ]
}

@test 'with its key a message is sent once' {
    idle_agent
    want 0 tmo-send -k k1 1/developer 'only once'
    cp "$W/out" "$W/first"
    want 0 tmo-send -k k1 1/developer 'only once'
    cmp "$W/out" "$W/first"
    [ "$(taken 'only once')" -eq 1 ]
    want 2 tmo-send -k k1 1/developer 'another text'
    says tmo-send "key 'k1' is of another message"
    want 2 tmo-send -k k1 %0 'only once'
    want 1 tmo-send -k k2 9/developer 'nowhere'
    want 1 tmo-send -k k2 9/developer 'nowhere' # a closed row is returned with its own status
}

@test '-q only queues, -A sends later, and tmo-deliver brings it' {
    idle_agent
    want 0 tmo-send -q 1/developer 'by the outbox'
    out '.[0] | .state == "queued" and .attempts == 0'
    want 0 tmo-send -A +30m 1/developer 'in half an hour'
    out '.[0] | .state == "queued" and (.due_at - now | . > 1700 and . < 1801)'
    want 0 tmo-send -A 4000000000 1/developer 'in the year 2096'
    out '.[0].due_at == 4000000000'
    want 0 tmo-send -A +0s 1/developer 'at once'
    want 0 tmo-deliver
    out 'map(.state) == ["submitted", "submitted"] or map(.state) == ["submitted", "accepted"]'
    eventually $LONG state_is 1/developer idle
    [ "$(journal prompt '.prompt' | tail -2)" = $'by the outbox\nat once' ]
    want 0 tmo-send -k later -A +1d 1/developer 'now, after all'
    want 0 tmo-send -k later 1/developer 'now, after all' # an open row is tried now
    out '.[0].state == "submitted"'
}

@test 'a busy agent accepts it, and has it once it is free' {
    running shop 'work 2' 'finish' 'say ready'
    want 0 tmo-send 1/developer 'in between'
    out '.[0].state == "accepted"'
    eventually $LONG settled 0
    [ "$(taken 'in between')" -eq 1 ]
}

@test 'into a dialog, a shell, a dead pane or nothing at all it is not typed' {
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    running asks 'ask touch PWNED'
    running shell 'crash'
    running dead 'kill-pane'
    eventually $LONG state_is 1/developer dialog
    eventually $LONG state_is 2/developer shell
    eventually $LONG state_is 3/developer dead
    want 75 tmo-send 1/developer 'touch PWNED'
    out '.[0] | .state == "held" and (.reason | contains("dialog permission"))'
    state_is 1/developer dialog # it is still there
    want 1 tmo-send 2/developer 'touch PWNED'
    out '.[0] | .state == "refused" and (.reason | contains("shell"))'
    want 1 tmo-send 3/developer 'touch PWNED'
    out '.[0] | .state == "refused" and (.reason | contains("dead"))'
    want 1 tmo-send 9/developer 'touch PWNED'
    out '.[0] | .state == "refused" and .pane_id == null and .reason == "no project 9"'
    want 1 tmo-send 1/gardener 'touch PWNED'
    want 1 tmo-send nowhere:0 'touch PWNED'
    out '.[0].reason == "no such pane"'
    [ -z "$(find "$W" -name PWNED)" ]
    ! screen_of "$(pane_of 2/developer)" | grep -q PWNED || fail 'it was typed into the shell'
    [ "$(taken PWNED)" -eq 0 ]
}

@test 'over the draft of a person it is not typed' {
    running shop 'draft half a thought'
    eventually $LONG state_is 1/developer draft
    want 75 tmo-send 1/developer 'a message'
    out '.[0] | .state == "held" and (.reason | contains("draft"))'
    screen_of %0 | grep -q 'half a thought'
    ! screen_of %0 | grep -q 'a message' || fail 'it was typed'
}

@test 'what waits for the same agent goes first, but for what a hold keeps back' {
    setting message_retry_s 1000
    idle_agent
    tmux -S "$TMO_SOCKET" send-keys -t %0 -l 'half a thought'
    eventually $LONG state_is 1/developer draft
    want 75 tmo-send 1/developer 'the first'
    tmux -S "$TMO_SOCKET" send-keys -t %0 C-u
    eventually $LONG state_is 1/developer idle
    want 0 tmo-send 1/developer 'the second'
    out '.[0].state == "submitted" or .[0].state == "accepted"'
    eventually $LONG state_is 1/developer idle
    [ "$(journal prompt .prompt | tail -2 | tr '\n' ,)" = 'the first,the second,' ]
    want 0 tmo-hold project/1
    want 0 tmo-send -q 1/developer 'held back'
    want 0 tmo-send 1/developer 'a person decides'
    [ "$(taken 'held back')" -eq 0 ]
}

@test 'no loop can flood an agent: a pane is written to so often a minute, the rest waits' {
    setting pane_messages_per_minute 3 # the briefing was the first
    idle_agent
    want 0 tmo-send 1/developer 'one'
    want 0 tmo-send 1/developer 'two'
    want 75 tmo-send 1/developer 'three'
    out '.[0] | .state == "held" and (.reason | contains("too often in the last minute"))'
    for n in 1 2 3 4 5; do want 0 tmo-send -A +0.1s 1/developer "reminder $n"; done
    for n in 1 2 3; do want 0 tmo-deliver; done
    [ "$(journal prompt 1 | wc -l)" -eq 3 ]
    sql 'UPDATE message SET typed_at = typed_at - 60' # a minute later
    eventually $LONG delivered 5
}

delivered() {
    tmo-deliver >/dev/null
    [ "$(journal prompt 1 | wc -l)" -ge "$1" ]
}

@test 'copy mode does not swallow it' {
    idle_agent
    tmux -S "$TMO_SOCKET" copy-mode -t %0
    want 0 tmo-send 1/developer 'are you there'
    [ "$(taken 'are you there')" -eq 1 ]
}

@test 'no Enter goes into the other panes of a window whose panes are synchronized' {
    idle_agent
    tmux -S "$TMO_SOCKET" split-window -d -t %0 "cat >$W/other" \; set-window-option -t %0 synchronize-panes on
    want 75 tmo-send 1/developer 'only for the agent'
    out '.[0] | .state == "held" and (.reason | contains("synchronized"))'
    tmux -S "$TMO_SOCKET" set-window-option -t %0 synchronize-panes off
    want 0 tmo-send 1/developer 'now'
    [ ! -s "$W/other" ]
}

@test 'an agent that does not react: what is not seen is not submitted, and it is said so' {
    running shop 'deaf 60'
    eventually $LONG begun deaf
    want 1 tmo-send -t 1 1/developer 'hello?'
    out '.[0] | .state == "typed" and (.reason | contains("Enter was not pressed"))'
    [ "$(taken 'hello?')" -eq 0 ]
}

@test 'a pane that nobody tagged may be written to when a person names it' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" "$BIN/tmo-stub-agent --start-s 0" \; split-window -d -t mine: 'exec cat'
    eventually $LONG trust_shown
    tmux -S "$TMO_SOCKET" send-keys -t mine:0.0 Down Enter
    eventually $LONG state_is mine:0.0 idle
    want 0 tmo-send mine:0 'hello stranger' # of several panes one holds an agent
    out '.[0] | .state == "submitted" and .project_id == null and .role == null'
    [ "$(taken 'hello stranger')" -eq 1 ]
    tmux -S "$TMO_SOCKET" new-window -d -t mine: 'exec cat' \; split-window -d -t mine:1 'exec cat'
    want 1 tmo-send mine:1 'hello cats'
    out '.[0] | .state == "refused" and (.reason == "no such pane" or .reason == "the window has several panes")'
}

@test 'an agent of a person that keeps its conversation to itself gets nothing that could not be proven' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" "$BIN/tmo-stub-agent --start-s 0"
    eventually $LONG trust_shown
    tmux -S "$TMO_SOCKET" send-keys -t mine:0.0 Down Enter
    eventually $LONG state_is mine:0.0 idle
    mv "$TMO_STUB_HOME/sessions" "$W/sessions" # as in its first moments, when its composer is up before its registry
    want 75 tmo-send -k early mine:0 'hello stranger'
    out '.[0] | .state == "held" and .attempts == 0'
    [ "$(taken 'hello stranger')" -eq 0 ]
    mv "$W/sessions" "$TMO_STUB_HOME/sessions"
    want 0 tmo-send -k early mine:0 'hello stranger'
    out '.[0].state == "submitted"'
}

trust_shown() { screen_of mine:0.0 | grep -q 'trust'; }

@test 'what an agent takes as a command is refused unless it is asked for' {
    idle_agent
    for text in '!touch PWNED' '/exit' '  /clear now'; do
        want 1 tmo-send 1/developer "$text"
        out '.[0] | .state == "refused" and (.reason | contains("command"))'
    done
    want 0 tmo-send 1/developer '/tmp/a/path is no command'
    eventually $LONG state_is 1/developer idle
    tmo-send --command -t 2 1/developer '/clear' >"$W/out" || true
    [ "$(journal command .command)" = /clear ]
    want 1 tmo-send 1/developer '  '
    out '.[0] | .state == "refused" and .reason == "the message is empty"'
}

@test '--strip-wrappers takes off what a tool call left around the text' {
    idle_agent
    want 0 tmo-send --strip-wrappers 1/developer '<message><parameter name="text">the core</parameter></message>'
    [ "$(last_prompt)" = 'the core' ]
    want 0 tmo-send 1/developer '<message>as it is</message>'
    [ "$(last_prompt)" = '<message>as it is</message>' ]
}

@test 'rows: each gets its send; with -e one that failed makes it 1' {
    idle_agent
    jq -nc '{target: "1/developer", text: "one", key: "r1", n: 1}, {target: "nowhere:9", text: "two", n: 2},
        {target: "1/developer", text: "three", n: 3}' >"$W/rows"
    want 0 tmo-send - <"$W/rows"
    out 'map(.n) == [1, 2, 3] and .[1].send.state == "refused" and .[0].send.key == "r1"'
    out '[.[0], .[2]] | all(.send.state == "submitted" or .send.state == "accepted")'
    want 1 tmo-send -e - <<<'{"target": "nowhere:9", "text": "two"}'
    want 0 tmo-send -e - <<<'{"target": "1/developer", "text": "one", "key": "r1"}'
    want 2 tmo-send - <<<'{"target": "1/developer"}'
    says tmo-send 'a row needs a target and a text'
    out '.[0].send == null'
}

@test 'rows: what names one message is refused, and each row has a key of its own' {
    idle_agent
    jq -nc '{target: "1/developer", text: "one", key: "r1"}, {target: "1/developer", text: "two", key: 0},
        {target: "1/developer", text: "three", key: null}' >"$W/rows"
    want 2 tmo-send -k once - <"$W/rows"
    says tmo-send "a row's own key"
    nothing
    want 2 tmo-send -k '' 1/developer one
    says tmo-send 'KEY is empty'
    nothing
    [ "$(sql "SELECT count(*) FROM message WHERE key NOT GLOB 'briefing/*'")" -eq 0 ]
    for _ in 1 2; do
        want 0 tmo-send -q - <"$W/rows"
        out 'map(.send.state) == ["queued", "queued", "queued"] and map(.send.key)[:2] == ["r1", "0"]'
    done
    [ "$(sql "SELECT count(*) FROM message WHERE key NOT GLOB 'briefing/*'")" -eq 4 ]
    want 2 tmo-send -q - <<<'{"target": "1/developer", "text": "four", "key": ""}'
    out '.[0].send == null and (.[0].error | contains("key"))'
    want 0 tmo-send -A +1h - <<<'{"target": "1/developer", "text": "five"}'
    out '.[0].send | .state == "queued" and (.due_at - now | . > 3500 and . < 3601)'
}

@test 'rows: what may be tried again is 75, unless something else was wrong' {
    idle_agent
    echo '{"target": "1/developer", "text": "one", "key": "r1"}' >"$W/rows"
    hold_database
    want 75 tmo-send - <"$W/rows"
    says tmo-send 'is busy'
    out '.[0] | .send == null and (.error | contains("is busy"))'
    want 75 tmo-send -e - <"$W/rows"
    echo 'no row' >>"$W/rows"
    want 2 tmo-send - <"$W/rows"
    kill "${JOBS[-1]}"
}

@test 'however short or long the wait may be, it has an end' {
    idle_agent
    hold_lock "$W"/state/locks/*-0.lock
    for wait in 0 0.0 1; do
        want 75 timeout $LONG tmo-send -k k -t $wait 1/developer 'only once'
        out '.[0] | .state == "held" and (.reason | contains("is being written to"))'
    done
    kill "${JOBS[-1]}"
    eventually $LONG gone "${JOBS[-1]}"
    want 0 tmo-send -k k -t 1e300 1/developer 'only once'
    [ "$(taken 'only once')" -eq 1 ]
}

# hold_lock FILE: somebody writes to a pane until the test is over.
hold_lock() {
    background python3 -c 'import fcntl, signal, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
signal.pause()' "$1" "$W/locked"
    eventually $LONG test -e "$W/locked"
}

@test 'wrong calls: no text, a time that is none' {
    idle_agent
    for words in '' '1/developer' '-t soon 1/developer x' '-t nan 1/developer x' '-t -1 1/developer x' '-t inf 1/developer x' \
        '-A noon 1/developer x' '-A +1y 1/developer x'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-send $words </dev/null
        says tmo-send
        nothing
    done
    [ "$(sql "SELECT count(*) FROM message WHERE text = 'x'")" -eq 0 ]
}

# An agent of which only the screen is known: our stub, by a profile that says nothing of its traces.
plain_agent() {
    mkdir -p "$W/agents"
    sed -e '/^registry = /d; /^transcript = /d' -e 's/^hooks = .*/hooks = []/' -e 's/, "--settings", "{settings}"//' \
        "$ROOT/lib/tmuxorch/agents/stub.toml" >"$W/agents/plain.toml"
    setting agents.plain.args '["--start-s", "0.1"]'
    project plain 'say ready'
    enqueue plain -a plain
    want 0 tmo-start "$ID"
    eventually $LONG state_is "$ID/developer" idle
}

@test 'an agent without traces: submitted by its screen, which the row says' {
    plain_agent
    [ "$(sql 'SELECT state, evidence FROM message')" = 'submitted|screen' ] # its briefing
    want 0 tmo-send 1/developer 'a word'
    out '.[0] | .state == "submitted" and .evidence == "screen"'
    [ "$(taken 'a word')" -eq 1 ]
    tmux -S "$TMO_SOCKET" send-keys -t "$(pane_of 1/developer)" -l 'half a thought'
    eventually $LONG state_is 1/developer draft
    want 75 tmo-send 1/developer 'not now'
    out '.[0] | .state == "held" and .evidence == null'
    [ -z "$(unequal)" ] || fail "$(unequal)"
}

@test 'an agent without traces: what a dead sender left is never typed again' {
    plain_agent
    want 0 tmo-send -k left 1/developer 'only once'
    # As if the sender had been killed between the Enter and its last word.
    sql "UPDATE message SET state = 'typing', evidence = NULL, closed_at = NULL, typed_at = typed_at - 10 WHERE key = 'left'"
    want 0 tmo-deliver
    [ "$(sql "SELECT state FROM message WHERE key = 'left'")" = unknown ]
    [ "$(taken 'only once')" -eq 1 ]
}
