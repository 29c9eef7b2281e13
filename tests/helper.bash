# shellcheck shell=bash
# What the bats files share: a private world for each test, and words to ask it.
#
# $W is the world's directory. Everything lies below it: HOME, the database, the tmux server, the stub agent's home
# and journal, the projects. Nothing that the caller has is seen or touched.

ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
BIN=$ROOT/bin
LONG=120 # seconds: a deadline on a loaded machine, not a time that anything takes

# The commands by what they are. tests/test_shape.py knows that all are here.
READERS='tmo-project tmo-ls tmo-grace tmo-log tmo-kpi tmo-metrics tmo-report tmo-brief tmo-fmt tmo-crontab tmo-repair-db tmo-doctor'
WRITERS='tmo-enqueue tmo-start tmo-send tmo-deliver tmo-authcheck tmo-health tmo-recover tmo-complete tmo-done tmo-hold tmo-prune tmo-notify tmo-import'
OTHERS='tmo-hook tmo-stub-agent'

setup() { make_world; }
teardown() { end_world; }

# -- the world

make_world() {
    local name
    for name in $(compgen -e); do
        case $name in TMO_* | TMUX* | XDG_* | GIT_* | LC_* | IS_SANDBOX) unset "$name" ;; esac
    done
    W=$(cd "$BATS_TEST_TMPDIR" && pwd -P)
    JOBS=()
    mkdir "$W/home" "$W/here"
    export HOME=$W/home LANG=C.UTF-8 TERM=xterm-256color TMUX_TMPDIR=$W
    export PATH=$BIN:$ROOT/.venv/bin:$PATH
    export TMO_DB=$W/state/task_queue.db TMO_SOCKET=$W/tmux TMO_CONFIG=$W/config.toml
    export TMO_STUB_HOME=$W/stub TMO_STUB_JOURNAL=$W/journal
    git config --global init.defaultBranch main
    # The times of a night, scaled down to seconds.
    cat >"$TMO_CONFIG" <<END
agent = "stub"
max_running = 20
confirm_s = 0.2
message_retry_s = 0.2
pane_messages_per_minute = 1000
backoff_min_s = 0.2
backoff_max_s = 1
limit_margin_s = 0.2
probe_min_s = 0.2
probe_max_s = 1
recover_wait_s = 30
agents.stub.args = ["--start-s", "0.1"]
END
    cd "$W/here" || return 1
}

end_world() {
    local job pid socket
    for job in "${JOBS[@]}"; do kill -9 "$job" 2>/dev/null || true; done
    [ ! -e "$W/stopped" ] || go_on_server
    find "$W" -type s -print0 >"$W/sockets"
    while IFS= read -r -d '' socket; do
        pid=$(tmux -S "$socket" display-message -p '#{pid}' 2>/dev/null) || continue # no server listens any more
        tmux -S "$socket" kill-server || true
        eventually $LONG gone "$pid"
    done <"$W/sockets"
    for pid in $(agent_pids); do # one that hangs may outlive its terminal
        eventually 5 gone "$pid" || kill -9 "$pid" 2>/dev/null || true
        eventually $LONG gone "$pid"
    done
    cd /
}

server_pid() { tmux -S "$TMO_SOCKET" display-message -p '#{pid}'; }

# stop_server: the tmux server answers nobody any more; go_on_server: it does again.
stop_server() {
    server_pid >"$W/stopped"
    kill -STOP "$(cat "$W/stopped")"
}

go_on_server() {
    kill -CONT "$(cat "$W/stopped")"
    rm "$W/stopped"
}

# agent_pids: the stub agents of this world that still run.
agent_pids() {
    local pid
    for pid in $(journal start '.pid'); do
        case $(ps -o args= -p "$pid") in *tmo-stub-agent*) echo "$pid" ;; esac
    done
}

gone() { ! kill -0 "$1" 2>/dev/null || [ "$(ps -o state= -p "$1" | cut -c1)" = Z ]; }

# setting KEY VALUE: a line of the config; a dotted key is one of a table.
setting() {
    { echo "$1 = $2"; grep -v "^$1 = " "$TMO_CONFIG"; } >"$TMO_CONFIG.new" || true
    mv "$TMO_CONFIG.new" "$TMO_CONFIG"
}

# background COMMAND...: run it beside the test, ended with the test at the latest; its pid is in $!.
background() {
    "$@" 3>&- &
    JOBS+=($!)
}

# -- waiting and failing

