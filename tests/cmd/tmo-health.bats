#!/usr/bin/env bats
# tmo-health - tell each agent's state from evidence
load ../helper

# health FILTER [JQ OPTION...]: what a look at 1/developer says satisfies the filter.
health() { tmo-health 1/developer | jq -e ".health | $1" "${@:2}" >/dev/null; }

@test 'the row gets its health' {
    idle_agent
    want 0 tmo-health
    silent
    out '.[0].health | keys == ($keys | split(" ") | sort)' --arg keys \
        'state detail confirmed since_at is_stuck stuck_s has_agent last_activity_at evidence reset_at dialog'
    out '.[0].health | .state == "idle" and .detail == null and (.confirmed | type) == "boolean" and .is_stuck == false
        and .stuck_s == null and .has_agent and (now - .since_at | . >= 0 and . < 60) and (.evidence | index("registry") != null)
        and (now - .last_activity_at | . < 60) and .reset_at == null and .dialog == null'
    want 0 tmo-health %0 1/developer quiet-1:0
    out 'length == 3 and all(.health.state == "idle" and .pane_id == "%0")'
}

@test 'the states that one agent can be in' {
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    running working 'work 1000'
    running idle 'say hello'
    running draft 'draft half a thought'
    running dialog 'ask rm -r x'
    running api_error 'error 500'
    running context_full 'context-full'
    running shell 'crash'
    running dead 'kill-pane'
    running stopped 'say hello'
    running program 'crash'
    running missing 'say hello'
    eventually $LONG state_is 9/developer idle
    kill -STOP "$(pid_of 9/developer)"
    eventually $LONG state_is 10/developer shell
    tmux -S "$TMO_SOCKET" send-keys -t "$(pane_of 10/developer)" 'exec cat' Enter
    tmux -S "$TMO_SOCKET" kill-session -t =missing-11
    eventually $LONG table
    kill -CONT "$(pid_of 9/developer)"
    want 0 tmo-health -e 2/developer
    want 1 tmo-health -e 2/developer 3/developer # one of them is stuck
}

table() {
    tmo-health | jq -r '"\(.project_id) \(.health | [.state, .detail // "-", .dialog // "-", .is_stuck, .has_agent] | join(" "))"' | sort -n >"$W/table"
    grep -qx '1 working - - false true' "$W/table" &&
        grep -qx '2 idle - - false true' "$W/table" &&
        grep -qx '3 draft not ours - true true' "$W/table" &&
        grep -qx '4 dialog .*Yes permission true true' "$W/table" &&
        grep -qx '5 api_error API Error.* - true true' "$W/table" &&
        grep -qx '6 context_full .* - true true' "$W/table" &&
        grep -qx '7 shell bare - true false' "$W/table" &&
        grep -qx '8 dead by a signal - true false' "$W/table" &&
        grep -qx '9 shell stopped - true false' "$W/table" &&
        grep -qx '10 shell program - true false' "$W/table" &&
        grep -qx '11 missing no such pane - true false' "$W/table" || { cat "$W/table" && return 1; }
}

@test 'what the last look saw is not believed of another process in the pane' {
    idle_agent
    want 0 tmo-health
    running other 'work 1000'
    want 0 tmo-health
    before=$(sqlite3 "$TMO_DB" 'SELECT process FROM agent_health WHERE project_id = 1')
    # By hand, with our tags still on the pane: first another agent, then a shell.
    tmux -S "$TMO_SOCKET" respawn-pane -k -t "$(pane_of 1/developer)" -c "$W/quiet" "$BIN/tmo-stub-agent" --start-s 0.1
    eventually $LONG all_say '1 idle true' '2 working true'
    after=$(sqlite3 "$TMO_DB" 'SELECT process FROM agent_health WHERE project_id = 1')
    [ "$before" != "$after" ]
    tmux -S "$TMO_SOCKET" respawn-pane -k -t "$(pane_of 1/developer)" 'exec sh'
    eventually $LONG all_say '1 shell false' '2 working true'
    [ -z "$(sqlite3 "$TMO_DB" 'SELECT process FROM agent_health WHERE project_id = 1')" ]
}

# all_say LINE...: project, state and whether there is an agent, by a look at everything.
all_say() { [ "$(tmo-health | jq -r '"\(.project_id) \(.health.state) \(.health.has_agent)"' | sort)" = "$(printf '%s\n' "$@")" ]; }

@test 'a second look confirms, a change begins anew' {
    setting confirm_s 1
    idle_agent
    health '.state == "idle" and .confirmed == false'
    since=$(tmo-health 1/developer | jq .health.since_at)
    eventually $LONG health '.confirmed and .since_at == $s' --argjson s "$since"
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG health '.state == "shell" and .confirmed == false'
    health '.is_stuck and .stuck_s >= 0' # detection counts from the first look
    eventually $LONG health '.confirmed'
    want 0 tmo-log -k health
    out '.[-1] | .source == "idle" and .dest == "shell" and .evidence == ["process"]'
}

