#!/usr/bin/env bats
# tmo-notify - tell a person what needs one, by the notify command of the settings
load ../helper

# told_by COMMAND: the notify command of this test; nothing has to be waited for.
told_by() {
    setting notify_after_s 0
    setting notify_command "'''$1'''"
}

# fails NAME [WHY]: a project that is made, queued, and failed by hand; its number is in $ID.
fails() {
    project "$1"
    enqueue "$1"
    want 0 tmo-project -E error -w "${2-the roof fell in}" "$ID"
}

# texts: what was told so far, a line each.
texts() { [ ! -e "$W/told" ] || jq -r .notify.text "$W/told"; }
told() { [ "$(texts | wc -l)" -eq "$1" ]; }

@test 'what needs a person is told once, with its row on stdin' {
    told_by "cat >>$W/told"
    fails shop
    want 0 tmo-notify
    silent
    out 'length == 1 and (.[0] | .kind == "status" and .dest == "failed" and .project_id == 1)'
    out '.[0].notify | .reason == "failed" and .state == "sent" and .attempts == 1 and .why == null'
    out '.[0].notify | keys == ["attempts", "reason", "state", "text", "why"]'
    [ "$(texts)" = "tmuxorch on $(uname -n): project 1 (shop) failed: the roof fell in" ]
    jq -e '.id == 2 and .project_id == 1 and .notify.reason == "failed"' "$W/told" >/dev/null
    [ "$(wc -l <"$W/told")" -eq 1 ]
    want 0 tmo-notify
    nothing
    told 1
}

@test 'without a notify command nobody is told, and nothing later of that time' {
    fails shop
    want 0 tmo-notify
    silent
    out '.[0].notify | .state == "skipped" and (.why | contains("notify_command"))'
    told_by "cat >>$W/told"
    want 0 tmo-notify
    nothing
    fails other
    want 0 tmo-notify
    out 'map(.project_id) == [2]'
    told 1
}

@test 'notify_on chooses what is told' {
    told_by "cat >>$W/told"
    setting notify_on '["completed"]'
    fails shop
    want 0 tmo-project -E reinstate 1
    want 0 tmo-notify
    out 'map(.notify.state) == ["skipped", "sent"]'
    texts | grep -q 'project 1 (shop) is completed'
    setting notify_on '["complete"]'
    want 2 tmo-notify
    says tmo-notify "'notify_on' should hold only needs_human, failed"
}

@test 'a login that is missing is told once, however many projects wait for it' {
    told_by "cat >>$W/told"
    tmo-stub-agent auth logout
    for name in one two three; do project $name && enqueue $name; done
    want 75 tmo-start
    want 0 tmo-notify
    told 1
    texts | grep -q 'agent/stub is held until somebody logs in: stub lacks login'
    want 0 tmo-hold -w 'my own' all # by hand: whoever did it knows
    want 0 tmo-notify
    told 1
}

@test 'an agent that waits for an answer is told by the cron lines, once' {
    told_by "cat >>$W/told"
    setting agents.stub.args '["--start-s", "0.1", "--permission-mode", "manual"]'
    running asks 'ask touch PWNED'
    minutes_until $LONG told 1
    texts | grep -q 'project 1 (asks), developer needs a person: .*permission'
    jq -e '.kind == "notice" and .role == "developer" and .pane_id == "%0"' "$W/told" >/dev/null
    minute
    minute
    told 1
}

@test 'what is removed with its project is not told, and leaves nothing behind' {
    told_by "cat >>$W/told"
    setting notify_after_s 3600
    fails shop
    want 0 tmo-prune -d 0
    [ "$(sql 'SELECT count(*) FROM notification')" -eq 0 ]
    want 0 tmo-repair-db --check
    want 0 tmo-notify
    nothing
}