# eventually SECONDS COMMAND...: try the command until it succeeds, or the time is over.
eventually() {
    local end=$((SECONDS + $1 + 1))
    shift
    until "$@" >"$W/tried" 2>&1; do
        if [ $SECONDS -ge $end ]; then
            { echo "waited in vain for: $*" && head -c 4000 "$W/tried"; } >&2
            return 1
        fi
        sleep 0.05
    done
}

fail() {
    {
        echo "$*"
        for file in out err; do
            [ ! -s "$W/$file" ] || { echo "-- std$file:" && head -c 4000 "$W/$file"; }
        done
    } >&2
    return 1
}

# -- running commands

# want STATUS COMMAND...: run it; its output is in $W/out and $W/err. Any other status fails the test.
want() {
    local expected=$1 status=0
    shift
    "$@" >"$W/out" 2>"$W/err" || status=$?
    [ "$status" -eq "$expected" ] || fail "status $status, not $expected: $*"
}

# out FILTER [JQ OPTION...]: the rows that the last command printed, as an array, satisfy the filter.
out() {
    local filter=$1
    shift
    jq -e -s "$@" "$filter" "$W/out" >/dev/null || fail "the rows are not so: $filter"
}

# row FILTER: a value from the rows that the last command printed.
row() { jq -r -s "$1" "$W/out"; }

# nothing: the last command printed no row.
nothing() { [ ! -s "$W/out" ] || fail 'there should be no rows'; }

# silent: the last command said nothing on stderr.
silent() { [ ! -s "$W/err" ] || fail 'nothing should be said'; }

# says NAME [WORDS]: the last command said one line for people, and the words are in it.
says() {
    [ "$(wc -l <"$W/err")" -eq 1 ] || fail 'not one line on stderr'
    grep -Eq "^$1: ([^A-Z]|[A-Z_]+ ).*[^.]\$" "$W/err" || fail "stderr is no line of $1: lower case, no full stop"
    [ -z "${2-}" ] || grep -qF -- "$2" "$W/err" || fail "stderr lacks: $2"
}

# keys ROWS...: the last command's rows have exactly these keys.
keys() { out 'length > 0 and all(keys == ($keys | split(" ") | sort))' --arg keys "$*"; }

# sql QUERY: its result, a line a row.
sql() {
    python3 - "$TMO_DB" "$1" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20)
for row in db.execute(sys.argv[2]):
    print(*row, sep="|")
db.commit()
END
}

# old_database [ROW...]: $W/old.db as an older system left it, with these rows: a dict of Python each, of project_queue, or
# with its table before it ("tasks", {...}).
old_database() {
    PYTHONPATH=$ROOT/tests/unit python3 - "$W/old.db" "${@:-{'spec_path': '/web.md', 'status': 'failed'\}}" <<'END'
import ast, sqlite3, sys
import old_system
db = sqlite3.connect(old_system.build(sys.argv[1]))
for word in sys.argv[2:]:
    row = ast.literal_eval(word)
    table, row = row if isinstance(row, tuple) else ("project_queue", row)
    old_system.insert(db, table, row)
db.commit()
END
}

# hold_database: a program that is not ours holds the database until the test is over.
hold_database() {
    background python3 -c 'import signal, sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN EXCLUSIVE")
open(sys.argv[2], "w").close()
signal.pause()' "$TMO_DB" "$W/held"
    eventually $LONG test -e "$W/held"
}

# -- projects

