#!/usr/bin/env bats
# What breaks in a night, and how the pipelines bring it back: `minute` runs what cron runs in a minute.

load ../helper

# launches ACTOR: how many agents it launched.
launches() { tmo-log -k launch | jq -s --arg a "$1" 'map(select(.actor == $a)) | length'; }

# notices: how often a person was called.
notices() { tmo-log -k notice | grep -c needs_human || true; }

# minutes N: so many of them.
minutes() {
    local n
    for n in $(seq "$1"); do minute; done
}

ends_well() {
    minutes_until $LONG all_status completed
    [ -z "$(unequal)" ] || fail "$(unequal)"
    [ "$(agent_pids | wc -l)" -eq "$(tmo-ls | wc -l)" ] || fail 'not one agent a pane'
}

@test 'an agent that crashed to its shell, and one whose pane died' {
    running crash 'work 0.2' 'commit a.txt' 'crash' 'commit b.txt' 'done'
    running dead 'work 0.2' 'commit a.txt' 'kill-pane' 'commit b.txt' 'done'
    ends_well
    [ "$(launches tmo-recover)" -eq 2 ]
    [ "$(taken 'You were brought back')" -eq 2 ]
    for name in crash dead; do [ "$(git -C "$W/$name" log --format=%s | sort | tr '\n' ' ')" = 'work: a.txt work: b.txt ' ]; done
    [ "$(notices)" -eq 0 ]
}

@test 'a session that was killed, beside one that was not' {
    running gone 'work 1000'
    running stays 'say ready'
    tmux -S "$TMO_SOCKET" kill-session -t =gone-1
    minutes_until $LONG state_is 1/developer working
    [ "$(launches tmo-recover)" -eq 1 ]
    want 0 tmo-log -k recovery
    out 'map([.project_id, .name, .source, .dest]) == [[1, "relaunch", "missing", "done"]]'
    [ "$(agent_pids | wc -l)" -eq 2 ]
}

@test 'an agent that had said it is done is brought back for a message that waits for it' {
    running shop 'commit a.txt' 'done' 'finish' 'say I see' 'done'
    eventually $LONG begun finish
    want 0 tmo-send -q 1/developer 'one thing more'
    tmux -S "$TMO_SOCKET" kill-session -t =shop-1
    ends_well
    [ "$(taken 'one thing more')" -eq 1 ]
    [ "$(launches tmo-recover)" -eq 1 ]
}

@test 'the tmux server was killed under six agents' {
    local n
    for n in 1 2 3 4 5 6; do
        project "p$n" 'commit a.txt' 'work 20' 'commit b.txt' 'done'
        enqueue "p$n"
    done
    want 0 tmo-start
    eventually $LONG six_at_work # in the midst of a commit git would leave its lock behind
    kill -9 "$(server_pid)"
    ends_well
    [ "$(launches tmo-recover)" -eq 6 ]
    [ "$(taken 'You were brought back')" -eq 6 ]
    [ "$(notices)" -eq 0 ]
}

six_at_work() { [ "$(journal step .step | grep -cx work)" -eq 6 ]; }

@test 'a message of ours that was typed and not submitted' {
    setting send_timeout_s 1
    running shop 'deaf 12' 'finish' 'commit a.txt' 'done'
    eventually $LONG begun deaf
    want 1 tmo-send 1/developer 'use 100 as the limit'
    out '.[0].state == "typed"'
    minutes_until $LONG taken_once 'use 100 as the limit'
    setting send_timeout_s 10
    ends_well
    want 0 tmo-log -k recovery
    out 'map([.name, .source, .dest]) == [["submit", "draft", "done"]]'
}

@test 'a second message to an agent that does not read its keyboard waits behind the first' {
    setting send_timeout_s 1
    running shop 'deaf 10' 'finish' 'commit a.txt' 'done'
    eventually $LONG begun deaf
    want 1 tmo-send 1/developer 'the first of two'
    out '.[0].state == "typed"'
    want 75 tmo-send 1/developer 'the second of two'
    out '.[0] | .state == "held" and (.reason | contains("has not read an earlier message"))'
    setting send_timeout_s 10
    ends_well
    [ "$(taken 'the first of two')" -eq 1 ]
    [ "$(taken 'the second of two')" -eq 1 ]
    [ "$(notices)" -eq 0 ]
}

