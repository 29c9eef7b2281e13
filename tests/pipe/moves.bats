#!/usr/bin/env bats
# What is moved and renamed around the agents while they work, and servers that are not the one: nobody who is alive is
# called gone, and nobody is launched a second time.

load ../helper

# one_agent N: after some minutes, still N agents run, and no more were ever launched.
one_agent() {
    local n
    for n in 1 2 3; do minute; done
    [ "$(agent_pids | wc -l)" -eq "$1" ] || fail "$(agent_pids | wc -l) agents run"
    [ "$(journal start .pid | wc -l)" -eq "$1" ] || fail 'an agent was launched anew'
}

tm() { tmux -S "$TMO_SOCKET" "$@"; }

@test 'a window and a session get other names' {
    running shop 'work 1000'
    tm rename-window -t =shop-1:0 whatever
    tm rename-session -t =shop-1 mine
    eventually $LONG state_is 1/developer working
    want 0 tmo-ls 1/developer
    out '.[0] | [.session_name, .window_name, .role, .target] == ["mine", "whatever", "developer", "mine:0"]'
    one_agent 1
    want 0 tmo-send 1/developer 'still there?'
}

@test 'a window goes to another place, a pane to another window and session' {
    running shop 'work 1000'
    tm move-window -s =shop-1:0 -t =shop-1:5
    eventually $LONG state_is 1/developer working
    want 0 tmo-ls 1/developer
    out '.[0].window_index == 5'
    # Into a session of a person's: the session of the project ends with its last pane, its agent does not.
    tm new-session -d -s person cat
    tm join-pane -d -s "$(pane_of 1/developer)" -t =person:0
    eventually $LONG state_is 1/developer working
    want 0 tmo-ls
    out 'map([.session_name, .project_id, .role]) | sort == [["person", null, null], ["person", 1, "developer"]]'
    one_agent 1
    want 0 tmo-send 1/developer 'still there?'
}

@test 'a session of the same beginning is another one' {
    running shop 'work 1000'
    tm new-session -d -s shop-10 -n Developer cat
    tm new-session -d -s shop-1x -n Developer cat
    tm kill-session -t =shop-1
    eventually $LONG state_is 1/developer missing
    want 1 tmo-send 1/developer 'not into a cat'
    minutes_until $LONG state_is 1/developer working
    [ "$(agent_pids | wc -l)" -eq 1 ]
    for pane in $(tm list-panes -a -F '#{session_name} #{pane_id}' | grep -v '^shop-1 ' | cut -d' ' -f2); do
        [ -z "$(screen_of "$pane" | tr -d '\n ')" ] || fail "something was typed into $pane"
    done
}

@test 'an agent that survives the end of its session is ended before the next one comes' {
    printf '#!/bin/sh\nsetsid --wait tmo-stub-agent "$@"\n' >"$W/stubborn" # no terminal of its own: nothing hangs up
    chmod +x "$W/stubborn"
    setting agents.stub.command "[\"$W/stubborn\"]"
    running shop 'hang'
    eventually $LONG begun hang
    want 0 tmo-health
    old=$(journal start .pid)
    tm kill-session -t =shop-1
    eventually $LONG state_is 1/developer missing
    kill -0 "$old" || fail 'it did not survive'
    minutes_until $LONG agent_is_new
    gone "$old"
    [ "$(agent_pids | wc -l)" -eq 1 ]
}

agent_is_new() { [ "$(journal start .pid | wc -l)" -eq 2 ] && [ -n "$(tmo-ls 1/developer | jq -r '.pane_id // empty')" ]; }

@test 'another server than the one that the agents are on' {
    running shop 'work 1000'
    right=$TMO_SOCKET
    # Nobody listens there, then somebody does, with a session of that name.
    export TMO_SOCKET=$W/other
    want 0 tmo-health 1/developer
    out '.[0].health | .state == "unknown" and .detail == "its tmux server runs elsewhere" and (.is_stuck | not)'
    tm -f /dev/null new-session -d -s shop-1 -n Developer cat
    want 0 tmo-health
    out 'map([.session_name, .pane_id, .health.state]) | sort == [["shop-1", null, "unknown"], ["shop-1", "%0", "shell"]]'
    one_agent 1
    [ "$(tm list-panes -a | wc -l)" -eq 1 ] || fail 'something was made on the other server'
    export TMO_SOCKET=$right
    state_is 1/developer working
    one_agent 1
}

@test 'after a boot the number of the old server may be that of another one' {
    running shop 'work 1000'
    tm kill-server
    eventually $LONG no_agents
    tmux -S "$W/other" -f /dev/null new-session -d -s other cat
    pid=$(tmux -S "$W/other" display-message -p '#{pid}')
    sql "UPDATE project_queue SET server = '$pid@1' WHERE id = 1"
    want 0 tmo-health 1/developer
    out '.[0].health.state == "unknown"' # in this boot that may be its server
    sql "UPDATE project_queue SET boot_id = 'an earlier one' WHERE id = 1"
    want 0 tmo-health 1/developer
    out '.[0].health.state == "missing"'
    minutes_until $LONG state_is 1/developer working
    [ "$(agent_pids | wc -l)" -eq 1 ]
}

no_agents() { [ -z "$(agent_pids)" ]; }

@test 'a project of another host is not touched' {
    running shop 'work 1000'
    tm kill-server
    eventually $LONG no_agents
    sql "UPDATE project_queue SET host = 'elsewhere' WHERE id = 1"
    want 0 tmo-health 1/developer
    out '.[0].health.state == "unknown"'
    minute
    minute
    no_agents
}
