#!/usr/bin/env bats
# tmo-ls - list the agents' panes, and the agents that are missing
load ../helper

@test 'a row for every pane, with whose it is' {
    running shop 'say ready'
    tmux -S "$TMO_SOCKET" new-session -d -s mine -n notes -c "$W/here" 'exec cat'
    want 0 tmo-ls
    silent
    keys project_id session_name window_index window_name pane_id target role agent pane_pid pane_command directory dead
    out 'length == 2'
    out 'map(select(.project_id == 1))[0] | .session_name == "shop-1" and .window_index == 0 and .window_name == "Developer"
        and (.pane_id | test("^%[0-9]+$")) and .target == "shop-1:0" and .role == "developer" and .agent == "stub"
        and (.pane_pid | type) == "number" and .directory == $w + "/shop" and .dead == false' --arg w "$W"
    out 'map(select(.project_id == null))[0] | .session_name == "mine" and .window_name == "notes" and .role == null
        and .agent == null and .pane_command == "cat" and .directory == $w + "/here"' --arg w "$W"
}

@test 'a TARGET is a pane, a window by number or name, a pane of a window, or a project and a role' {
    running shop 'say ready'
    tmux -S "$TMO_SOCKET" new-session -d -s mine -n notes 'exec cat' \; split-window -t mine: 'exec cat'
    pane=$(pane_of 1/developer)
    for target in "$pane" shop-1:0 shop-1:Developer shop-1:0.0 1/developer 1/dev; do
        want 0 tmo-ls "$target"
        out 'length == 1 and .[0].pane_id == $p' --arg p "$pane"
    done
    want 0 tmo-ls mine:notes # a window with two panes
    out 'map(.target) == ["mine:0.0", "mine:0.1"]'
    want 0 tmo-ls mine:0.1 1/developer
    out 'map(.target) == ["mine:0.1", "shop-1:0"]'
}

@test 'a TARGET is exact: no prefix, no pattern, and one that is not there is a wrong call' {
    running shop 'say ready'
    for target in shop:0 sho:0 'shop-*:0' shop-1 shop-1:1 shop-1:Dev %99 1/tester 2/developer '' : / =shop-1:0; do
        want 2 tmo-ls "$target"
        says tmo-ls "cannot find pane '$target'"
        nothing
    done
}

@test 'an agent that should be there and is not has a row without a pane' {
    running shop 'say ready'
    project till 'say ready'
    enqueue till # queued: nothing is missing
    tmux -S "$TMO_SOCKET" kill-session -t =shop-1
    want 0 tmo-ls
    out 'length == 1'
    out '.[0] | .project_id == 1 and .pane_id == null and .pane_pid == null and .dead == null and .target == "1/developer"
        and .role == "developer" and .agent == "stub" and .session_name == "shop-1" and .directory == $w + "/shop"' --arg w "$W"
    want 0 tmo-ls 1/developer
    out 'length == 1'
    want 0 tmo-project -E cancel 1
    want 0 tmo-ls
    nothing
}

@test 'a dead pane says so' {
    running shop 'kill-pane'
    eventually $LONG dead_pane
}

dead_pane() { tmo-ls | jq -e '.dead == true and .role == "developer"' >/dev/null; }

@test 'a pane that wears a number of ours but is of another start is not ours' {
    running shop 'say ready'
    tmux -S "$TMO_SOCKET" new-session -d -s other 'exec cat' \; set-option -t other: @tmo_project 1 \; \
        set-option -t other: @tmo_start another \; set-option -p -t other: @tmo_role developer
    want 0 tmo-ls other:0
    out '.[0] | .project_id == null and .role == null'
}