taken_once() { [ "$(taken "$1")" -eq 1 ]; }

@test 'a draft of a person is left alone, and reported once' {
    running shop 'draft half a thought' 'finish' 'commit a.txt' 'done'
    eventually $LONG state_is 1/developer draft
    want 0 tmo-send -q 1/developer 'a message'
    minutes 4
    [ "$(notices)" -eq 1 ]
    screen_of %0 | grep -q 'half a thought' || fail 'the draft is gone'
    [ "$(journal prompt .prompt | grep -c 'half a thought')" -eq 0 ]
    [ "$(taken 'a message')" -eq 0 ]
    tmux -S "$TMO_SOCKET" send-keys -t %0 Enter # the person goes on
    ends_well_with 'half a thought'
    [ "$(taken 'a message')" -eq 1 ]
}

# ends_well_with TEXT: as ends_well, with one prompt that a person typed.
ends_well_with() {
    minutes_until $LONG all_status completed
    [ "$(unequal)" = "submitted 0, taken 1: $(tr -d ' ' <<<"$1")" ] || fail "$(unequal)"
}

@test 'a dialog is reported once, and never answered by us' {
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    running shop 'ask touch allowed.txt' 'commit allowed.txt' 'done'
    eventually $LONG state_is 1/developer dialog
    want 0 tmo-send -q 1/developer '1'
    minutes 4
    [ "$(notices)" -eq 1 ]
    want 0 tmo-log -k notice
    out '.[0].why | contains("dialog (permission)")'
    [ ! -e "$W/shop/allowed.txt" ]
    state_is 1/developer dialog
    tmux -S "$TMO_SOCKET" send-keys -t %0 Enter # a person allows it
    ends_well
}

@test 'with dialog.permission = accept the item that lets the agent go on is chosen' {
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    setting dialog.permission '"accept"'
    running shop 'ask touch allowed.txt' 'commit allowed.txt' 'done'
    ends_well
    [ "$(journal dialog '.answer')" = Yes ]
    [ "$(notices)" -eq 0 ]
}

@test 'a lost login holds everything back; a new one brings all of it back' {
    running loses 'work 0.2' 'login-lost' 'commit a.txt' 'done'
    running suffers 'work 3' 'commit a.txt' 'done'
    running crashes 'work 1000' 'done'
    minutes_until $LONG hold_is agent/stub login
    project waits 'commit a.txt' 'done'
    enqueue waits
    kill -9 "$(pid_of 3/developer)"
    minutes_until $LONG both_in_login
    before=$(journal start .pid | wc -l)
    minutes 3
    [ "$(journal start .pid | wc -l)" -eq "$before" ] || fail 'an agent was launched without a login'
    status_is 4 queued
    want 0 tmo-ls 3/developer
    [ "$(tmo-health 3/developer | jq -r .health.state)" = shell ]
    [ "$(tmo-grace 1 | jq '.grace.held_s > 0 and .grace.auth_s > 0')" = true ]
    [ "$(notices)" -eq 0 ]
    tmo-stub-agent auth login
    sql "UPDATE project_queue SET verify_command = 'true' WHERE id = 3" # nothing else is wanted of the third
    minutes_until $LONG back_at_work
    want 0 tmo-hold
    nothing
    want 0 tmo-project -E cancel 3
    minutes_until $LONG all_but_third_completed
    [ -z "$(unequal)" ] || fail "$(unequal)"
    [ "$(taken 'The login had been lost and is back')" -eq 2 ] || fail 'each is told once'
}

hold_is() { tmo-hold | jq -es --arg n "$1" --arg c "$2" 'map([.name, .cause]) == [[$n, $c]]' >/dev/null; }
both_in_login() { state_is 1/developer login && state_is 2/developer login; }
back_at_work() { state_is 3/developer working && status_is 1 completed; }
all_but_third_completed() { tmo-project 1 2 4 | jq -es 'all(.status == "completed")' >/dev/null; }

