#!/usr/bin/env bats
# What all commands have in common. What is a command's own stands in its own file.

load ../helper

ALL="$READERS $WRITERS $OTHERS"
# The commands that read rows on `-`, each with the key that it adds.
ADDERS='tmo-authcheck:auth tmo-health:health tmo-grace:grace tmo-recover:recovery tmo-complete:completion tmo-send:send'

# A world in which every command has something to do: project 1, with an agent at its prompt to which a message is
# due; 2, whose agent said that it is done; 3 in the queue; 4, which ended.
work_for_all() {
    idle_agent quiet
    running finished 'done it is done'
    eventually $LONG state_is 2/developer idle
    project next 'say ready'
    enqueue next
    enqueue next -n ended
    want 0 tmo-project -E cancel "$ID"
    want 0 tmo-send -q 1/developer 'a word'
    want 0 tmo-hold agent/other
    RUN=$(sql 'SELECT run FROM agent_health WHERE project_id = 1')
    want 0 tmo-ls
    cp "$W/out" "$W/rows"
}

# usual COMMAND: its usual words in that world, in $words. Rows for `-` are in $W/rows.
usual() {
    words=("$1")
    case $1 in
    tmo-enqueue) words+=(-p "$W/next" "$W/next.md") ;;
    tmo-send) words+=(-q 1/developer 'another word') ;;
    tmo-authcheck) words+=(-C "$W/quiet") ;;
    tmo-done) words=(env TMO_PROJECT=1 TMO_ROLE=developer "TMO_RUN=$RUN" tmo-done) ;;
    tmo-hold) words+=(agent/nobody) ;;
    tmo-prune) words+=(-d 0) ;;
    tmo-brief) words+=(-p 1 developer) ;;
    tmo-repair-db) words+=(--check) ;;
    tmo-import) words+=("$W/old.db") && [ -e "$W/old.db" ] || old_database ;;
    esac
}

no_traceback() { ! grep -q Traceback "$W/err" || fail "$1 printed a traceback"; }

# mode FILE: its permissions, in octal.
mode() { stat -c %a "$1" 2>/dev/null || stat -f %Lp "$1"; }

@test 'help: the first line is the usage, and the status 0' {
    local command
    for command in $ALL; do
        want 0 "$command" --help
        silent
        head -1 "$W/out" | grep -q "^usage: $command" || fail "$command --help begins otherwise"
    done
}

@test 'version: one line with the name and a number' {
    local command
    for command in $ALL; do
        want 0 "$command" --version
        silent
        grep -Exq "$command [0-9]+(\.[0-9]+)+" "$W/out" || fail "$command --version says something else"
    done
}

@test 'an unknown option is a wrong call' {
    local command
    for command in $READERS $WRITERS; do
        want 2 "$command" --no-such-option </dev/null
        says "$command"
        nothing
    done
}

@test 'a command works through a symbolic link, whatever the current directory is' {
    local command
    mkdir "$W/links"
    for command in $READERS $WRITERS; do
        ln -s "$BIN/$command" "$W/links"
        want 0 "$W/links/$command" --version
    done
    cd / && want 0 "$W/links/tmo-project"
}

@test 'before there is a database, readers print no rows and make none' {
    local command
    for command in tmo-project tmo-ls tmo-grace tmo-log tmo-kpi tmo-metrics 'tmo-metrics --prometheus' 'tmo-repair-db --check' tmo-hold tmo-fmt; do
        # shellcheck disable=SC2086 # a command and its words
        want 0 $command </dev/null
        nothing
        silent
    done
    want 0 tmo-brief developer
    want 0 tmo-crontab
    want 0 tmo-doctor
    [ ! -e "$W/state" ] || fail 'a reader made the state directory'
}

