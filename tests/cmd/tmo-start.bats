#!/usr/bin/env bats
# tmo-start - start what is due in the queue, up to a limit, and brief its agents
load ../helper

@test 'a queued project is brought to processing: its session, its tags, its briefing' {
    project shop 'say ready'
    enqueue shop -r developer,tester
    want 0 tmo-start
    silent
    out 'length == 1 and (.[0] | .status == "processing" and .session_name == "shop-1" and .started_at > 0)'
    out '.[0] | .host == $h and (.server | test("^[0-9]+@[0-9]+$")) and .claimed_by == null' --arg h "$(uname -n)"
    want 0 tmo-ls
    out 'map([.target, .role, .window_name]) == [["shop-1:0", "developer", "Developer"], ["shop-1:1", "tester", "Tester"]]'
    [ "$(taken 'You are the developer of project 1, "shop".')" -eq 1 ]
    [ "$(taken 'You are the tester of project 1, "shop".')" -eq 1 ]
    want 0 tmo-log -k status
    out 'map(.name) == ["enqueue", "start", "auth_required", "auth_complete", "setup_complete"]'
    out '.[1:] | all(.actor == "tmo-start")'
}

@test 'the panes know whose they are, and have our commands on their PATH' {
    setting agents.stub.env.EXTRA '"of the agent"'
    running shop 'run env >env.txt; command -v tmo-done >where.txt' 'say ready'
    eventually $LONG state_is 1/developer idle
    grep -qx "TMO_DB=$TMO_DB" "$W/shop/env.txt"
    grep -qx "TMO_SOCKET=$TMO_SOCKET" "$W/shop/env.txt"
    grep -qx 'TMO_PROJECT=1' "$W/shop/env.txt"
    grep -qx 'TMO_ROLE=developer' "$W/shop/env.txt"
    grep -qx "TMO_DIRECTORY=$W/shop" "$W/shop/env.txt"
    grep -qx "TMO_RUN=$(sql 'SELECT run FROM agent_health')" "$W/shop/env.txt"
    grep -qx 'EXTRA=of the agent' "$W/shop/env.txt"
    [ "$(cat "$W/shop/where.txt")" = "$BIN/tmo-done" ]
    [ "$(tmux -S "$TMO_SOCKET" show-options -v -t =shop-1: @tmo_project)" = 1 ]
    [ "$(tmux -S "$TMO_SOCKET" show-options -pv -t %0 @tmo_role)" = developer ]
    [ "$(tmux -S "$TMO_SOCKET" show-options -pv -t %0 @tmo_agent)" = stub ]
}

@test 'nothing queued is 1; nothing that may start now is 75' {
    want 1 tmo-start
    nothing
    project shop
    enqueue shop
    want 0 tmo-hold all
    want 75 tmo-start
    nothing
    want 0 tmo-hold -r all
    want 75 tmo-start -j 0
    want 75 tmo-start 99
    want 0 tmo-start
    want 1 tmo-start
    nothing
}

@test '-j caps the projects that run in all' {
    for name in a b c; do
        project $name 'say ready'
        enqueue $name
    done
    want 0 tmo-start -j 2
    out 'map(.id) == [1, 2]'
    want 75 tmo-start -j 2
    setting max_running 2
    want 75 tmo-start
    nothing
    want 0 tmo-start -j 3
    out 'map(.id) == [3]'
}

@test 'only the projects that are named are started' {
    for name in a b c; do
        project $name 'say ready'
        enqueue $name
    done
    want 0 tmo-start 2 3
    out 'map(.id) == [2, 3] and all(.status == "processing")'
    want 0 tmo-project 1
    out '.[0].status == "queued"'
}

@test 'the higher priority starts first, then the older' {
    for name in a b c; do project $name 'say ready'; done
    enqueue a
    enqueue b -P 5
    enqueue c -P 5
    want 0 tmo-start -j 1
    out '.[0].id == 2'
    want 0 tmo-start -j 2
    out '.[0].id == 3'
}