@test 'a usage limit: one agent comes back first, then the rest' {
    running hits 'limit 2' 'commit a.txt' 'done'
    running feels 'work 1' 'commit a.txt' 'done'
    minutes_until $LONG hold_is agent/stub limit
    want 0 tmo-hold
    reset=$(tmo-health 1/developer | jq .health.reset_at)
    # It is waited for: the end that the agent named, to the whole minute, and the margin.
    out '(.[0].next_probe_at - $reset - 0.2 | fabs) < 0.01' --argjson reset "$reset"
    minutes 2
    hold_is agent/stub limit
    sql "UPDATE hold SET next_probe_at = $(($(date +%s) + 2))" # the rest of that minute is spared us
    ends_well
    minutes_until $LONG nobody_held
    want 0 tmo-log -k hold
    out 'map(.name) == ["hold", "release"]'
    [ "$(taken 'The usage limit is over')" -ge 1 ]
    [ "$(notices)" -eq 0 ]
}

@test 'a second limit behind the first: it is waited for, and nobody is told to go on meanwhile' {
    running shop 'limit 2' 'commit a.txt' 'done'
    minutes_until $LONG hold_is agent/stub limit
    sql 'UPDATE hold SET next_probe_at = 1'
    weekly=$(($(date +%s) + 4 * 86400))
    jq -c ".limit_until = $weekly" "$TMO_STUB_HOME/server.json" >"$W/server.json" && mv "$W/server.json" "$TMO_STUB_HOME"
    minutes_until $LONG put_off
    minutes 3
    want 0 tmo-hold
    out '(.[0].next_probe_at - $weekly | . > 0 and . < 61) and (.[0].why | contains("resets"))' --argjson weekly "$weekly"
    [ "$(taken 'The usage limit is over')" -eq 1 ]
}

put_off() { tmo-hold | jq -e '.pilot == null and .probes == 1 and .next_probe_at > now + 86400' >/dev/null; }

@test 'the one that comes back first crashes, and the tmux server with it: the others do not wait for it' {
    running hits 'limit 2' 'crash' 'commit a.txt' 'done'
    running feels 'work 1' 'commit a.txt' 'done'
    minutes_until $LONG hold_is agent/stub limit
    sql "UPDATE hold SET next_probe_at = $(($(date +%s) + 2))"
    minutes_until $LONG pilot_crashed
    kill -9 "$(server_pid)"
    ends_well
    want 0 tmo-hold
    nothing
}

@test 'the one that comes back first gets stuck on its way: it is helped, or the others do not wait for it' {
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    setting dialog.permission '"accept"'
    running asks 'login-lost' 'ask true' 'commit a.txt' 'done'
    running feels 'work 3' 'commit a.txt' 'done'
    minutes_until $LONG hold_is agent/stub login
    minutes_until $LONG both_in_login
    tmo-stub-agent auth login
    ends_well
    # And where nobody may answer its question:
    minutes_until $LONG nobody_held
    setting dialog.permission '"report"'
    running asks-too 'login-lost' 'ask true' 'done'
    running feels-too 'work 3' 'done'
    minutes_until $LONG hold_is agent/stub login
    minutes_until $LONG state_is 4/developer login
    tmo-stub-agent auth login
    minutes_until $LONG status_is 4 completed
    state_is 3/developer dialog
    [ "$(notices)" -eq 1 ]
    minutes_until $LONG nobody_held
}

nobody_held() { [ -z "$(tmo-hold)" ]; }
pilot_crashed() { [ "$(journal exit .status | grep -c 1)" -ge 1 ]; }

@test 'an error of the API: the agent is told to go on' {
    running shop 'commit a.txt' 'error 500' 'commit b.txt' 'done'
    ends_well
    [ "$(taken 'The last request failed')" -eq 1 ]
    want 0 tmo-log -k recovery
    out 'map([.name, .source, .dest]) == [["nudge", "api_error", "done"]]'
}

