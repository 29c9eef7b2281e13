#!/usr/bin/env bats
# tmo-recover - bring stuck agents back, and resume what a lost login or a limit held
load ../helper

drafted() { screen_of "$(pane_of 1/developer)" | grep -q "half a thought"; }

crashed() {
    idle_agent shop
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG confirmed 1/developer shell
}

@test 'the row gets its recovery: nothing to do for an agent that is well' {
    idle_agent shop
    want 0 tmo-recover
    silent
    out '.[0].recovery | keys == ($keys | split(" ") | sort)' --arg keys 'action result reason attempt next_at briefed'
    out '.[0].recovery | .action == "none" and .result == "none" and .attempt == 0 and .briefed == false'
    out '.[0].health.state == "idle"' # it looked itself
}

@test 'a crashed agent is launched in its old pane, with its conversation, one briefing and its messages' {
    crashed
    before=$(tmo-ls 1/developer | jq -r '.pane_id')
    conversation=$(sql 'SELECT conversation_id FROM agent_health')
    want 0 tmo-send -q 1/developer 'unread'
    want 0 tmo-recover
    out '.[0].recovery | .action == "relaunch" and .result == "done" and .attempt == 1 and .briefed and .next_at > now - 60'
    want 0 tmo-ls
    out 'length == 1 and .[0].pane_id == $p and .[0].dead == false' --arg p "$before"
    [ "$(taken 'You were brought back at')" -eq 1 ]
    [ "$(journal start '.resumed' | tr '\n' ' ')" = 'false true ' ]
    [ "$(sql 'SELECT conversation_id FROM agent_health')" = "$conversation" ]
    eventually $LONG state_is 1/developer idle
    want 0 tmo-deliver
    [ "$(taken unread)" -eq 1 ]
    want 0 tmo-log -k recovery
    out 'map([.name, .source, .dest]) == [["relaunch", "shell", "done"]]'
    want 0 tmo-log -k end
    out '.[0].why == "relaunch: shell"' # its last screen is kept, and where the rest is to be read
    out '.[0].evidence | (.screen | contains("the agent ended with status 1")) and .conversation_id == $c' --arg c "$conversation"
    grep -q 'You are the developer' "$(row '.[0].evidence.transcript')"
}

@test 'a project that is cancelled while its agent is launched keeps no agent' {
    setting tmux_timeout_s 60
    idle_agent shop
    want 0 tmux -S "$TMO_SOCKET" kill-session -t =shop-1
    eventually $LONG confirmed 1/developer missing
    mkdir "$W/bin" # a tmux that takes its time to make a session
    # shellcheck disable=SC2016 # the words of a script
    printf '#!/bin/sh\nfor last; do :; done\nif grep -q "new-session" "$last" 2>/dev/null; then : >"%s/asked"; until test -e "%s/go"; do sleep 0.05; done; fi\nexec "%s" "$@"\n' "$W" "$W" "$(command -v tmux)" >"$W/bin/tmux"
    chmod +x "$W/bin/tmux"
    PATH=$W/bin:$PATH background tmo-recover >"$W/recovered"
    eventually $LONG test -e "$W/asked"
    want 0 tmo-project -E cancel 1
    touch "$W/go"
    wait "${JOBS[-1]}"
    jq -e '.recovery | .result == "waiting" and .reason == "project 1 was moved while its agent was launched"' "$W/recovered"
    want 0 tmo-ls
    nothing
    [ "$(taken 'You were brought back at')" -eq 0 ]
}

@test 'an agent comes back in the home that it was launched with, whoever launches it' {
    crashed
    home=$TMO_STUB_HOME
    elsewhere() { TMO_STUB_HOME=$W/elsewhere tmo-recover; }
    cp -r "$home" "$W/elsewhere" && rm -r "$W/elsewhere/projects" # logged in there too
    want 0 elsewhere
    out '.[0].recovery | .action == "relaunch" and .result == "done"'
    [ "$(journal start '.resumed' | tr '\n' ' ')" = 'false true ' ]
    [ "$(sql 'SELECT agent_home FROM agent_health')" = "$home" ]
}

@test 'an agent whose home its settings name keeps its conversation, also when they name another one since' {
    setting agents.stub.env.TMO_STUB_HOME "\"$W/own\""
    crashed
    [ "$(sql 'SELECT agent_home FROM agent_health')" = "$W/own" ]
    [ -e "$W/own/projects" ] && [ ! -e "$TMO_STUB_HOME" ]
    want 0 tmo-recover
    out '.[0].recovery | .action == "relaunch" and .result == "done"'
    eventually $LONG state_is 1/developer idle
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG confirmed 1/developer shell
    setting agents.stub.env.TMO_STUB_HOME "\"$W/elsewhere\""
    minutes_until $LONG state_is 1/developer idle
    [ "$(journal start '.resumed' | tr '\n' ' ')" = 'false true true ' ]
    [ "$(sql 'SELECT agent_home FROM agent_health')" = "$W/own" ]
}

@test 'the run that finds a login rejected launches nobody, whatever the order of its rows' {
    running shop 'crash' 'commit a.txt' 'done'
    running blog 'work 0.1' 'login-lost' 'commit a.txt' 'done'
    eventually $LONG confirmed 1/developer shell
    eventually $LONG confirmed 2/developer login
    looked() { tmo-health 1/developer 2/developer | tmo-recover -; }
    want 0 looked
    out 'map(.recovery.result) == ["held", "held"] and (.[0].recovery.reason | startswith("hold agent/stub: "))'
    want 0 tmo-log -k launch
    out 'all(.actor == "tmo-start")'
}

