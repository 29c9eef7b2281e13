#!/usr/bin/env bats
# Names that a shell, tmux, SQLite or a terminal would obey go through the whole flow, and nothing in them runs.

load ../helper

# Each would leave a file PWNED* somewhere if any program took it at its word.
# shellcheck disable=SC2016 # nothing is to be expanded
NAMES=(
    '$(touch PWNED1)' '`touch PWNED2`' '; touch PWNED3;' "a'; touch PWNED4; 'b" 'a"; touch PWNED5; "b'
    '#(touch PWNED6)' '#{pane_id}#{l:#(touch PWNED7)}' '-rf' '--help' '100% %H %s' $'two\nlines; touch PWNED8\n' ' blanks  '
    'größer 漢字 🚀' '&& touch PWNED9 &' '| touch PWNED10' '>PWNED11' '*' '~' '$HOME' '\' '{role}' $'tab\tescape\e[31m' ':' '.hidden' '%99'
)

nothing_ran() {
    local found
    found=$(find "$W" "$ROOT/bin" "$ROOT/cron" -name 'PWNED[0-9]*' ! -path '*/names/*')
    [ -z "$found" ] && [ ! -e "/${found:-PWNED1}" ] || fail "something ran: $found"
}

@test 'directories, specs and project names' {
    printf '%s\n' 'work 0.1' 'commit work.txt' 'done it works' >"$W/script" # the stub agent reads no such spec
    setting agents.stub.args "[\"--start-s\", \"0.1\", \"--script\", \"$W/script\"]"
    setting max_running 100
    local name n=0
    for name in "${NAMES[@]}"; do
        n=$((n + 1))
        # As plain files and folders, below a folder that the search for PWNED* leaves out.
        mkdir -p "$W/names/$n"
        git init -q "$W/names/$n/$name"
        echo '# a spec' >"$W/names/$n/$name.md"
        (cd "$W/names/$n" && want 0 tmo-enqueue -p "./$name" "--name=$name" "--batch=$name" -v "test -e work.txt" -- "./$name.md")
        jq -e --arg n "$name" --arg d "$W/names/$n/$name" '.name == $n and .project_path == $d and .spec_path == $d + ".md"' "$W/out"
    done
    minutes_until 100 all_status completed
    nothing_ran
    [ -z "$(find "$W/names" -name 'PWNED[0-9]*')" ]
    [ -z "$(unequal)" ]
    # Every agent was told the right directory, worked there, and its session has a harmless name.
    n=0
    for name in "${NAMES[@]}"; do
        n=$((n + 1))
        [ "$(git -C "$W/names/$n/$name" log --format=%s)" = 'work: work.txt' ]
    done
    want 0 tmo-project
    out 'all(.session_name | test("^[a-z0-9_-]+-[0-9]+$"))'
    want 0 tmo-ls
    out 'length == $n' --argjson n "$n"
    want 0 tmo-fmt <"$W/out"
    ! grep -q $'\e' "$W/out" || fail 'an escape sequence came through'
}

@test 'roles, briefings of the user, messages and summaries' {
    mkdir -p "$W/briefings/start"
    local text=''
    for name in "${NAMES[@]}"; do text+="${name//\{/{ }"$'\n'; done # `{word}` is a placeholder there
    printf -- '-n {role} of {name}\n%s\n{role_text}\n' "$text" >"$W/briefings/start.md"
    printf '%s' "$text" >"$W/briefings/start/touch_pwned1.md"
    project shop
    # shellcheck disable=SC2016
    want 0 tmo-enqueue -p "$W/shop" -n '{role_text} #(touch PWNED12)' -r '$(touch PWNED1),#(touch PWNED6),-x,a;b' "$W/shop.md"
    out '.[0].roles == "touch_pwned1,touch_pwned6,x,a_b"'
    want 0 tmo-start
    out '.[0].status == "processing"'
    want 0 tmo-ls
    out 'map(.window_name) == ["touch_pwned1", "touch_pwned6", "x", "a_b"]'
    eventually $LONG all_states idle
    for name in "${NAMES[@]}"; do
        want 0 tmo-send -q "--key=$name" 1/x -- "$name"
        want 0 tmo-send -q 1/a_b -- "$name"
    done
    eventually $LONG settled 0
    [ -z "$(unequal)" ]
    RUN=$(sql "SELECT run FROM agent_health WHERE role = 'x'")
    for name in "${NAMES[@]}"; do
        want 0 env TMO_PROJECT=1 TMO_ROLE=x "TMO_RUN=$RUN" tmo-done "--summary=$name"
        out '.[0].why == $n' --arg n "$name"
        want 0 tmo-hold "--why=$name" "batch/x$name"
        out '.[0].name == "batch/x" + $n' --arg n "$name"
        want 1 tmo-send -- "$name" hello
        out '.[0] | .state == "refused" and .target == $n' --arg n "$name"
        tmo-ls -- "$name" >"$W/out" 2>"$W/err" || true
        ! grep -q Traceback "$W/err" || fail "tmo-ls $name"
        want 0 tmo-brief -k recovery -- "$name"
    done
    want 0 tmo-log
    nothing_ran
}

@test 'a whole world in such a directory, run by the lines of the crontab' {
    # A crontab cannot hold a double quote or a line end: these are refused. Everything else goes.
    # shellcheck disable=SC2016
    odd=$W/"it's \$(touch PWNED1) \`touch PWNED2\` #(touch PWNED3) #{pid} 100% ?a=b; é ✓"
    mkdir -p "$odd/home"
    export HOME=$odd/home TMO_DB=$odd/state/task_queue.db TMO_CONFIG=$odd/config.toml
    TMO_SOCKET=$W/"t\$(touch PWNED4)#(touch PWNED5)" # the path of a socket is short
    export TMO_STUB_HOME=$odd/stub TMO_STUB_JOURNAL=$odd/journal
    cp "$W/config.toml" "$TMO_CONFIG"
    printf '%s\n' 'commit work.txt' 'crash' 'done it works' >"$odd/script"
    setting agents.stub.args "[\"--start-s\", \"0.1\", \"--script\", \"$odd/script\"]"
    git init -q "$odd/work"
    echo '# a spec' >"$odd/spec.md"
    want 0 tmo-enqueue -p "$odd/work" "$odd/spec.md"
    tmo-crontab >"$W/crontab"
    eventually $LONG completed_by_cron
    nothing_ran
    [ "$(sql 'SELECT count(*) FROM event WHERE kind = '"'launch'")" -eq 2 ] # it crashed, and came back
    [ -z "$(unequal)" ]
}

completed_by_cron() {
    for name in start deliver watch complete; do as_cron $name || { echo "$name: $?" && return 1; }; done
    all_status completed
}

@test 'the state directory is for its owner alone' {
    umask 000
    running shop 'commit work.txt' 'crash' 'done'
    minutes_until $LONG all_status completed
    [ -z "$(find "$W/state" -type d ! -perm 700)" ] || fail "$(ls -lR "$W/state")"
    [ -z "$(find "$W/state" -type f ! -perm 600)" ] || fail "$(ls -lR "$W/state")"
    [ "$(find "$W/state" -type f | wc -l)" -gt 3 ]
}

# broken LINE: two agents, the second of them killed; the transcript of the first gets a line that is not as it should be.
# The watch goes on for both.
broken() {
    idle_agent one
    idle_agent two
    echo "$1" >>"$(echo "$TMO_STUB_HOME"/projects/*one/*.jsonl)"
    kill -9 "$(pid_of 2/developer)"
    minutes_until $LONG back
    [ "$(sql "SELECT count(*) FROM agent_health WHERE last_health_check_at IS NULL")" -eq 0 ]
}

back() { [ "$(tmo-log -p 2 -k launch | jq -r 'select(.actor == "tmo-recover") | 1' | wc -l)" -ge 1 ]; }

@test 'half a character in an error text stops nobody' {
    broken '{"type":"assistant","isApiErrorMessage":true,"apiErrorStatus":500,"error":"server_error","message":{"role":"assistant","content":[{"type":"text","text":"API Error: 500 cut \ud83d"}]},"timestamp":"2100-01-01T00:00:00Z"}'
    minutes_until $LONG tried_again
}

tried_again() { tmo-log -p 1 -k recovery | grep -q 'api_error (API Error: 500 cut ?)'; }

@test 'a transcript line that is nested without end stops nobody' {
    broken "$(python3 -c 'print("{\"type\":\"user\",\"toolUseResult\":" + "[" * 3000 + "]" * 3000 + "}")')"
}

@test 'half a character in what holds one message back stops no other' {
    idle_agent one
    idle_agent two
    echo '{"type":"assistant","isApiErrorMessage":true,"apiErrorStatus":500,"error":"server_error","message":{"role":"assistant","content":[{"type":"text","text":"API Error: 500 cut \ud83d"}]},"timestamp":"2100-01-01T00:00:00Z"}' >>"$(echo "$TMO_STUB_HOME"/projects/*one/*.jsonl)"
    want 0 tmo-send -q 1/developer first
    want 0 tmo-send -q 2/developer second
    want 0 tmo-deliver
    out 'map(.state) == ["held", "submitted"]'
}
