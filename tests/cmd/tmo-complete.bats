#!/usr/bin/env bats
# tmo-complete - tell which projects are done, verify them, and finish them
load ../helper

# said_done NAME [OPTION...]: a project whose agent said that it is done, and is idle again.
said_done() {
    local name=$1
    shift
    project "$name" 'commit work.txt' 'done it works'
    enqueue "$name" "$@"
    want 0 tmo-start
    eventually $LONG said "$ID"
    eventually $LONG state_is "$ID/developer" idle
}

said() { tmo-log -p "$1" -k done | grep -q '"name": "done"'; }

@test 'the row gets its completion, and a project that is done is completed' {
    said_done shop
    want 0 tmo-complete -n
    out '.[0] | .status == "processing" and (.completion | keys == ["reasons", "verdict", "verified"])'
    out '.[0].completion | .verdict == "completing" and .verified == null and (.reasons | length > 0)'
    status_is 1 processing # -n moves nothing
    want 0 tmo-complete
    silent
    out '.[0].completion | .verdict == "completed" and .verified == null'
    status_is 1 completed
    want 0 tmo-log -p 1 -k status
    out 'map(.name)[-2:] == ["work_complete", "finalize"] and .[-2].actor == "tmo-complete"'
    out '.[-2].evidence | .commits == 1 and .dirty == 0 and .done.developer == "it works"'
    want 0 tmo-complete # it no longer runs
    nothing
    want 0 tmo-complete 1
    out '.[0].completion.verdict == "completed"'
}

@test 'a project whose agent said nothing goes on' {
    idle_agent shop
    want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and .reasons == ["not done yet: developer"]'
    status_is 1 processing
}

@test 'the verify command decides, and its output goes to the agent' {
    said_done shop -v 'echo the roof leaks; test -e mended'
    want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and .verified == false and (.reasons[-1] | contains("failed with status 1"))'
    want 0 tmo-project
    out '.[0] | .status == "processing" and .rework_count == 1'
    want 0 tmo-deliver
    last_prompt | grep -qx 'the roof leaks'
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    out '.[0].completion.verdict == "working"' # the word of before the rework does not count
    touch "$W/shop/mended"
    git -C "$W/shop" add mended && git -C "$W/shop" -c user.name=t -c user.email=t@t commit -q -m mended
    want 0 env TMO_PROJECT=1 TMO_ROLE=developer "TMO_RUN=$(sql 'SELECT run FROM agent_health')" tmo-done
    want 0 tmo-complete
    out '.[0].completion | .verdict == "completed" and .verified == true'
}

@test 'after so many rounds of rework the project is failed' {
    setting max_rework 0
    said_done shop -v 'exit 3'
    want 0 tmo-complete
    out '.[0].completion | .verdict == "failed" and .verified == false'
    want 0 tmo-project
    out '.[0] | .status == "failed" and (.error_message | contains("status 3"))'
}

@test 'the verify command runs in the directory, alone, for so long at most, and leaves nothing behind' {
    setting verify_timeout_s 1
    setting max_rework 0
    said_done slow -v 'echo "$PWD" >where; sleep 1000 & echo $! >pid; sleep 1000'
    want 0 tmo-complete
    out '.[0].completion | .verdict == "failed" and (.reasons[-1] | contains("took too long"))'
    [ "$(cat "$W/slow/where")" = "$W/slow" ]
    eventually $LONG gone "$(cat "$W/slow/pid")"
}

@test 'a verify command runs once at a time' {
    said_done shop -v 'echo run >>../runs; until test -e ../go; do sleep 0.05; done'
    background tmo-complete >"$W/first"
    eventually $LONG test -e "$W/runs"
    want 0 tmo-complete
    out '.[0].completion | .verdict == "completing" and (.reasons[-1] | contains("is running"))'
    want 0 tmo-complete -n
    touch "$W/go"
    eventually $LONG status_is 1 completed
    [ "$(wc -l <"$W/runs")" -eq 1 ]
}