@test 'a command that writes makes the database, which only its owner can read' {
    umask 022
    want 1 tmo-start
    [ "$(mode "$W/state")" = 700 ]
    [ "$(mode "$TMO_DB")" = 600 ]
    project one
    enqueue one
    for file in "$W"/state/*; do [ "$(mode "$file")" = 600 ] || fail "$file is $(mode "$file")"; done
}

@test 'rows are passed on in order with a key added, and a bad line is told by its number' {
    idle_agent
    want 0 tmo-ls
    local pair command key
    {
        jq -c '. + {mine: [1, {"ü": null}], target: "1/developer", text: ""}' "$W/out"
        echo 'no row'
        echo '{"target": "nowhere:1", "text": "", "number": 2}'
        echo '["a row?"]'
        echo
        printf '{"broken": "\xff"}\n'
        jq -c '{project_id, mine: 3, target: "", text: ""}' "$W/out"
        echo '{"mine": NaN}'
    } >"$W/rows"
    for pair in $ADDERS; do
        command=${pair%:*} key=${pair#*:}
        want 2 "$command" - <"$W/rows"
        no_traceback "$command"
        out 'length == 3 and all(has($key))' --arg key "$key"
        out '.[0].mine == [1, {"ü": null}] and .[1].number == 2 and .[2].mine == 3'
        out '.[0].pane_id == "%0" and .[0].directory == $w + "/quiet"' --arg w "$W"
        for line in 2 4 6 8; do
            grep -q "^$command: line $line is not a JSON object$" "$W/err" || fail "$command: line $line is not reported"
        done
    done
    want 2 tmo-fmt <"$W/rows"
    want 2 tmo-enqueue - <<<'no row'
    says tmo-enqueue 'line 1 is not'
}

@test 'a whole pipeline is one picture: the rows of tmo-ls with every key added' {
    idle_agent
    tmo-ls | tmo-authcheck - | tmo-health - | tmo-grace - | tmo-recover -n - | tmo-complete -n - >"$W/out"
    keys agent auth completion dead directory grace health pane_command pane_id pane_pid project_id recovery role \
        session_name target window_index window_name
    out '.[0].auth.ok and .[0].health.state == "idle" and .[0].recovery.action == "none" and .[0].completion.verdict == "working"'
    tmo-project | tmo-authcheck - | tmo-health - | tmo-grace - | tmo-recover -n - | tmo-complete -n - >"$W/out"
    out '.[0] | .status == "processing" and .auth.ok and .health == null and .recovery == null and .grace.size == "small"'
}

@test 'a row that cannot be judged gets null and an error, and the others are judged' {
    idle_agent
    local pair command key
    cat >"$W/rows" <<'END'
{"project_id": "1", "role": "developer", "target": 7, "pane_id": 7, "agent": 7, "directory": 7}
{"project_id": [1], "role": ["developer"], "target": ["a"], "agent": ["stub"], "pane_id": "%99"}
{"project_id": {"id": 1}, "role": {}, "target": {}, "agent": {}, "directory": {}}
{"project_id": true, "role": "developer", "agent": "../stub", "directory": "/"}
{"project_id": 1e40, "role": "developer", "agent": "stub", "directory": "\u0000"}
{"project_id": 99999999999999999999999, "role": "developer", "agent": "nobody", "directory": "/"}
{"project_id": 1, "role": 7, "target": "99999999999999999999999/developer", "text": "x"}
{"target": "²/developer", "text": "x", "agent": "stub", "directory": "/no/such"}
{"target": "1/developer", "text": "", "key": 7}
{"project_id": 1, "role": "developer", "health": 7, "pane_id": "%99", "window_index": [1]}
{"project_id": 1, "role": "developer", "health": {"state": "shell"}}
{"project_id": 1, "role": "developer", "health": {"state": [], "is_stuck": true, "confirmed": true}}
{}
{"project_id": 1, "role": "developer", "agent": "stub", "directory": "/", "target": "1/developer", "text": ""}
END
    for pair in $ADDERS; do
        command=${pair%:*} key=${pair#*:}
        "$command" - <"$W/rows" >"$W/out" 2>"$W/err" || [ $? -le 2 ]
        no_traceback "$command"
        out 'length == 14 and all(has($key))' --arg key "$key"
        out '.[13][$key] != null' --arg key "$key"
    done
    want 0 tmo-fmt <"$W/rows"
    # Half a character is no text that a database or a terminal could hold.
    for pair in $ADDERS; do
        echo '{"target": "\ud800", "text": "\ud800", "key": "\ud800", "agent": "\ud800", "directory": "\ud800", "health": "\ud800"}' |
            "${pair%:*}" - >"$W/out" 2>"$W/err" || [ $? -eq 2 ]
        no_traceback "${pair%:*}"
        [ "$(wc -l <"$W/out")" -eq 1 ] || fail "${pair%:*} should print its row"
    done
}

@test 'nobody reads the rows: a viewer ends in silence, a command that acts goes on' {
    work_for_all
    mkfifo "$W/fifo"
    local command
    for command in $READERS $WRITERS; do
        exec 8<>"$W/fifo" 9>"$W/fifo"
        exec 8<&- # now 9 is a pipe that nobody reads any more
        usual "$command"
        case $command in
        tmo-ls | tmo-grace | tmo-log | tmo-kpi | tmo-metrics | tmo-report | tmo-brief | tmo-fmt | tmo-doctor) want_broken 141 ;; # as if by SIGPIPE
        *) want_broken 0 ;;
        esac
        exec 9>&-
        silent
    done
    want 0 tmo-project
    out 'map([.id, .status]) == [[1, "processing"], [3, "processing"], [5, "queued"], [6, "failed"]]' # 2 was completed, 2 and 4 pruned
}

want_broken() {
    local status=0
    "${words[@]}" <"$W/rows" >&9 2>"$W/err" || status=$?
    [ "$status" -eq "$1" ] || fail "status $status, not $1: ${words[*]}"
}

@test 'a command that acts does all of its work though its reader has gone' {
    project a 'say ready'
    project b 'say ready'
    set -o pipefail
    tmo-enqueue -p "$W/a" "$W/a.md" "$W/b.md" "$W/a.md" "$W/b.md" | head -1 >"$W/out"
    out 'length == 1'
    want 0 tmo-project
    out 'length == 4'
}

@test 'a full disk below stdout is one line on stderr' {
    [ -e /dev/full ] || skip 'no /dev/full here'
    work_for_all
    local command status
    for command in $READERS $WRITERS; do
        usual "$command"
        status=0
        "${words[@]}" <"$W/rows" >/dev/full 2>"$W/err" || status=$?
        [ "$command" != tmo-repair-db ] || continue # it finds nothing to print
        [ "$status" -eq 2 ] || fail "status $status of $command"
        says "$command" 'cannot write to stdout'
        "$command" --help >/dev/full 2>"$W/err" || true
        no_traceback "$command --help"
    done
}

@test 'a full disk below the database is one line on stderr, and costs nothing that was there' {
    work_for_all
    local command status
    for command in $WRITERS; do
        usual "$command"
        # No file may grow at all; what is said goes to a pipe.
        (ulimit -f 0 && exec "${words[@]}" <"$W/rows" 2>&1 >/dev/null) | cat >"$W/err" && status=${PIPESTATUS[0]}
        [ "$status" -eq 2 ] || fail "status $status of $command"
        says "$command"
    done
    want 0 tmo-repair-db --check
    want 0 tmo-project
    out 'map(.status) == ["processing", "processing", "queued", "cancelled"]'
}

@test 'an unwritable database directory is one line on stderr' {
    project one
    local command
    : >"$W/file"
    export TMO_DB=$W/file/below/task_queue.db
    local RUN=x
    for command in $WRITERS; do
        usual "$command"
        [ "$command" != tmo-enqueue ] || words=(tmo-enqueue -p "$W/one" "$W/one.md")
        want 2 "${words[@]}" </dev/null
        says "$command" "$TMO_DB"
        nothing
    done
    want 0 tmo-project # nothing is there, and nothing has to be made
}

@test 'a database directory without permission is one line on stderr' {
    [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null || skip 'needs root, to become somebody else'
    project one
    enqueue one
    local RUN=x command
    export HOME=/nonexistent TMO_CONFIG=$W/nobody.toml
    : >"$TMO_CONFIG"
    chmod 755 "$W" "${W%/*}" "${W%/*/*}" "${W%/*/*/*}"
    for command in tmo-project tmo-log tmo-grace 'tmo-hold all' 'tmo-start' 'tmo-prune'; do
        # shellcheck disable=SC2086 # a command and its words
        want 2 setpriv --reuid=nobody --clear-groups $command
        says "${command%% *}" "$TMO_DB"
        nothing
    done
}