@test 'a project waits until those it depends on are completed' {
    project first 'done'
    enqueue first
    project second 'say ready'
    enqueue second -d 1
    want 0 tmo-start
    out 'map(.id) == [1]'
    want 75 tmo-start
    eventually $LONG minute_completes 1
    want 0 tmo-start
    out 'map(.id) == [2] and .[0].status == "processing"'
}

@test 'what depends on a project that failed or was cancelled is told of once, and goes on when that is queued again' {
    project first
    enqueue first
    project second
    enqueue second -d 1
    want 0 tmo-project -E cancel 1
    want 75 tmo-start
    says tmo-start 'project 2 waits: it depends on 1, which was cancelled'
    want 75 tmo-start
    silent
    want 0 tmo-log -p 2 -k notice
    out 'map(.why) == ["depends on 1, which was cancelled"]'
    want 0 tmo-project 2
    out '.[0].error_message == "depends on 1, which was cancelled"'
    want 0 tmo-project -E requeue 1
    want 75 tmo-start 2
    want 0 tmo-project 2
    out '.[0].error_message == null'
}

@test 'a dependency that is no project is told of once, and stops no other' {
    for name in odd gone shop; do
        project $name 'say ready'
        enqueue $name
    done
    sql "UPDATE project_queue SET depends_on = '1;3' WHERE id = 1"
    sql "UPDATE project_queue SET depends_on = '99' WHERE id = 2"
    want 0 tmo-start
    out 'map([.id, .status]) == [[3, "processing"]]'
    want 75 tmo-start
    silent
    want 0 tmo-log -k notice
    out 'map([.project_id, .why]) == [[1, "depends on '"'1;3'"', which is no project'"'"'s number"], [2, "depends on 99, which is not there"]]'
    sql "UPDATE project_queue SET depends_on = NULL"
    want 0 tmo-start
    all_status processing
}

minute_completes() { tmo-complete >/dev/null && status_is "$1" completed; }

@test 'two projects never run in one directory at once' {
    project shop 'say ready'
    enqueue shop
    enqueue shop
    want 0 tmo-start
    out 'map(.id) == [1]'
    want 0 tmo-project -E cancel 1
    want 0 tmo-start
    out 'map(.id) == [2]'
    want 0 tmo-ls
    out 'map(.target) == ["shop-2:0"]'
}

@test 'a login that is missing: the project waits, a hold is set, and it is said how to mend it' {
    tmo-stub-agent auth logout
    project shop 'say ready'
    enqueue shop
    want 75 tmo-start
    says tmo-start "run 'tmo-stub-agent auth login'"
    out '.[0] | .status == "authenticating" and (.error_message | contains("lacks login"))'
    want 0 tmo-hold
    out 'map([.name, .cause]) == [["agent/stub", "login"]]'
    want 0 tmo-ls
    nothing # no half-started session
    want 75 tmo-start
    silent # it is said once
    tmo-stub-agent auth login
    want 0 tmo-recover
    want 0 tmo-start
    out '.[0] | .status == "processing" and .error_message == null'
}

@test 'projects that wait for a login take no place, and each takes one when it goes on' {
    mkdir -p "$W/agents" "$W/two"
    cp "$ROOT/lib/tmuxorch/agents/stub.toml" "$W/agents/two.toml"
    setting agents.two.env.TMO_STUB_HOME "\"$W/two\""
    TMO_STUB_HOME=$W/two tmo-stub-agent auth logout
    for name in a b; do
        project $name 'say ready'
        enqueue $name -a two
    done
    project shop 'say ready'
    enqueue shop
    want 75 tmo-start -j 2
    want 0 tmo-start -j 2
    out 'map([.id, .status]) == [[3, "processing"]]'
    TMO_STUB_HOME=$W/two tmo-stub-agent auth login
    want 0 tmo-recover
    want 0 tmo-hold
    nothing
    want 0 tmo-start -j 2
    out 'map([.id, .status]) == [[1, "processing"], [2, "authenticating"]]'
    out '.[1].error_message == "no free place: 2 may run at once"'
    want 75 tmo-start -j 2
    silent
    want 0 tmo-ls
    out 'map(.target) == ["a-1:0", "shop-3:0"]'
    want 0 tmo-project -E cancel 3
    want 0 tmo-start -j 2
    out 'map([.id, .status, .error_message]) == [[2, "processing", null]]'
}

