#!/usr/bin/env bats
# tmo-done - say that the work of this pane's role is done
load ../helper

in_its_pane() { env TMO_PROJECT=1 TMO_ROLE=developer "TMO_RUN=$(sql 'SELECT run FROM agent_health')" "$@"; }

@test 'an agent says in its pane that it is done: an event, and nothing is moved' {
    idle_agent shop
    want 0 in_its_pane tmo-done -m 'the shop is open'
    keys id at kind name project_id role pane_id run message_id actor source dest why evidence looked_at
    out '.[0] | .kind == "done" and .project_id == 1 and .role == "developer" and .actor == "1/developer"
        and .why == "the shop is open" and .run == $run' --arg run "$(sql 'SELECT run FROM agent_health')"
    status_is 1 processing
    want 0 in_its_pane tmo-done
    out '.[0].why == null'
}

@test 'elsewhere, or for a run that is over, it is a wrong call' {
    idle_agent shop
    want 2 tmo-done
    says tmo-done 'no pane of a project'
    for wrong in TMO_PROJECT=2 TMO_PROJECT=x TMO_PROJECT=99999999999999999999 TMO_ROLE=tester TMO_ROLE= TMO_RUN=another; do
        want 2 in_its_pane env "$wrong" tmo-done
        says tmo-done
        nothing
    done
    want 0 tmo-log -k done
    nothing
}

@test 'while another program holds the database the word is kept as a marker' {
    idle_agent shop
    hold_database
    want 75 in_its_pane tmo-done -m 'the shop is open'
    says tmo-done "is busy: that is noted in '$W/shop/.tmuxorch/done' meanwhile"
    kill "${JOBS[-1]}"
    eventually $LONG completes
    want 0 tmo-log -k status
    out '.[-2].evidence.done == {"developer": "by its marker"}'
}

@test 'where the database cannot be reached the word is kept as a marker, wherever in the project the agent stands' {
    running shop 'run mkdir -p src/sub && cd src/sub && git init -q && TMO_DB=/proc/nowhere/queue.db tmo-done 2>said' 'say ready'
    eventually $LONG state_is 1/developer idle
    cp "$W/shop/src/sub/said" "$W/err"
    says tmo-done "that is noted in '$W/shop/.tmuxorch/done' meanwhile"
    rm -r "$W/shop/src"
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

@test 'in a pane that was not told its directory it is kept where the work tree begins, else where the agent stands' {
    idle_agent shop
    mkdir -p "$W/shop/src/sub"
    for place in "$W/shop/src/sub" "$W/shop"; do
        cd "$place"
        want 2 in_its_pane env TMO_DB=/proc/nowhere/queue.db tmo-done
        says tmo-done "that is noted in '$W/shop/.tmuxorch/done' meanwhile"
    done
    cd "$W/here"
    want 2 in_its_pane env TMO_DB=/proc/nowhere/queue.db tmo-done
    says tmo-done "that is noted in '$W/here/.tmuxorch/done' meanwhile"
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

completes() { tmo-complete >/dev/null && status_is 1 completed; }