@test 'what is over is not told, the same is not told again, and nothing is told too early' {
    told_by "cat >>$W/told"
    fails shop
    want 0 tmo-project -E requeue 1
    want 0 tmo-notify
    out '.[0].notify | .state == "skipped" and (.why | contains("over"))'
    want 0 tmo-project -E error 1
    want 0 tmo-notify
    out '.[0].notify.state == "sent"'
    want 0 tmo-project -E requeue 1
    want 0 tmo-project -E error -w 'another way' 1
    want 0 tmo-project -E requeue 1
    want 0 tmo-project -E error -w 'another way' 1
    want 0 tmo-notify # another cause is told at once
    out 'map(.notify.state) == ["sent", "skipped"] and (.[1].notify.why | contains("told already"))'
    told 2
    setting notify_after_s 3600
    fails other
    want 0 tmo-notify
    nothing
    told 2
}

@test 'the same that came to pass anew is told later, if it is still so' {
    told_by "cat >>$W/told"
    running shop 'say ready'
    calls() {
        sql "UPDATE agent_health SET needs_human = 1"
        sql "INSERT INTO event (at, kind, name, project_id, role, actor, why) VALUES
             (round((julianday('now') - 2440587.5) * 86400.0, 3), 'notice', 'needs_human', 1, 'developer', 'x', 'it crashed')"
        want 0 tmo-notify
    }
    calls
    out 'map(.notify.state) == ["sent"]'
    sql 'UPDATE agent_health SET needs_human = 0'
    calls
    out 'length == 1 and (.[0].notify | .state == "queued" and (.why | contains("told already")))'
    sql 'UPDATE agent_health SET needs_human = 0'
    calls
    out 'map(.notify.state) == ["queued", "queued"]'
    told 1
    sql 'UPDATE notification SET attempted_at = attempted_at - 3600'
    want 0 tmo-notify # once for both
    out 'map(.notify.state) == ["sent", "skipped"]'
    told 2
    sql 'UPDATE agent_health SET needs_human = 0'
    calls
    sql 'UPDATE agent_health SET needs_human = 0'
    want 0 tmo-notify
    out 'length == 1 and (.[0].notify | .state == "skipped" and (.why | contains("over")))'
    want 0 tmo-notify
    nothing
    told 2
}

@test 'what waits for so long to be told again is not given up' {
    told_by "cat >>$W/told"
    setting notify_again_s 172800
    fails shop
    want 0 tmo-notify
    want 0 tmo-project -E requeue 1
    want 0 tmo-project -E error -w 'the roof fell in' 1
    sql "DROP TRIGGER event_append_only"
    sql "UPDATE event SET at = at - 100000"
    sql "UPDATE notification SET attempted_at = attempted_at - 100001"
    want 0 tmo-notify
    silent
    out 'map(.notify.state) == ["queued"]'
    sql "UPDATE event SET at = at - 80000"
    sql "UPDATE notification SET attempted_at = attempted_at - 80000"
    want 0 tmo-notify
    told 2
}

@test 'so many an hour; the others wait for the next' {
    told_by "cat >>$W/told"
    setting notify_per_hour 2
    for name in one two three; do fails $name; done
    want 0 tmo-notify
    out 'map(.notify.state) == ["sent", "sent", "queued"]'
    told 2
    sql 'UPDATE notification SET attempted_at = attempted_at - 3600 WHERE attempted_at IS NOT NULL'
    want 0 tmo-notify
    out 'map(.project_id) == [3]'
    told 3
}

@test 'a command that fails is said once, and tried again; the rest waits' {
    told_by "echo no route to host; test -e $W/net && cat >>$W/told"
    fails one
    fails two
    want 0 tmo-notify
    says tmo-notify 'the notify command ended with 1: no route to host'
    out 'length == 1 and (.[0].notify | .state == "queued" and .attempts == 1)'
    want 0 tmo-notify # the first one's wait is not over: the other one is tried
    says tmo-notify 'no route'
    out 'map(.project_id) == [2]'
    want 0 tmo-notify
    nothing
    silent
    sql 'UPDATE notification SET attempted_at = attempted_at - 50'
    want 0 tmo-notify
    out 'length == 1 and .[0].notify.attempts == 2'
    silent
    touch "$W/net"
    sql 'UPDATE notification SET attempted_at = attempted_at - 600'
    want 0 tmo-notify
    out 'map(.notify.state) == ["sent", "sent"]'
    told 2
}

@test 'a command that hangs is ended with all that it started' {
    told_by "sleep 600 & echo \$! >$W/pid; sleep 601"
    setting notify_timeout_s 0.3
    fails one
    want 0 tmo-notify
    says tmo-notify 'took more than 0.3 s'
    eventually $LONG gone "$(cat "$W/pid")"
}