@test 'trust = required: the project waits for the person who trusts the directory' {
    setting trust '"required"'
    project shop 'say ready'
    enqueue shop
    want 75 tmo-start
    out '.[0] | .status == "authenticating" and (.error_message | contains("hasTrustDialogAccepted"))'
    want 0 tmo-ls
    nothing
    echo "{\"hasCompletedOnboarding\": true, \"projects\": {\"$W/shop\": {\"hasTrustDialogAccepted\": true}}}" >"$TMO_STUB_HOME/config.json"
    want 0 tmo-start
    out '.[0].status == "processing"'
}

@test 'trust = given is written into the config of the agent, whose other keys stay' {
    project shop 'say ready'
    enqueue shop
    mkdir "$TMO_STUB_HOME"
    echo '{"hasCompletedOnboarding": true, "theme": "dark", "projects": {"/x": {"n": 1}}}' >"$TMO_STUB_HOME/config.json"
    want 0 tmo-start
    jq -e --arg d "$W/shop" '.theme == "dark" and .projects["/x"].n == 1 and .projects[$d].hasTrustDialogAccepted' "$TMO_STUB_HOME/config.json"
    [ -z "$(journal dialog .dialog)" ]
}

@test 'a start that fails is tried again, and then the project is failed with the reason' {
    setting agents.stub.args '["--no-such-option"]'
    project shop
    enqueue shop --retries 1
    want 0 tmo-start
    want 0 tmo-project
    out '.[0] | .status == "queued" and .retry_count == 1'
    want 0 tmo-start
    want 0 tmo-project
    out '.[0] | .status == "failed" and (.error_message | contains("ended as it was started"))'
    want 0 tmo-ls
    nothing # its session is ended
    want 0 tmo-log -k end
    out 'length == 2 and (.[1].evidence.screen | contains("--no-such-option"))'
}

@test 'a start that fails and cannot queue its project again has not failed it either' {
    project shop
    enqueue shop --retries 1
    rm -r "$W/shop"
    # Where a kill would come: between the two changes.
    sql "CREATE TRIGGER killed BEFORE UPDATE OF status ON project_queue WHEN NEW.status = 'queued'
         BEGIN SELECT RAISE(ABORT, 'killed here'); END"
    tmo-start >"$W/out" 2>"$W/err" || true
    status_is 1 initializing
    sql 'DROP TRIGGER killed'
    sql 'UPDATE project_queue SET claimed_until = 1'
    want 0 tmo-start
    status_is 1 queued
}

@test 'time in which a project was held does not count against its setup' {
    setting agents.stub.args '["--start-s", "100"]'
    setting recover_wait_s 0.5
    setting setup_timeout_s 50
    project shop
    enqueue shop --retries 0
    want 75 tmo-start
    sql "UPDATE project_queue SET status_at = status_at - 100"
    sql "INSERT INTO hold (name, cause, actor, why, since_at, released_at)
         SELECT 'project/1', 'manual', 'user/ada', 'later', status_at + 1, status_at + 99 FROM project_queue"
    want 75 tmo-start
    status_is 1 setting_up
    sql 'DELETE FROM hold'
    want 0 tmo-start
    status_is 1 failed
}

@test 'a directory that is gone fails the project' {
    project shop
    enqueue shop --retries 0
    rm -r "$W/shop"
    want 0 tmo-start
    says tmo-start "cannot find directory '$W/shop'"
    out '.[0] | .status == "failed" and (.error_message | contains("cannot find directory"))'
}

@test 'a session of that name that is not ours is left alone' {
    tmux -S "$TMO_SOCKET" -f /dev/null new-session -d -s shop-1 'exec cat'
    project shop
    enqueue shop --retries 0
    want 0 tmo-start
    out '.[0] | .status == "failed" and (.error_message | contains("not ours"))'
    want 0 tmo-ls
    out 'length == 1 and .[0].project_id == null and .[0].pane_command == "cat"'
}