@test 'with --wait a slow verify command holds up nobody, and finishes its project by itself' {
    setting max_verifying 2
    said_done slow -v 'echo $$ >>../runs; until test -e ../go; do sleep 0.05; done'
    said_done shop -v true
    want 0 tmo-complete -n --wait 0
    [ ! -e "$W/runs" ]
    want 0 tmo-complete --wait 0
    out 'map(.completion.verdict) == ["completing", "completing"] and all(.completion.reasons[-1] | contains("was started"))'
    eventually $LONG status_is 2 completed
    eventually $LONG test -s "$W/runs"
    status_is 1 completing
    want 0 tmo-complete --wait 0
    out 'length == 1 and (.[0].completion.reasons[-1] | contains("is running"))'
    kill -9 "$(ps -o ppid= -p "$(cat "$W/runs")")" # what runs it
    eventually $LONG gone "$(cat "$W/runs")"
    want 0 tmo-complete --wait 0 # runs it anew
    eventually $LONG lines 2 "$W/runs"
    touch "$W/go"
    eventually $LONG status_is 1 completed
    silent
}

@test '--wait waits for those that are quick, which run one after the other unless the settings say more' {
    setting max_rework 0
    for name in a b c; do said_done $name -v 'mkdir ../port || exit 98; sleep 1; rmdir ../port'; done
    want 0 tmo-complete --wait $LONG
    all_status completed
}

@test 'a verify command that cannot have its turn waits for another minute' {
    said_done slow -v 'touch ../running; until test -e ../go; do sleep 0.05; done'
    said_done shop -v true
    background tmo-complete 1 >"$W/first"
    eventually $LONG test -e "$W/running"
    want 0 tmo-complete 2
    out '.[0].completion | .verdict == "completing" and .reasons[-1] == "other verify commands are running"'
    touch "$W/go"
    eventually $LONG status_is 1 completed
    want 0 tmo-complete 2
    status_is 2 completed
}

# Work that lasts, in a message; and a git that is as slow as it is told.
more_work() { printf 'one more thing\n```stub\nwrite extra.txt x\nwork 60\n```\n'; }
slow_git() {
    mkdir -p "$W/bin"
    printf '#!/bin/sh\ncase " $* " in *" status "*) : >%s/asked; %s;; esac\nexec %s "$@"\n' "$W" "$1" "$(command -v git)" >"$W/bin/git"
    chmod +x "$W/bin/git"
}

@test 'work that is taken up while the verify command runs is not cut off' {
    said_done shop -v 'touch ../running; until test -e ../go; do sleep 0.05; done'
    want 0 tmo-complete --wait 0
    eventually $LONG test -e "$W/running"
    want 0 tmo-send -q 1/developer "$(more_work)"
    want 0 tmo-deliver
    eventually $LONG state_is 1/developer working
    touch "$W/go"
    eventually $LONG status_is 1 processing
    want 0 tmo-project
    out '.[0].rework_count == 0'
    want 0 tmo-log -p 1 -k status
    out '.[-1] | .name == "rework" and (.why | contains("at work again: developer"))'
    [ "$(sql "SELECT text GLOB 'The check of project 1 passed, but*' FROM message WHERE key GLOB 'rework/*'")" -eq 1 ]
}

@test 'a verdict of before a round of rework moves nothing after it' {
    setting max_rework 1
    project shop 'commit work.txt' 'done it works' 'finish' 'work 60'
    enqueue shop -v 'echo run >>../runs; exit 1'
    want 0 tmo-start
    eventually $LONG said 1
    eventually $LONG state_is 1/developer idle
    slow_git "until test -e $W/go; do sleep 0.1; done"
    PATH=$W/bin:$PATH background tmo-complete >"$W/first"
    eventually $LONG test -e "$W/asked"
    want 0 tmo-complete
    status_is 1 processing
    want 0 tmo-deliver
    eventually $LONG state_is 1/developer working
    touch "$W/go"
    wait "${JOBS[-1]}"
    status_is 1 processing
    lines 1 "$W/runs"
}

@test 'a git that does not answer is no clean work tree' {
    project shop 'write left-over.txt x' 'done'
    enqueue shop
    want 0 tmo-start
    eventually $LONG said 1
    eventually $LONG state_is 1/developer idle
    slow_git 'exit 128'
    PATH=$W/bin:$PATH want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and (.reasons | any(contains("git does not tell")))'
    status_is 1 processing
    eventually $LONG state_is 1/developer idle
    want 0 tmo-deliver # the agent is told, once
    [ "$(taken 'git does not tell about its work tree')" -eq 1 ]
}