@test 'a file that is no database is one line on stderr, and stays as it is' {
    mkdir "$W/state"
    project one
    local RUN=x command
    for bad in text directory newer; do
        rm -rf "$TMO_DB"
        case $bad in
        text) yes 'this is no database' | head -c 8192 >"$TMO_DB" ;;
        directory) mkdir "$TMO_DB" ;;
        newer) sql 'PRAGMA user_version = 999' ;;
        esac
        for command in tmo-project tmo-ls tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report tmo-brief tmo-repair-db $WRITERS; do
            usual "$command"
            [ "$command" != tmo-enqueue ] || words=(tmo-enqueue -p "$W/one" "$W/one.md")
            want 2 "${words[@]}" </dev/null
            says "$command" "$TMO_DB"
            nothing
        done
    done
    [ "$(sql 'PRAGMA user_version')" = 999 ]
}

@test 'a database that another program holds: writers wait and then say 75, readers do not wait' {
    work_for_all
    hold_database
    local command pids=() started=$SECONDS
    for command in $WRITERS; do
        usual "$command"
        {
            status=0
            "${words[@]}" <"$W/rows" >"$W/$command.out" 2>"$W/$command.err" || status=$?
            echo $status >"$W/$command.status"
        } 3>&- &
        pids+=($!)
    done
    for command in tmo-project tmo-ls tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report tmo-brief; do
        usual "$command"
        want 0 "${words[@]}"
        [ -s "$W/out" ] || fail "$command prints nothing"
    done
    [ $((SECONDS - started)) -lt 9 ] || fail 'a reader waited'
    wait "${pids[@]}"
    for command in $WRITERS; do
        cp "$W/$command.out" "$W/out" && cp "$W/$command.err" "$W/err"
        [ "$(cat "$W/$command.status")" -eq 75 ] || fail "$command: status $(cat "$W/$command.status")"
        says "$command" 'is busy'
    done
}