@test 'a context that is full is made smaller' {
    setting stuck_s 1
    running shop 'commit a.txt' 'context-full' 'commit b.txt' 'done'
    minutes_until $LONG all_status completed
    [ "$(journal command .command)" = /compact ]
    want 0 tmo-log -k recovery
    out '.[0] | [.name, .source, .dest] == ["compact", "context_full", "done"]'
    [ "$(launches tmo-recover)" -eq 0 ]
}

@test 'an agent that idles is nudged three times, and then a person is called, once' {
    setting stuck_s 0.3
    running shop 'say what now'
    called_after_three_nudges
    status_is 1 processing
}

called_after_three_nudges() {
    minutes_until $LONG called
    minutes 3
    [ "$(taken 'You have been idle for a while')" -eq 3 ]
    [ "$(notices)" -eq 1 ]
    want 0 tmo-log -k notice
    out '.[0].why | contains("3 nudges did not help")'
}

@test 'one that answers each nudge at length, and does no more than talk, idles like any other' {
    setting stuck_s 1
    steps=()
    for _ in 1 2 3 4 5 6 7 8 9; do steps+=(finish 'work 1' 'say which colour is it to be?'); done
    running shop 'say what now' "${steps[@]}"
    called_after_three_nudges
    # What somebody says to it is a beginning, and a call of a person is one.
    want 0 tmo-send 1/developer 'blue'
    minutes_until $LONG nudged_again
    [ "$(notices)" -eq 1 ]
}

nudged_again() { [ "$(taken 'You have been idle for a while')" -ge 4 ]; }
called() { [ "$(notices)" -ge 1 ]; }

@test 'an agent that a person was called for, and that is lost then, is brought back' {
    setting stuck_s 0.3
    setting backoff_min_s 60
    setting backoff_max_s 0.3
    running shop 'finish' 'finish' 'finish' 'finish' 'commit a.txt' 'done'
    minutes_until $LONG called
    kill -9 "$(server_pid)"
    ends_well
    [ "$(launches tmo-recover)" -eq 1 ]
    [ "$(notices)" -eq 1 ]
}

@test 'a crash loop stops after five restarts, and a person is called, once' {
    running shop 'crash' 'crash' 'crash' 'crash' 'crash' 'crash' 'crash' 'crash' 'crash'
    minutes_until $LONG called
    minutes 3
    [ "$(launches tmo-recover)" -eq 5 ]
    [ "$(journal start .pid | wc -l)" -eq 6 ]
    [ "$(notices)" -eq 1 ]
    want 0 tmo-log -k notice
    out '.[0].why | contains("crash loop")'
    status_is 1 processing
    [ -z "$(unequal)" ]
}

@test 'an agent that hangs is launched anew, and the old one is gone' {
    setting stuck_s 3
    running shop 'commit a.txt' 'hang' 'commit b.txt' 'done'
    old=$(pid_of 1/developer)
    ends_well
    gone "$old"
    want 0 tmo-log -k recovery
    out '.[0] | [.name, .source, .dest] == ["relaunch", "hung", "done"]'
}

@test 'a shell in which something else runs is reported, and not taken' {
    running shop 'crash'
    eventually $LONG state_is 1/developer shell
    tmux -S "$TMO_SOCKET" send-keys -t %0 'exec cat' Enter
    eventually $LONG confirmed_program
    minutes 3
    [ "$(notices)" -eq 1 ]
    [ "$(launches tmo-recover)" -eq 0 ]
    want 0 tmo-ls
    out '.[0].pane_command == "cat"'
}

confirmed_program() { tmo-health 1/developer | jq -e '.health | .state == "shell" and .detail == "program" and .confirmed' >/dev/null; }

@test 'with observe nothing is started, typed or brought back: the rows say what would be' {
    running crash 'crash' 'done'
    project next 'done'
    enqueue next
    want 0 tmo-send -q 1/developer 'a message'
    setting observe true
    eventually $LONG confirmed 1/developer shell
    minutes 2
    want 75 tmo-start
    out 'map([.id, .status, .start]) == [[2, "queued", "planned"]]'
    look_and_recover() { tmo-health | tmo-recover -; }
    want 0 look_and_recover
    out 'map(select(.project_id) | .recovery | [.action, .result]) == [["relaunch", "planned"]]'
    want 0 tmo-deliver
    out 'map([.state, .reason]) == [["queued", "planned"]]'
    [ "$(launches tmo-recover)" -eq 0 ]
    [ "$(taken 'a message')" -eq 0 ]
    setting observe false
    ends_well
}

