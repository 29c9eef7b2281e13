#!/usr/bin/env bats
# tmo-doctor - tell what on this machine would make a night fail, before it does
load ../helper

# A machine that is ready: lines in a crontab that ran just now. What this machine has not (a clock that tells) is left out.
ready() {
    mkdir "$W/bin"
    program crontab "cat $W/crontab"
    export PATH=$W/bin:$PATH
    tmo-crontab >"$W/crontab"
    want 1 tmo-start
    for name in start deliver watch complete notify nightly; do
        sql "INSERT INTO heartbeat VALUES ('$name', '$(uname -n)', strftime('%s') - 2, strftime('%s') - 1, 0)"
    done
}

# program NAME LINE: a program that goes before the real one.
program() {
    printf '#!/bin/sh\n%s\n' "$2" >"$W/bin/$1"
    chmod +x "$W/bin/$1"
}

# is CHECK OK [WORDS]: the row of a check.
is() {
    out 'map(select(.check == $check)) | length == 1 and (.[0].ok | tojson) == $ok' --arg check "$1" --arg ok "$2"
    row "map(select(.check == \"$1\"))[0].why" | grep -qF -- "${3-}" || fail "$1 says something else"
}

# wrong [CHECK...]: these checks are wrong, and no other.
wrong() { out 'map(select(.ok == false).check) == $names' --argjson names "$(jq -nc '$ARGS.positional' --args "$@")"; }

@test 'a machine that is ready: nothing is wrong, and nothing is written' {
    ready
    project shop 'say ready'
    enqueue shop -v 'cd . && test -e x'
    state >"$W/before"
    want 0 tmo-doctor -e
    silent
    wrong
    keys check fix ok why
    out 'map(select(.ok).fix) | unique == [null]'
    out 'map(select(.ok).check) | contains(["config", "libraries", "tmux", "tmux_server", "git", "agent/stub", "directory",
        "trust", "verify", "permissions/stub", "holds", "rollout", "schedule", "cron", "cron_path", "cron_environment",
        "line/watch", "line/nightly", "database_place", "database", "hosts", "writers", "disk"])'
    is agent/stub true 'logged in by'
    is schedule true 'all 6 lines are in the crontab'
    is directory true 'of 1 projects'
    state | cmp - "$W/before" || fail 'something was written'
    want 0 tmo-doctor -q
    out 'all(.ok != true)'
}

# state: the state directory's files, but for what SQLite needs to read one.
state() { find "$W/state" -type f ! -name '*-shm' ! -name '*-wal' -exec cksum {} + | sort; }

@test 'a new machine: no database is made, and each thing that is missing says what to type' {
    mkdir "$W/bin"
    program crontab 'echo no crontab for you >&2; exit 1'
    PATH=$W/bin:$PATH want 1 tmo-doctor -e
    wrong schedule
    is schedule false 'nothing runs by itself'
    out 'map(select(.ok == false and .fix == null)) == []'
    is database true 'none yet'
    is line null 'none has run yet'
    [ ! -e "$W/state" ]
    PATH=$W/bin:$PATH want 0 tmo-doctor
}

@test 'agents: not installed, logged out, another login check than we know' {
    ready
    tmo-stub-agent auth logout
    want 1 tmo-doctor -e
    wrong agent/stub
    out 'map(select(.ok == false))[0].fix | contains("tmo-stub-agent auth login")'
    setting agents.stub.command '["no-such-agent"]'
    want 0 tmo-doctor
    is agent/stub false 'no-such-agent is not on PATH'
    program no-such-agent 'echo 3.0; echo what'
    want 0 tmo-doctor
    is agent/stub null
}

@test 'projects: a directory, a spec, a trust or a verify command that is not there' {
    ready
    setting trust '"required"'
    for name in a b c d e; do project $name; done
    enqueue a -v 'no-such-checker --all'
    enqueue b -v 'if then'
    enqueue c -v 'X=1 make test'
    enqueue d
    enqueue e
    rm -r "$W/c" "$W/d.md"
    want 1 tmo-doctor -e
    is verify/1 false "cannot find 'no-such-checker'"
    is verify/2 false 'sh does not understand it'
    is directory/3 false "cannot find '$W/c'"
    is directory/4 false "cannot find '$W/d.md'"
    is trust/5 false "does not trust '$W/e'"
    out 'map(select(.ok == false and (.check | startswith("verify/"))).check) == ["verify/1", "verify/2"]'
    setting agents.stub.env.TMO_STUB_HOME "\"$W/own\"" # the home that its agents will have
    mkdir "$W/own"
    echo "{\"projects\": {\"$W/e\": {\"hasTrustDialogAccepted\": true}}}" >"$W/own/config.json"
    want 0 tmo-doctor
    out 'map(.check) | index("trust/5") == null'
    setting trust '"given"'
    want 0 tmo-doctor
    is trust true 'of 5 projects are trusted'
}