@test 'what another start left unfinished is taken up when its claim is over' {
    project shop 'say ready'
    enqueue shop
    sql "UPDATE project_queue SET status = 'initializing', claimed_by = 'another/1', claimed_until = $(($(date +%s) + 100)), run = 'r'"
    want 75 tmo-start
    nothing
    sql "UPDATE project_queue SET claimed_until = 1"
    want 0 tmo-start
    out '.[0].status == "processing"'
}

@test 'the rollout: what is not in it is left in the queue' {
    project shop
    enqueue shop
    setting observe true
    want 75 tmo-start
    setting observe false
    setting enabled 0
    want 75 tmo-start
    want 0 tmo-ls
    nothing
}

@test 'an agent that ended after it was briefed, before its project was up, comes back with its conversation' {
    project shop 'commit a.txt' 'work 300'
    enqueue shop -r developer,tester
    mkdir -p "$W/state/locks" # nobody may write to the pane of the tester
    background python3 -c 'import fcntl, signal, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
signal.pause()' "$W/state/locks/$(tr -c '[:alnum:]\n' _ <<<"$TMO_SOCKET")-1.lock" "$W/locked"
    local locker=$!
    eventually $LONG test -e "$W/locked"
    background tmo-start
    local start=$!
    eventually $LONG begun work
    kill -9 "$(server_pid)"
    wait $start || [ $? -eq 75 ]
    status_is 1 setting_up
    kill "$locker"
    eventually $LONG started
    want 0 tmo-log -k status
    out 'map(.name) | index("requeue") == null'
    want 0 tmo-log -k launch
    out 'map([.role, .name]) == [["developer", "start"], ["tester", "start"], ["tester", "start"]]'
    minutes_until $LONG all_states working
    want 0 tmo-log -k launch
    out '.[-1] | .role == "developer" and .name == "recovery"'
    [ "$(journal start 'select(.resumed) | 1' | wc -l)" -eq 1 ]
}

started() { tmo-start >/dev/null || true; status_is 1 processing; }

@test 'a hold that is set while logins are checked stops the launch' {
    mkdir "$W/bin"
    printf '#!/bin/sh\ncase "$1" in auth) : >%s/asked; until test -e %s/go; do sleep 0.05; done;; esac\nexec %s "$@"\n' "$W" "$W" "$BIN/tmo-stub-agent" >"$W/bin/tmo-stub-agent"
    chmod +x "$W/bin/tmo-stub-agent"
    project shop
    enqueue shop
    PATH=$W/bin:$PATH background tmo-start >"$W/start"
    eventually $LONG test -e "$W/asked"
    want 0 tmo-hold -w 'stop all' all
    touch "$W/go"
    wait "${JOBS[-1]}" || true
    status_is 1 setting_up
    want 0 tmo-log -k launch
    nothing
    want 0 tmo-hold -r all
    want 0 tmo-start
    status_is 1 processing
}

@test 'what a start lacks beside the login is waited for, and holds no agent that runs' {
    setting auth_max_age_s 0
    setting agents.stub.skip_permissions true
    project shop
    enqueue shop
    want 75 tmo-start
    says tmo-start IS_SANDBOX
    want 75 tmo-start
    silent
    want 0 tmo-hold
    nothing
    IS_SANDBOX=1 want 0 tmo-start
    status_is 1 processing
}

@test 'an agent whose config cannot be written, and a briefing that cannot be read, stop no other project' {
    mkdir -p "$W/agents" "$W/other" "$W/briefings/start/tester.md"
    sed 's/^home = .*/home = { env = "OTHER_HOME", default = "~\/other" }/' "$ROOT/lib/tmuxorch/agents/stub.toml" >"$W/agents/other.toml"
    ln -s /proc/sys/config.json "$W/other/config.json" # nobody may make a file there
    project trust
    enqueue trust -a other --retries 0
    project brief
    enqueue brief -r tester --retries 0
    project shop 'say ready'
    enqueue shop
    OTHER_HOME=$W/other want 0 tmo-start
    want 0 tmo-project
    out 'map(.status) == ["failed", "failed", "processing"]'
    out '.[0].error_message | startswith("cannot write") and contains($file)' --arg file "$W/other/config.json"
    out '.[1].error_message | startswith("cannot read briefing")'
}