@test 'nobody is launched while the login is lost: its kind is held, and comes back with the login' {
    setting auth_max_age_s 0
    running shop 'crash' 'commit a.txt' 'done'
    eventually $LONG confirmed 1/developer shell
    tmo-stub-agent auth logout
    looked() { tmo-health 1/developer | tmo-recover -; }
    want 0 looked
    out '.[0].recovery | .action == "relaunch" and .result == "held" and (.reason | contains("stub lacks login: run"))'
    want 0 tmo-hold
    out 'map([.name, .cause, .actor]) == [["agent/stub", "login", "tmo-recover"]]'
    want 0 looked
    out '.[0].recovery | .action == "wait" and .result == "held"'
    want 0 tmo-log -k launch
    out 'map(.actor) == ["tmo-start"]'
    tmo-stub-agent auth login
    minutes_until $LONG all_status completed
    want 0 tmo-hold
    nothing
}

@test '-n says what would be done, and does nothing' {
    crashed
    want 0 tmo-recover -n
    out '.[0].recovery | .action == "relaunch" and .result == "planned" and .attempt == 0'
    state_is 1/developer shell
    want 0 tmo-log -k recovery
    nothing
}

@test 'a state that one look alone saw is not acted on' {
    setting confirm_s 1000
    idle_agent shop
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG state_is 1/developer shell
    want 0 tmo-recover
    out '.[0].recovery | .action == "relaunch" and .result == "waiting" and (.reason | contains("second look"))'
    [ "$(journal start .pid | wc -l)" -eq 1 ]
}

@test 'health that is not true any more is not acted on' {
    idle_agent shop
    tmo-health | jq -c '.health += {state: "shell", detail: "bare", confirmed: true, is_stuck: true}' >"$W/rows"
    want 0 tmo-recover - <"$W/rows"
    out '.[0].recovery | .action == "relaunch" and .result == "waiting" and (.reason | contains("has changed"))'
    [ "$(journal start .pid | wc -l)" -eq 1 ]
}

@test 'what is not ours is not touched' {
    tmux -S "$TMO_SOCKET" -f /dev/null new-session -d -s mine -c "$W/here" 'exec sh'
    want 0 tmo-recover
    out '.[0] | .project_id == null and .recovery == null'
    want 2 tmo-recover nowhere:0
    out '.[0] | .recovery == null and .error == "no such agent"'
}

@test 'a project that does not run is left alone' {
    crashed
    want 0 tmo-project -E error 1
    want 0 tmo-recover
    out '.[0].recovery | .action == "none" and (.reason | contains("failed"))'
}

@test 'attempts wait for one another, ever longer' {
    setting backoff_min_s 1000
    setting backoff_max_s 1500
    crashed
    want 0 tmo-recover
    out '.[0].recovery | .result == "done" and (.next_at - now | . > 900 and . <= 1000)'
    eventually $LONG state_is 1/developer idle
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG confirmed 1/developer shell
    want 0 tmo-recover
    out '.[0].recovery | .action == "relaunch" and .result == "waiting" and .next_at > now'
    sql 'UPDATE agent_health SET next_recovery_at = 1000'
    want 0 tmo-recover
    out '.[0].recovery | .result == "done" and .attempt == 2 and (.next_at - now | . > 1400 and . <= 1500)'
}

@test 'a row names its agent by project and role, without its pane too' {
    idle_agent shop
    tmux -S "$TMO_SOCKET" send-keys -l -t "$(pane_of 1/developer)" 'half a thought'
    eventually $LONG confirmed 1/developer draft
    paneless() { tmo-health 1/developer | jq -c 'del(.pane_id)' | tmo-recover -; }
    want 0 paneless
    silent
    out '.[0].recovery | .action == "report" and .result == "needs_human"'
}

@test 'a draft below a usage limit: the limit holds, and then a person is called for what could not be typed' {
    running shop 'limit 2' 'commit a.txt' 'done'
    eventually $LONG confirmed 1/developer limited
    tmux -S "$TMO_SOCKET" send-keys -l -t "$(pane_of 1/developer)" 'half a thought'
    eventually $LONG drafted
    want 0 tmo-recover
    out '.[0].recovery | .action == "wait" and .result == "held"'
    sql 'UPDATE hold SET next_probe_at = 1'
    want 0 tmo-recover
    out '.[0].recovery | .result == "needs_human" and (.reason | contains("draft"))'
    want 0 tmo-log -k notice
    out 'length == 1'
    drafted || fail 'the draft was touched'
}


@test 'our own draft below a usage limit is submitted first' {
    running shop 'limit 2' 'commit a.txt' 'done'
    eventually $LONG confirmed 1/developer limited
    want 0 tmo-recover
    tmux -S "$TMO_SOCKET" send-keys -l -t "$(pane_of 1/developer)" 'half a thought'
    sql "INSERT INTO message (key, project_id, role, target, text, state, actor, created_at, due_at, next_attempt_at,
             expires_at, transcript_at, hook_at, typed_at, pane_id, pane_pid, server)
         SELECT 'k', 1, 'developer', '1/developer', 'half a thought', 'typed', 'me', 1, 1, 1, 1, 0, 0, $(date +%s.%N),
             '$(pane_of 1/developer)', $(tmo-ls 1/developer | jq .pane_pid), server FROM project_queue"
    eventually $LONG drafted
    sql 'UPDATE hold SET next_probe_at = 1'
    want 0 tmo-recover
    out '.[0].recovery | .action == "nudge" and .result == "done"'
    [ "$(taken 'half a thought')" -eq 1 ]
}