@test 'cron: a PATH without the agent, another database, a line too few, a command that is gone, no cron' {
    ready
    mkdir "$W/agents"
    mv "$W/crontab" "$W/good"
    sed "s|^PATH=.*|PATH=\"/usr/bin:/bin\"|; s|^TMO_DB=.*|TMO_DB=\"/other.db\"|" "$W/good" >"$W/crontab"
    want 0 tmo-doctor
    is cron_path false "cron's PATH lacks tmo-stub-agent: $BIN/tmo-stub-agent"
    is cron_environment false 'the database of cron is /other.db'
    grep -v 'run watch' "$W/good" >"$W/crontab"
    want 0 tmo-doctor
    wrong schedule
    is schedule false 'nothing runs watch'
    sed "s|$BIN/tmo-crontab|/gone/bin/tmo-crontab|" "$W/good" >"$W/crontab"
    want 0 tmo-doctor
    is schedule false 'the crontab calls what is not there: /gone/bin/tmo-crontab'
    cp "$W/good" "$W/crontab"
    sql 'UPDATE heartbeat SET started_at = started_at - 7200, finished_at = finished_at - 7200'
    want 0 tmo-doctor
    out 'map(select(.why == "last ran 2 h ago" and .ok == false)) | length == 5'
    is line/nightly true
    sql "UPDATE heartbeat SET finished_at = NULL, status = NULL"
    want 0 tmo-doctor
    is line/watch false 'never ended'
    sql "UPDATE heartbeat SET started_at = started_at + 7200, finished_at = 1, status = 2 WHERE name = 'watch'"
    sql "INSERT INTO heartbeat (name, host, started_at) SELECT 'watch', 'elsewhere', started_at FROM heartbeat WHERE name = 'watch'"
    want 0 tmo-doctor
    is line/watch false 'ended with 2'
    is hosts false 'elsewhere works on this database too'
}

@test 'timers of systemd: they count, also for the PATH; crontab and timers are one too many' {
    ready
    mv "$W/crontab" "$W/good"
    : >"$W/crontab"
    tmo-crontab --systemd "$W/units" >/dev/null
    program systemctl "case \$2 in
        is-enabled) ls $W/units/\$3 ;;
        show) sed -n 's/^Environment=//p' $W/units/\$6 | tr '\n' ' ' ;;
    esac"
    want 0 tmo-doctor
    wrong
    is schedule true 'all 6 lines are in the timers of systemd'
    is cron_path true tmo-stub-agent
    cp "$W/good" "$W/crontab"
    want 0 tmo-doctor
    is schedule false 'crontab and timers both run'
}

@test 'a setting that asks for nothing is named, and what root lacks for it' {
    ready
    setting agents.stub.args '["--dangerously-skip-permissions"]'
    want 1 tmo-doctor -e
    wrong permissions/stub
    is permissions/stub false 'its args hold --dangerously-skip-permissions'
    setting agents.stub.args '[]'
    setting agents.stub.skip_permissions true
    setting dialog.permission '"accept"'
    want 0 tmo-doctor
    is permissions/stub true 'it is launched with --dangerously-skip-permissions and asks nothing'
    is permissions true 'each question of an agent is answered with yes'
    if [ "$(id -u)" -eq 0 ]; then
        is root/stub false 'without IS_SANDBOX'
        setting agents.stub.env '{IS_SANDBOX = "1"}'
        want 0 tmo-doctor -e
        is root/stub true
    fi
    mkdir -p "$HOME/.claude"
    echo '{"permissions": {"defaultMode": "bypassPermissions"}}' >"$HOME/.claude/settings.json"
    setting agent '"claude"'
    want 0 tmo-doctor
    is permissions/claude false 'its own settings.json has permissions.defaultMode = bypassPermissions'
}

@test 'what holds everything back is told' {
    ready
    tmo-hold -w 'not tonight' all >/dev/null
    setting observe true
    want 0 tmo-doctor
    wrong holds rollout
    is holds false 'held: all (not tonight)'
}

@test 'tmux: what runs is asked, what does not answer is wrong, one that is too old too' {
    ready
    idle_agent
    tmux -S "$TMO_SOCKET" set-option -g history-limit 500000
    want 0 tmo-doctor
    is tmux_server true "the one with the pid $(server_pid) answers"
    is tmux_history false '500000 lines'
    is open_files true 'the tmux server may open'
    setting tmux_timeout_s 0.3
    stop_server
    want 0 tmo-doctor
    is tmux_server false 'tmux does not answer'
    go_on_server
    program tmux '[ "$2" = -V ] || [ "$4" = -V ] && echo "tmux 2.9a"'
    want 0 tmo-doctor
    is tmux false 'version 2.9'
}

@test 'the database: times ahead of the clock, newer than we are, no database, no directory to write' {
    ready
    project shop
    enqueue shop
    sql "INSERT INTO event (at, kind, actor) VALUES (strftime('%s') + 90000, 'done', 'sql')"
    want 0 tmo-doctor
    is clock false 'ahead of the clock'
    sql 'PRAGMA user_version = 999'
    want 0 tmo-doctor
    is database false 'of a newer tmuxorch'
    is lines null 'of a newer tmuxorch'
    rm "$TMO_DB"
    yes 'this is no database' | head -c 8192 >"$TMO_DB"
    want 0 tmo-doctor
    is database false 'cannot use database'
    rm "$TMO_DB"*
    mkdir "$W/file"
    TMO_DB=$W/config.toml/x.db want 0 tmo-doctor
    is database false 'cannot be written'
}

@test 'another program that has the database open for writing is named' {
    [ -d /proc/self/fdinfo ] || skip 'no /proc here'
    ready
    hold_database
    want 0 tmo-doctor
    is writers false 'python3 -c'
}

@test 'a config file that is wrong is a row, and the rest is checked with the defaults' {
    ready
    echo 'no_such_key = 1' >"$TMO_CONFIG"
    want 1 tmo-doctor -e
    is config false "unknown key 'no_such_key'"
    is git true
}

@test 'a program that hangs takes nobody with it' {
    ready
    program git 'sleep 600 & wait'
    SECONDS=0
    want 0 tmo-doctor
    is git null 'no answer within 6 s'
    is schedule true
    [ $SECONDS -lt 15 ] || fail "it took $SECONDS s"
}

@test 'wrong calls' {
    for words in x '-x'; do
        want 2 tmo-doctor $words
        says tmo-doctor
        nothing
    done
}