@test 'killed at its work: the event is told again; never two at once' {
    told_by "cat >>$W/told; test -e $W/go || sleep 600"
    fails one
    background tmo-notify
    first=$!
    eventually $LONG told 1
    want 75 tmo-notify
    says tmo-notify 'another tmo-notify is at work'
    [ "$(sql 'SELECT state, attempts FROM notification')" = 'sending|1' ]
    hung=$(pgrep -P $first)
    kill -9 $first
    kill -9 -- "-$hung"
    touch "$W/go"
    eventually $LONG gone $first
    want 0 tmo-notify
    out 'length == 1 and (.[0].notify | .state == "sent" and .attempts == 2)'
    told 2
    want 0 tmo-notify
    nothing
}

@test 'what could not be told for a day is given up' {
    told_by false
    fails one
    fails two
    sql "UPDATE notification SET attempts = 7, attempted_at = 1000 WHERE event_id = 2"
    sql "DROP TRIGGER event_append_only"
    sql "UPDATE event SET at = at - 86401"
    want 0 tmo-notify
    out 'map(.notify.state) == ["failed", "skipped"]'
    grep -q 'event 2 could not be told for a day: tmuxorch on .* project 1 (one) failed' "$W/err"
}

@test '-n runs and changes nothing' {
    told_by "cat >>$W/told"
    fails one
    want 0 tmo-notify -n
    out '.[0].notify | .state == "queued" and .attempts == 0'
    told 0
    [ "$(sql 'SELECT state, attempts FROM notification')" = 'queued|0' ]
}

@test '--test tells whether the command works, and needs no database' {
    want 2 tmo-notify --test
    says tmo-notify 'no notify_command is set'
    told_by "cat >>$W/told"
    want 0 tmo-notify --test
    out '.[0].notify | .state == "sent" and (.text | contains("nothing is wrong"))'
    told 1
    told_by 'echo wrong token >&2; exit 22'
    want 1 tmo-notify --test
    says tmo-notify 'the notify command ended with 22: wrong token'
    [ ! -e "$W/state" ]
}

@test 'the recipes of the page reach their services' {
    "$ROOT/dev/need" curl
    python3 -c 'import http.server, sys
class Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(self.path, self.headers["Content-Type"], body.strip(), sep="|", file=open(sys.argv[1], "a"), flush=True)
        self.send_response(200 if "nothing is wrong" in body else 400)
        self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Post)
print(server.server_port, file=open(sys.argv[2], "w"), flush=True)
server.serve_forever()' "$W/posts" "$W/port" 3>&- &
    JOBS+=($!)
    eventually $LONG test -s "$W/port"
    mkdir "$W/bin"
    for program in mail notify-send; do
        printf '#!/bin/sh\n{ echo "$0 $*"; [ $# -gt 1 ] && [ "$1" = tmuxorch ] || cat; } >>%s\n' "$W/posts" >"$W/bin/$program"
        chmod +x "$W/bin/$program"
    done
    export PATH=$W/bin:$PATH LOGNAME=nobody
    grep '^notify_command' "$ROOT/man/tmo-notify.1" >"$W/recipes"
    [ "$(wc -l <"$W/recipes")" -eq 5 ]
    while IFS= read -r line; do
        sed "s|https://[^/]*|http://127.0.0.1:$(cat "$W/port")|" <<<"$line" >"$TMO_CONFIG"
        want 0 tmo-notify --test </dev/null
        silent
    done <"$W/recipes"
    grep -q '/TOPIC|.*|tmuxorch on .*nothing is wrong' "$W/posts"
    grep '^/services/T0/B0/TOKEN|application/json|' "$W/posts"
    [ "$(grep -c 'nothing is wrong' "$W/posts")" -eq 5 ]
    grep -q 'bin/mail -s tmuxorch nobody' "$W/posts"
    grep -q 'bin/notify-send tmuxorch tmuxorch on' "$W/posts"
}

@test 'wrong calls' {
    told_by cat
    for words in '--test -n' 'x' '-x'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-notify $words
        says tmo-notify
        nothing
    done
}