@test 'without tmux on PATH a command that needs it says so in one line' {
    work_for_all
    mkdir "$W/bin"
    local program
    for program in python3 env sh git stty; do ln -s "$(command -v "$program")" "$W/bin"; done
    for words in tmo-ls tmo-health tmo-recover 'tmo-send %0 hello' tmo-deliver tmo-start tmo-complete; do
        # shellcheck disable=SC2086 # a command and its words
        want 2 env "PATH=$BIN:$W/bin" $words
        says "${words%% *}" 'cannot find tmux on PATH'
    done
    for words in tmo-project tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report 'tmo-hold project/9' 'tmo-send -q 1/developer hello' 'tmo-brief developer' tmo-crontab; do
        # shellcheck disable=SC2086
        want 0 env "PATH=$BIN:$W/bin" $words
    done
}

@test 'a tmux server that does not answer means try again, and is never a verdict' {
    work_for_all
    setting tmux_timeout_s 0.3
    stop_server
    for words in tmo-ls tmo-health tmo-recover 'tmo-ls 1/developer'; do
        # shellcheck disable=SC2086 # a command and its words
        want 75 $words
        says "${words%% *}" 'tmux does not answer'
        nothing
    done
    want 0 tmo-health - <"$W/rows"
    out 'length == 2 and all(.health.state == "unknown" and .health.is_stuck == false)'
    want 0 tmo-recover - <"$W/out"
    out 'all(.recovery.action == "none")'
    want 75 tmo-start
    out '.[0].status == "authenticating" or .[0].status == "setting_up"'
    want 75 tmo-send 2/developer hello
    out '.[0] | .state == "held" and (.reason | contains("tmux does not answer"))'
    want 0 tmo-deliver
    out 'length > 0 and all(.state == "held")'
    want 0 tmo-complete
    out 'map(.completion.verdict) == ["working", "working"]'
    go_on_server
    eventually $LONG delivered 2
    want 0 tmo-project 1 2
    out 'all(.status == "processing" and .error_message == null)'
}

# delivered N: tmo-deliver has brought so many messages in all, briefings not counted.
delivered() {
    tmo-deliver >/dev/null
    [ "$(sql "SELECT count(*) FROM message WHERE state = 'submitted' AND key NOT GLOB 'briefing/*'")" -eq "$1" ]
}

@test 'a tmux server that was killed leaves missing agents, and no trouble' {
    work_for_all
    kill -9 "$(server_pid)"
    want 0 tmo-ls
    out 'map([.target, .pane_id, .pane_pid, .dead]) == [["1/developer", null, null, null], ["2/developer", null, null, null]]'
    want 0 tmo-health
    out 'all(.health.state == "missing") and .[0].health.is_stuck'
    silent
    want 1 tmo-send 1/developer hello
    out '.[0] | .state == "refused" and .pane_id == null'
    want 0 tmo-deliver
    [ "$(sql "SELECT state FROM message WHERE key NOT GLOB 'briefing/*' AND text <> 'hello'")" = held ]
    want 0 tmo-complete -n
    want 0 tmo-recover -n
    want 0 tmo-start
    out '.[0].status == "processing"' # on a server of its own
}