@test 'an agent whose profile is broken meanwhile is unknown, and nothing is done to it: the others go on' {
    mkdir "$W/agents"
    cp "$ROOT/lib/tmuxorch/agents/stub.toml" "$W/agents/mine.toml"
    setting agents.mine.args '["--start-s", "0.1"]'
    setting stuck_s 1
    project mine 'work 3' 'finish' 'done'
    want 0 tmo-enqueue -a mine -p "$W/mine" "$W/mine.md"
    running shop 'work 0.1' 'finish' 'done'
    want 0 tmo-start 1
    eventually $LONG begun work
    want 0 tmo-send 1/developer 'and a note'
    out '.[0].state == "accepted"'
    want 0 tmo-send -A +1s 1/developer 'a note for later'
    eventually $LONG state_is 1/developer idle
    echo 'launch =' >"$W/agents/mine.toml"
    minutes_until $LONG status_is 2 completed
    want 0 tmo-health
    out 'map(select(.project_id == 1))[0].health | .state == "unknown" and (.detail | contains("mine.toml"))'
    [ "$(sql "SELECT count(*) FROM event WHERE kind = 'recovery' AND project_id = 1")" -eq 0 ]
    [ "$(sql "SELECT count(*) FROM message WHERE project_id = 1 AND state = 'held'")" -eq 1 ]
    cp "$ROOT/lib/tmuxorch/agents/stub.toml" "$W/agents/mine.toml"
    minutes_until $LONG all_status completed
    [ -z "$(unequal)" ]
}

@test 'a project that a person holds is not the one that the others wait for' {
    running held 'work 0.3' 'limit 1' 'commit a.txt' 'done'
    running other 'work 0.3' 'limit 1' 'commit a.txt' 'done'
    want 0 tmo-hold -w 'a person looks at it' project/1
    minutes_until $LONG status_is 2 completed
    [ "$(sql "SELECT count(*) FROM message WHERE project_id = 1 AND key GLOB 'return/*'")" -eq 0 ]
    want 0 tmo-hold -r project/1
    minutes_until $LONG all_status completed
}

@test 'an agent whose shell a person used for a while is brought back once it is free' {
    running shop 'crash' 'commit a.txt' 'done'
    eventually $LONG state_is 1/developer shell
    pane=$(pane_of 1/developer)
    tmux -S "$TMO_SOCKET" send-keys -t "$pane" 'sleep 1000' Enter
    minutes_until $LONG reported
    [ "$(sql "SELECT count(*) FROM event WHERE kind = 'launch' AND actor = 'tmo-recover'")" -eq 0 ]
    tmux -S "$TMO_SOCKET" send-keys -t "$pane" C-c
    minutes_until $LONG all_status completed
}

@test 'an agent comes back in a shell of any name, with a helper of its rc file, unless a person runs something in it' {
    cp "$(command -v bash)" "$W/odd"
    export SHELL=$W/odd
    echo 'sleep 1000 </dev/null >/dev/null 2>&1 & disown' >"$HOME/.bashrc"
    running shop 'crash' 'commit a.txt' 'crash' 'done'
    eventually $LONG state_is 1/developer shell
    pane=$(pane_of 1/developer)
    tmux -S "$TMO_SOCKET" send-keys -t "$pane" 'sleep 900 &' Enter # a job in the background
    eventually $LONG confirmed_program
    minutes_until $LONG reported
    [ "$(launches tmo-recover)" -eq 0 ]
    tmux -S "$TMO_SOCKET" send-keys -t "$pane" 'kill %1' Enter
    ends_well
    [ "$(launches tmo-recover)" -eq 2 ]
}

reported() { [ "$(sql "SELECT count(*) FROM event WHERE name = 'needs_human' AND why LIKE '%(program)'")" -eq 1 ]; }