@test 'a lost login is held, not stuck' {
    running shop 'login-lost'
    eventually $LONG state_is 1/developer login
    health '.is_stuck == false and (.detail | contains("login"))'
    want 1 tmo-health -e 1/developer
}

@test 'a usage limit is held, and its end is told' {
    running shop 'limit 30'
    eventually $LONG state_is 1/developer limited
    # Its words name the whole minute by which it is over.
    health '.is_stuck == false and .reset_at > now and .reset_at < now + 100 and (.reset_at % 60) == 0'
}

@test 'too long without a move: idle is stuck, working is hung' {
    setting stuck_s 2
    running idle 'say hello'
    running hangs 'hang'
    eventually $LONG health '.state == "idle" and .is_stuck'
    want 0 tmo-health 2/developer
    eventually $LONG hung
}

@test 'an agent that was launched by a clock that was ahead is judged all the same' {
    running hangs 'hang'
    eventually $LONG begun hang
    running held 'work 1' 'login-lost' # the login of both
    sql 'UPDATE agent_health SET launched_at = launched_at + 7200'
    setting stuck_s 2
    eventually $LONG state_is 1/developer hung
    eventually $LONG state_is 2/developer login
}

@test 'what its sub-agents do, and a file that it changes, are moves of an agent at work' {
    setting stuck_s 2
    running hangs 'hang'
    eventually $LONG state_is 1/developer hung
    transcript=$(find "$TMO_STUB_HOME/projects" -name '*.jsonl')
    mkdir -p "${transcript%.jsonl}/subagents"
    touch -d '+1 minute' "${transcript%.jsonl}/subagents/agent-1.jsonl"
    state_is 1/developer working
    rm -r "${transcript%.jsonl}"
    eventually $LONG state_is 1/developer hung
    touch -d '+1 minute' "$W/hangs/new.txt"
    state_is 1/developer working
}

hung() { tmo-health 2/developer | jq -e '.health | .state == "hung" and .is_stuck' >/dev/null; }

@test 'idle is not stuck once the role said that it is done, or while something is on its way to it' {
    setting stuck_s 0.5
    running done 'done'
    running waits 'say hello'
    want 0 tmo-send -A +1h 2/developer 'go on'
    eventually $LONG state_is 1/developer idle
    eventually $LONG still_idle 1
    eventually $LONG still_idle 2
}

# still_idle ID: for longer than stuck_s, and not stuck.
still_idle() { tmo-health "$1/developer" | jq -e '.health | .state == "idle" and now - .since_at > 1 and (.is_stuck | not)' >/dev/null; }

@test 'many that vanish in one look are a look that is wrong, unless their server is gone' {
    for n in 1 2 3 4 5 6; do project "p$n" 'say ready'; enqueue "p$n"; done
    want 0 tmo-start
    eventually $LONG all_states idle
    for n in 1 2 3 4 5; do tmux -S "$TMO_SOCKET" kill-session -t "=p$n-$n"; done
    want 0 tmo-health
    out 'map(select(.health.state == "unknown" and (.health.is_stuck | not))) | length == 5'
    tmux -S "$TMO_SOCKET" kill-server
    want 0 tmo-health
    out 'all(.health.state == "missing")'
}

@test 'an untagged agent is recognised, and a shell that nobody wants an agent in is not stuck' {
    tmux -S "$TMO_SOCKET" new-session -d -s mine -c "$W/here" 'exec sh' \; new-window -d -t mine: -c "$W/here" "$BIN/tmo-stub-agent --start-s 0"
    eventually $LONG untagged
    want 0 tmo-health mine:0
    out '.[0].health | .state == "shell" and .is_stuck == false'
}

untagged() { tmo-health mine:1 | jq -e '.health | .has_agent and .state == "dialog" and .dialog == "trust"' >/dev/null; }

@test 'a recorded screen is judged alone' {
    screens=$ROOT/tests/screens/claude-2.1.330
    for pair in idle-empty:idle working:working draft-typed:draft permission-dialog:dialog trust-dialog:dialog error-401-final:login; do
        want 0 tmo-health --screen "$screens/${pair%:*}.ansi" -a claude
        out '.[0] | .agent == "claude" and .health.state == $s' --arg s "${pair#*:}"
    done
    want 2 tmo-health --screen "$W/none" -a claude
    says tmo-health "$W/none"
    want 2 tmo-health --screen "$screens/working.ansi" -a nobody
    says tmo-health
    [ ! -e "$W/state" ]
}

@test 'a target that there is not is a wrong call, the others are judged' {
    idle_agent
    want 2 tmo-health nowhere:9 1/developer
    out '.[0].health == null and (.[0].error | contains("no such agent")) and .[1].health.state == "idle"'
}

@test 'a row of a pane that has gone since, of a project that has ended' {
    running shop 'done'
    want 0 tmo-ls
    cp "$W/out" "$W/rows"
    sql "UPDATE project_queue SET status = 'completing' WHERE id = 1"
    sql "UPDATE project_queue SET status = 'completed' WHERE id = 1"
    kill -9 "$(server_pid)"
    want 0 tmo-health - <"$W/rows"
    out 'map(.health.state) == ["missing"]'
    silent
}