@test 'a name that is no UTF-8 stops no other project' {
    setting starting_s 0.5
    project shop 'work 1' 'background ./prüfläuferäää 300; true' 'done' # the kernel cuts it within a character
    cp "$(command -v sleep)" "$W/shop/prüfläuferäää"
    git -C "$W/shop" add . && git -C "$W/shop" -c user.name=t -c user.email=t@t commit -qm x
    enqueue shop
    want 0 tmo-start
    eventually $LONG said 1
    said_done web
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    out '.[0].completion.reasons | any(contains("still running"))'
    status_is 2 completed
    want 0 tmo-deliver
    want 0 env TMO_PROJECT=1 TMO_ROLE=developer "TMO_RUN=$(sql 'SELECT run FROM agent_health WHERE project_id = 1')" tmo-done
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    status_is 1 completed
}

@test 'an agent that goes on past its grace only since it is nudged again and again: a person is called, once' {
    setting stuck_s 0.5
    setting nudges 2
    steps=()
    for n in 1 2 3 4 5 6 7 8 9; do steps+=(finish 'work 1' "write plan-$n.txt x" 'say here is my plan'); done
    running shop 'say ready' "${steps[@]}"
    sql 'UPDATE project_queue SET started_at = 1000'
    minutes_until $LONG called
    minute
    want 0 tmo-log -k notice
    out 'map(select(.role == null)) | length == 1 and (.[0].why | contains("its grace is over, and one of its agents was helped"))'
    status_is 1 processing
}

called() { [ "$(tmo-log -k notice | wc -l)" -ge 1 ]; }

@test 'a tmux server that does not answer for long: a person is called, once' {
    setting active_s 1
    setting look_max_age_s 0.5
    setting tmux_timeout_s 0.5
    idle_agent shop
    want 0 tmo-health
    stop_server
    eventually $LONG called_by_complete
    want 0 tmo-complete
    want 0 tmo-log -k notice
    out 'length == 1 and (.[0].why | contains("tmux has not answered"))'
    go_on_server
}

called_by_complete() {
    tmo-complete
    called
}

@test 'an agent whose state cannot be told for long: a person is called, once' {
    setting active_s 1
    idle_agent shop
    want 0 tmux -S "$W/other" new-session -d
    eventually $LONG called_from_elsewhere
    want 0 env TMO_SOCKET="$W/other" tmo-complete
    want 0 tmo-log -k notice
    out 'length == 1 and (.[0].why | contains("its tmux server runs elsewhere"))'
}

# called_from_elsewhere: looks as a cron with another TMUX_TMPDIR does.
called_from_elsewhere() {
    TMO_SOCKET=$W/other tmo-health
    TMO_SOCKET=$W/other tmo-complete
    called
}