# project NAME [STEP...]: a directory $W/NAME with a repository, and a spec $W/NAME.md whose script has these steps.
project() {
    local name=$1
    shift
    git init -q "$W/$name"
    {
        echo "# $name"
        # shellcheck disable=SC2016 # the fence of a code block
        [ $# -eq 0 ] || { echo '```stub' && printf '%s\n' "$@" && echo '```'; }
    } >"$W/$name.md"
}

# enqueue NAME [OPTION...]: queue a project that is made; its number is in $ID.
enqueue() {
    local name=$1
    shift
    want 0 tmo-enqueue -p "$W/$name" "$@" "$W/$name.md"
    ID=$(row '.[0].id')
}

# running NAME [STEP...]: a project that is made, queued and started; its number is in $ID.
running() {
    project "$@"
    enqueue "$1"
    want 0 tmo-start "$ID"
    out '.[0].status == "processing"'
}

# An agent that has read its briefing and waits at its prompt, its work not done.
idle_agent() {
    running "${1-quiet}" 'say ready'
    eventually $LONG state_is "$ID/developer" idle
}

# state_is TARGET STATE: what a fresh look says of an agent.
state_is() { [ "$(tmo-health "$1" | jq -r .health.state)" = "$2" ]; }

# confirmed TARGET STATE: the same, by a second look.
confirmed() { tmo-health "$1" | jq -e --arg s "$2" '.health | .state == $s and .confirmed' >/dev/null; }

# status_is ID STATUS
status_is() { [ "$(tmo-project "$1" | jq -r .status)" = "$2" ]; }

# pane_of TARGET, pid_of TARGET: its pane's id, and the pid of the agent in it.
pane_of() { tmo-ls "$1" | jq -r .pane_id; }
pid_of() { pgrep -P "$(tmo-ls "$1" | jq -r .pane_pid)"; }

screen_of() { tmux -S "$TMO_SOCKET" capture-pane -p -t "$1"; }

# -- the truth: what the agents really took

# journal KIND FILTER [JQ OPTION...]: what the filter makes of the journal's rows of this kind.
journal() {
    local kind=$1 filter=$2
    shift 2
    [ ! -e "$TMO_STUB_JOURNAL" ] || jq -r --arg kind "$kind" "$@" "select(.kind == \$kind) | $filter" "$TMO_STUB_JOURNAL"
}

# taken TEXT: how many prompts hold this text.
# shellcheck disable=SC2016 # a variable of jq
taken() { journal prompt 'select(.prompt | contains($text)) | 1' --arg text "$1" | wc -l | tr -d ' '; }

# begun STEP: an agent has begun such a step of its script.
begun() { journal step .step | grep -qx "$1"; }

# last_prompt: what was taken last of all.
last_prompt() { jq -rs 'map(select(.kind == "prompt"))[-1].prompt' "$TMO_STUB_JOURNAL"; }

# unequal: what differs between the outbox and the journal. Every message that is called submitted was taken exactly
# once, every other one not at all; blanks do not count.
unequal() {
    python3 - "$TMO_DB" "$TMO_STUB_JOURNAL" <<'END'
import collections, json, sqlite3, sys
bare = lambda text: "".join(text.split())
sent = collections.Counter()
for state, text in sqlite3.connect(sys.argv[1]).execute("SELECT state, text FROM message"):
    sent[bare(text)] += state == "submitted"
rows = map(json.loads, open(sys.argv[2], encoding="utf-8"))
taken = collections.Counter(bare(row["prompt"]) for row in rows if row["kind"] == "prompt")
for text in sent.keys() | taken.keys():
    if sent[text] != taken[text]:
        print(f"submitted {sent[text]}, taken {taken[text]}: {text[:120]}")
END
}

# settled OPEN: deliver; so many messages are still open.
settled() {
    tmo-deliver >/dev/null
    [ "$(sql "SELECT count(*) FROM message WHERE state IN ('queued', 'typing', 'accepted', 'held')")" -eq "$1" ]
}

# all_states STATE: a look finds every agent of ours in this state.
all_states() { tmo-health | jq -es --arg s "$1" 'map(select(.project_id)) | all(.health.state == $s)' >/dev/null; }

# all_status STATUS: every project has it.
all_status() { tmo-project | jq -es --arg s "$1" 'all(.status == $s)' >/dev/null; }

# -- cron

# as_cron NAME: run one line of $W/crontab as cron does: in its environment and no other, `\%` taken as `%`.
as_cron() {
    local line environment=()
    while IFS= read -r line; do
        case $line in [A-Z]*=*)
            line=${line/=\"/=}
            environment+=("${line%\"}") ;;
        esac
    done <"$W/crontab"
    line=$(grep -- " --run $1\$" "$W/crontab" | cut -d' ' -f6- | sed 's/\\%/%/g')
    (cd "$HOME" && exec env -i SHELL=/bin/sh LOGNAME=nobody PATH=/usr/bin:/bin "HOME=$HOME" "${environment[@]}" /bin/sh -c "$line")
}

# minute: all that a cron minute runs, at once, as cron does.
minute() {
    local name jobs=()
    for name in start deliver watch complete notify; do
        "$BIN/tmo-crontab" --run "$name" 3>&- &
        jobs+=($!)
    done
    for name in "${jobs[@]}"; do wait "$name" || true; done
}

# Run cron until a command succeeds.
minutes_until() { eventually "$1" after_a_minute "${@:2}"; }

after_a_minute() {
    minute
    "$@"
}
