#!/usr/bin/env bats
# tmo-project - show projects, or move them by an event of the state machine
load ../helper

three() {
    project shop
    for name in a b c; do enqueue shop -n $name; done
}

@test 'all projects, those of a status, or those that are named, in the order of their numbers' {
    three
    want 0 tmo-project
    out 'map(.id) == [1, 2, 3] and all(.project_id == .id)'
    want 0 tmo-project 3 1
    out 'map(.id) == [1, 3]'
    want 0 tmo-project -E cancel 2
    want 0 tmo-project -s queued
    out 'map(.id) == [1, 3]'
    want 0 tmo-project -s queued -s cancelled
    out 'length == 3'
    want 0 tmo-project -s queued 1 2
    out 'map(.id) == [1]'
    silent
}

@test 'a number that there is not is told, and the others are shown' {
    three
    want 2 tmo-project 1 99
    says tmo-project "cannot find project '99'"
    out 'map(.id) == [1]'
    want 2 tmo-project one
    says tmo-project
    want 2 tmo-project -s nonsense
    says tmo-project
}

@test '-E moves a project, with the actor and the reason in the event' {
    three
    USER=ada want 0 tmo-project -E cancel -w 'not needed' 1 3
    out 'map(.status) == ["cancelled", "cancelled"] and all(.completed_at > 0)'
    want 0 tmo-log -p 1
    out '.[-1] | .name == "cancel" and .source == "queued" and .dest == "cancelled" and .actor == "user/ada" and .why == "not needed"'
    want 0 tmo-project -E requeue 1
    out '.[0] | .status == "queued" and .completed_at == null'
    want 0 tmo-project -E error -w 'no money' 2
    out '.[0] | .status == "failed" and .error_message == "no money"'
    want 0 tmo-project -E reinstate 2
    out '.[0] | .status == "completed" and .error_message == null'
}

@test 'what the state machine refuses is 1, and nothing changes; the other projects are moved' {
    three
    want 0 tmo-project -E cancel 1
    want 1 tmo-project -E cancel 1 2
    says tmo-project "project 1 is cancelled: no 'cancel' from there"
    out 'map([.id, .status]) == [[1, "cancelled"], [2, "cancelled"]]'
    want 1 tmo-project -E finalize 3
    out '.[0].status == "queued"'
    want 0 tmo-log -p 3
    out 'length == 1'
}

@test 'wrong calls: an unknown event, no number, an unknown number' {
    three
    want 2 tmo-project -E explode 1
    says tmo-project "no event 'explode'"
    want 2 tmo-project -E cancel
    says tmo-project
    want 2 tmo-project -E cancel 99
    says tmo-project "cannot find project '99'"
    nothing
}

@test 'cancel ends the session of the project, and only that' {
    running shop 'say ready'
    running till 'say ready'
    want 0 tmo-project -E cancel 1
    want 0 tmo-ls
    out 'map(.target) == ["till-2:0"]'
    want 0 tmo-log -p 1 -k end
    out 'length == 1 and .[0].why == "cancel"'
    want 0 tmo-project -E requeue 1
    want 0 tmo-start
    out '.[0] | .id == 1 and .status == "processing"'
}

@test 'cancel while tmux does not answer: not now, and nothing is changed' {
    running shop 'say ready'
    setting tmux_timeout_s 0.5
    stop_server
    want 75 tmo-project -E cancel 1
    says tmo-project
    status_is 1 processing
    go_on_server
    want 0 tmo-project -E cancel 1
    want 0 tmo-ls
    nothing
}

@test 'cancel and requeue from where another tmux server answers, or none: refused, and nothing is changed' {
    running shop 'say ready'
    TMO_SOCKET=$W/other want 1 tmo-project -E cancel 1
    says tmo-project 'project 1 has its session on another tmux server'
    out '.[0].status == "processing"'
    TMO_SOCKET=$W/other tmux -S "$W/other" new-session -d
    TMO_SOCKET=$W/other want 1 tmo-project -E requeue 1
    status_is 1 processing
    want 0 tmo-project -E cancel 1
    want 0 tmo-ls
    nothing
}

@test 'the same cancel or requeue again ends what one that was killed midway left' {
    running shop 'say ready'
    sql "UPDATE project_queue SET status = 'cancelled'"
    want 0 tmo-project -E cancel 1
    silent
    out '.[0].status == "cancelled"'
    want 1 tmo-project -E cancel 1
    want 0 tmo-ls
    nothing
    want 0 tmo-project -E requeue 1
    want 0 tmo-start
    sql "UPDATE project_queue SET status = 'failed'"
    sql "UPDATE project_queue SET status = 'queued'"
    want 0 tmo-project -E requeue 1
    out '.[0].status == "queued"'
    want 1 tmo-project -E requeue 1
    want 0 tmo-ls
    nothing
}

@test 'a start ends the panes of an earlier run, and takes none of them for its own' {
    running shop 'say ready'
    old=$(sql "SELECT run FROM agent_health")
    sql "UPDATE project_queue SET status = 'cancelled'"
    sql "UPDATE project_queue SET status = 'queued'"
    want 0 tmo-start
    out '.[0].status == "processing"'
    want 0 tmo-ls
    out 'length == 1'
    [ "$(sql "SELECT run FROM agent_health")" != "$old" ]
    want 0 tmo-log -p 1 -k end
    out 'length == 1 and .[0].run == $old and .[0].why == "it is of an earlier start" and (.[0].evidence.screen | length > 0)' --arg old "$old"
}

@test 'a project that is queued again gets no message of its earlier run' {
    running shop 'say ready'
    want 0 tmo-send -A +1h 1/developer 'a reminder'
    want 0 tmo-project -E cancel 1
    want 0 tmo-project -E requeue 1
    want 0 tmo-send -A +1h 1/developer 'a reminder for the new run'
    want 0 tmo-start
    out '.[0].status == "processing"'
    [ "$(sql "SELECT state FROM message WHERE text LIKE 'a reminder%' ORDER BY id")" = $'expired\nqueued' ]
}