@test 'a verify command ends with whoever runs it, and the next one runs it anew' {
    said_done shop -v 'echo $$ >>../runs; test ! -e ../go || exit 0; sleep 1000 & echo $! >>../runs; wait'
    background tmo-complete >"$W/first"
    eventually $LONG lines 2 "$W/runs"
    kill -9 $! # as cron's limit does
    for pid in $(cat "$W/runs"); do eventually $LONG gone "$pid"; done
    touch "$W/go"
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

lines() { [ "$(wc -l <"$2")" -eq "$1" ]; }

@test 'a project that is cancelled while its verify command runs ends it' {
    said_done shop -v 'echo $$ >../runs; exec sleep 1000'
    background tmo-complete >"$W/first"
    eventually $LONG test -s "$W/runs"
    want 0 tmo-project -E cancel 1
    eventually $LONG gone "$(cat "$W/runs")"
    eventually $LONG grep -q 'was moved while its verify command ran' "$W/first"
    status_is 1 cancelled
}

@test 'what a verify command prints without end fills nothing but its pipe, and its end is kept' {
    setting max_rework 0
    said_done shop -v 'head -c 50000000 /dev/zero | tr "\0" x; echo; echo the end; exit 7'
    want 0 bash -c 'ulimit -f 20000; exec tmo-complete' # no file may be larger than 20 MB
    want 0 tmo-log -p 1 -k status
    out '.[-1].evidence | .status == 7 and (.output | endswith("x\nthe end\n")) and (.output | length == 4000)'
}

@test 'uncommitted files, unread messages and an agent at work speak against it' {
    project shop 'write left-over.txt x' 'done' 'work 1'
    enqueue shop
    want 0 tmo-start
    eventually $LONG said 1
    want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and (.reasons | any(contains("1 uncommitted files more"))) and (.reasons | any(contains("still at work: developer")))'
    eventually $LONG state_is 1/developer idle
    want 0 tmo-deliver # the agent is told, once
    want 0 tmo-complete
    [ "$(taken 'Commit or remove what is left')" -eq 1 ]
    eventually $LONG state_is 1/developer idle
    want 0 tmo-send -q 1/developer later
    want 0 env TMO_PROJECT=1 TMO_ROLE=developer "TMO_RUN=$(sql 'SELECT run FROM agent_health')" tmo-done
    want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and (.reasons | any(contains("1 messages are still on their way")))'
    out '.[0].completion.reasons | any(contains("uncommitted")) | not' # it was told, and said again that it is done
}

@test 'a message for later keeps no project open, and expires when that is over' {
    said_done shop -v true
    said_done web
    want 0 tmo-send -k later -A +5h 1/developer 'good morning: what did you do?'
    want 0 tmo-send -A +5h 2/developer 'good morning: what did you do?'
    want 0 tmo-complete
    all_status completed
    sql "UPDATE message SET due_at = 1, next_attempt_at = 1"
    want 0 tmo-deliver
    out 'map([.state, .reason]) == [["expired", "the project is completed"], ["expired", "the project is completed"]]'
    silent
}

@test 'what an agent left running speaks against it, until it says again that it is done' {
    setting starting_s 0.5
    project shop 'work 1' 'background sleep 300; true' 'commit a.txt' 'done' 'finish' 'say it has to run on' 'done'
    enqueue shop
    want 0 tmo-start
    eventually $LONG said 1
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    out '.[0].completion | .verdict == "working" and (.reasons[1] | test("^still running: .*sleep.* .of the developer.$"))'
    want 0 tmo-deliver # the agent is told, once
    [ "$(taken 'end or await what still runs')" -eq 1 ]
    eventually $LONG twice_said 1
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

twice_said() { [ "$(tmo-log -p "$1" -k done | wc -l)" -eq 2 ]; }

@test 'a sandboxed agent says so by its marker' {
    idle_agent shop
    mkdir "$W/shop/.tmuxorch"
    echo another-run >"$W/shop/.tmuxorch/done"
    want 0 tmo-complete
    out '.[0].completion.verdict == "working"'
    sql 'SELECT run FROM agent_health' | tee "$W/run" >"$W/shop/.tmuxorch/done"
    sql "UPDATE agent_health SET run = 'another'" # it was brought back since: it has said it all the same
    want 0 tmo-complete -n
    out '.[0].completion.reasons[0] == "the developer said that the work is done"'
    sql "UPDATE agent_health SET run = '$(cat "$W/run")'"
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
}

@test 'the word of a marker counts once, like any other' {
    project pair 'say ready'
    enqueue pair -r developer,tester
    want 0 tmo-start
    eventually $LONG all_states idle
    echo x >"$W/pair/left-over.txt"
    marked developer
    marked tester
    want 0 tmo-complete -n
    [ -e "$W/pair/.tmuxorch/done" ]
    want 0 tmo-complete
    [ ! -e "$W/pair/.tmuxorch/done" ]
    want 0 tmo-log -k done
    out 'map([.role, .why]) == [["developer", "by its marker"], ["tester", "by its marker"]]'
    want 0 tmo-deliver # they are told of the file
    eventually $LONG all_states idle
    want 0 tmo-complete
    out '.[0].completion.verdict == "working"'
    marked tester # one of them has heard it
    want 0 tmo-complete
    out '.[0].completion.verdict == "completed"'
    want 0 tmo-log -k done
    out 'map(.role) == ["developer", "tester", "tester"]'
}

# marked ROLE: a sandboxed agent of project 1 says that it is done.
marked() {
    mkdir -p "$W/pair/.tmuxorch"
    sql "SELECT run FROM agent_health WHERE role = '$1'" >>"$W/pair/.tmuxorch/done"
}

@test 'the lead speaks for all; without one all roles have to' {
    project team 'say ready'
    enqueue team -r orchestrator,developer
    project pair 'say ready'
    enqueue pair -r developer,tester
    want 0 tmo-start
    eventually $LONG all_states idle
    say_done 1 developer
    say_done 2 developer
    want 0 tmo-complete
    out 'map(.completion.reasons) == [["not done yet: orchestrator"], ["not done yet: tester"]]'
    say_done 1 orchestrator
    say_done 2 tester
    want 0 tmo-complete
    out 'map(.completion.verdict) == ["completed", "completed"]'
}

say_done() {
    want 0 env "TMO_PROJECT=$1" "TMO_ROLE=$2" "TMO_RUN=$(sql "SELECT run FROM agent_health WHERE project_id = $1 AND role = '$2'")" tmo-done
}

@test 'failed only past its grace, with recovery at its end, and nothing moving' {
    idle_agent shop
    want 0 tmo-health
    sql 'UPDATE project_queue SET started_at = 1000'
    want 0 tmo-complete
    out '.[0].completion.verdict == "working"' # it moved lately
    touch -d @1000 "$TMO_STUB_HOME"/projects/*/* "$W"/state/hooks/*
    want 0 tmo-complete
    out '.[0].completion | .verdict == "unknown" and .reasons == ["its grace is over, recovery is not"]'
    sql 'UPDATE agent_health SET needs_human = 1'
    want 0 tmo-complete
    out '.[0].completion.verdict == "failed"'
    status_is 1 failed
}

@test 'rows: the verdict stands on all rows of a project; a row of none has null' {
    said_done shop
    printf '%s\n' '{"project_id": 1, "n": 1}' '{"project_id": null}' '{"project_id": 1, "n": 2}' '{"project_id": 9}' >"$W/rows"
    want 0 tmo-complete - <"$W/rows"
    out '.[0].completion == .[2].completion and .[0].completion.verdict == "completed" and .[1].completion == null'
    out '.[3] | .completion == null and (.error | contains("cannot find project"))'
    want 2 tmo-complete 9
    out '.[0].completion == null'
}

@test 'what a verify command prints reaches the agent without what a terminal would obey' {
    said_done shop -v 'printf "\033[201~\033[31mthe roof\033[0m\rleaks\n"; exit 1'
    want 0 tmo-complete
    want 0 tmo-deliver
    out '.[0].state == "submitted"'
    last_prompt | grep -qx 'the roof'
    [ "$(sql "SELECT instr(text, char(27)) + instr(text, char(13)) FROM message WHERE key GLOB 'rework/*'")" -eq 0 ]
}

@test 'a project whose directory is gone stops no other' {
    said_done away -v true
    said_done shop -v true
    mv "$W/away" "$W/away.elsewhere"
    want 0 tmo-complete
    out 'map(.completion.verdict) == ["working", "completed"] and (.[0].completion.reasons[-1] | contains("git does not tell"))'
}

@test 'one that said so is not open for ever, whatever speaks against it: past its grace a person is called, once' {
    said_done shop
    want 0 tmo-send -q 1/developer later
    want 0 tmo-complete
    out '.[0].completion.verdict == "working"'
    sql 'UPDATE project_queue SET started_at = 1000'
    touch -d @1000 "$TMO_STUB_HOME"/projects/*/* "$W"/state/hooks/* "$W/shop/.git/logs/HEAD"
    want 0 tmo-complete
    want 0 tmo-complete
    out '.[0].completion | .verdict == "unknown" and .reasons[1:] == ["1 messages are still on their way", "its grace is over"]'
    want 0 tmo-log -k notice
    out 'map([.project_id, .role]) == [[1, null]] and (.[0].why | endswith("its grace is over"))'
    want 0 tmo-report
    grep -q 'shop: whether it is done cannot be told' "$W/out"
    status_is 1 processing
}

@test 'one that said so, and does not answer what speaks against it, is idle like any other' {
    setting stuck_s 1
    project shop 'write left-over.txt x' 'done' 'finish' 'say it has to stay'
    enqueue shop
    want 0 tmo-start
    eventually $LONG said 1
    eventually $LONG state_is 1/developer idle
    want 0 tmo-complete
    want 0 tmo-deliver # the agent is told of the file, and says nothing
    eventually $LONG stuck_idle
}

stuck_idle() { tmo-health 1/developer | jq -e '.health | .state == "idle" and .is_stuck' >/dev/null; }