@test 'a tmux socket that cannot be reached proves nothing: no agent is called missing, none is launched' {
    work_for_all
    mkdir "$W/file" && : >"$W/file/f"
    for socket in "$W/file/f/tmux" "$W/$(printf 'x%.0s' {1..120})"; do
        export TMO_SOCKET=$socket
        for words in tmo-ls tmo-health tmo-recover tmo-deliver 'tmo-send %0 hello'; do
            # shellcheck disable=SC2086 # a command and its words
            want 2 $words
            says "${words%% *}" 'error connecting to'
            nothing
        done
    done
    want 0 tmo-log -k recovery
    nothing
}

@test 'cron: nothing but PATH and HOME is there, and all commands work by their absolute paths' {
    bare=(env -i PATH=/usr/bin:/bin "HOME=$HOME" "TMUX_TMPDIR=$W")
    command -v /usr/bin/tmux >/dev/null || skip 'tmux is not in /usr/bin'
    mkdir -p "$HOME/.config/tmuxorch"
    setting agents.stub.command "[\"$BIN/tmo-stub-agent\"]"
    setting agents.stub.args "[\"--script\", \"$W/script\"]"
    mv "$TMO_CONFIG" "$HOME/.config/tmuxorch/config.toml"
    unset TMO_DB TMO_SOCKET TMO_CONFIG TMO_STUB_HOME TMO_STUB_JOURNAL
    project 'größer 漢字'
    printf '%s\n' 'say ready' 'done fertig ✓' >"$W/script" # the stub agent finds no spec whose name holds a blank
    want 0 "${bare[@]}" "$BIN/tmo-enqueue" -p "$W/größer 漢字" "$W/größer 漢字.md"
    out '.[0].name == "größer 漢字"'
    want 0 "${bare[@]}" "$BIN/tmo-start"
    out '.[0].status == "processing"'
    [ -e "$HOME/.local/state/tmuxorch/task_queue.db" ]
    want 0 "${bare[@]}" "$BIN/tmo-ls"
    out '.[0].directory == $w + "/größer 漢字" and .[0].role == "developer"' --arg w "$W"
    want 0 "${bare[@]}" "$BIN/tmo-send" 1/developer 'schöne Grüße ✓'
    out '.[0].state == "submitted" or .[0].state == "accepted"'
    for words in tmo-deliver tmo-health tmo-authcheck tmo-recover tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report tmo-hold tmo-prune tmo-crontab 'tmo-repair-db --check' 'tmo-brief -p 1 developer'; do
        # shellcheck disable=SC2086 # a command and its words
        (cd "$W/größer 漢字" && want 0 "${bare[@]}" "$BIN/"$words && silent)
    done
    eventually $LONG completed_bare
    cp "$W/out" "$W/rows"
    want 0 "${bare[@]}" "$BIN/tmo-fmt" <"$W/rows"
    grep -q 'größer 漢字' "$W/out"
}

completed_bare() {
    "${bare[@]}" "$BIN/tmo-deliver" >/dev/null # the message may have been accepted by a busy agent
    "${bare[@]}" "$BIN/tmo-complete" >/dev/null && "${bare[@]}" "$BIN/tmo-project" >"$W/out" && out '.[0].status == "completed"'
}

@test 'a config file that is wrong is told by the key, and nothing is done' {
    project one
    local RUN=x command bad
    for bad in 'no_such_key = 1' 'max_running = "four"' 'confirm_s = nan' 'grace.tiny = 5' 'roles = [' ; do
        echo "$bad" >"$TMO_CONFIG"
        for command in tmo-project tmo-ls tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report tmo-brief tmo-repair-db tmo-crontab $WRITERS; do
            usual "$command"
            want 2 "${words[@]}" </dev/null
            says "$command" "$TMO_CONFIG"
            nothing
        done
    done
    TMO_CONFIG=$W/none.toml want 2 tmo-project
    says tmo-project "$W/none.toml"
    [ ! -e "$W/state" ]
}
