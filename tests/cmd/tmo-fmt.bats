#!/usr/bin/env bats
# tmo-fmt - print rows as a table for people
load ../helper

@test 'a table: a head, a line a row, no empty columns' {
    project shop
    enqueue shop -r developer,tester
    cp "$W/out" "$W/rows"
    want 0 tmo-fmt <"$W/rows"
    [ "$(wc -l <"$W/out")" -eq 2 ]
    head -1 "$W/out" | grep -Eq '^id  name  status  since +size +agent  roles$'
    tail -1 "$W/out" | grep -Eq '^1 +shop  queued  [0-9.]+s ago +small +stub +developer,tester$'
}

@test 'times are ages, durations are short, what a command added is a word' {
    now=$(date +%s)
    want 0 tmo-fmt <<END
{"id": 1, "name": "a", "started_at": $((now - 7300)), "deadline_at": $((now + 90061)), "took_s": 95, "list": [1], "nothing": null}
END
    grep -q '2h01m ago  in 1d01h  1m35s' "$W/out"
    ! grep -q 'list\|nothing' "$W/out" || fail 'columns that say nothing'
    idle_agent
    tmo-ls | tmo-authcheck - | tmo-health - | tmo-grace - | tmo-recover -n - | tmo-complete -n - | tmo-fmt >"$W/out"
    grep -q 'auth  health  grace .* recovery  completion' "$W/out" || grep -q 'auth  health  grace .* completion' "$W/out"
    grep -q ' ok .* idle .* left .* working: not done yet: developer' "$W/out"
}

@test 'rows of several kinds are several tables' {
    want 0 tmo-fmt <<'END'
{"x": 1}
{"x": 2}
{"y": 3}
{"x": 4}
END
    [ "$(tr '\n' ' ' <"$W/out")" = 'x 1 2 y 3 x 4 ' ]
}

@test 'what a terminal would obey, and what is wide, is made harmless' {
    want 0 tmo-fmt <<'END'
{"name": "a\u001b[31mred\nline\ttab\u202e", "n": 1}
{"name": "漢字", "n": 2}
END
    ! grep -q $'\e' "$W/out" || fail 'an escape sequence came through'
    [ "$(wc -l <"$W/out")" -eq 3 ]
    grep -q '^漢字 ' "$W/out"
    want 0 tmo-fmt <<<'{"a\u001b[31mred\nline": 1}' # a head as well
    [ "$(cat "$W/out")" = $'a [31mred line\n             1' ]
}

@test 'a long cell is cut, the last sign says so; a step that was in vain says why' {
    want 0 tmo-fmt <<END
{"name": "$(printf 'x%.0s' {1..60})y", "n": "$(printf 'y%.0s' {1..60})", "recovery": {"action": "relaunch", "result": "failed", "reason": "no pane"}}
END
    grep -Eq '^x{59}…  y{60}  relaunch failed: no pane$' "$W/out"
}

@test 'the width cuts a line, the last sign says so' {
    want 0 tmo-fmt -w 10 <<<'{"name": "a name that is far too long"}'
    [ "$(tail -1 "$W/out")" = 'a name th…' ]
}

@test 'no rows, no table; a bad line is told and the others are shown' {
    want 0 tmo-fmt </dev/null
    nothing
    want 2 tmo-fmt <<<$'oops\n{"x": 1}'
    says tmo-fmt 'line 1 is not a JSON object'
    [ "$(tr '\n' ' ' <"$W/out")" = 'x 1 ' ]
    want 0 tmo-fmt <<<'{"health": {"odd": 1}, "auth": 5, "recovery": [], "grace": {"left_s": "x"}, "n": 1}'
}

# terminal COLUMNS COMMAND: what it writes to a terminal of this width.
terminal() {
    python3 -c 'import os, pty, sys
os.environ.pop("COLUMNS", None)
sys.exit(pty.spawn(["sh", "-c", f"stty cols {sys.argv[1]}; {sys.argv[2]}"]))' "$@" </dev/null | tr -d '\r' >"$W/out"
}

@test 'on a terminal: colours, and lines that fit; NO_COLOR and a pipe have none' {
    printf '{"name": "%s", "status": "failed", "ok": true}\n' {a..c}"$(printf 'x%.0s' {1..70})" >"$W/rows"
    terminal 50 "tmo-fmt <$W/rows"
    grep -q $'\e\[31mfailed\e\[0m  \e\[32myes\e\[0m$' "$W/out"
    [ "$(sed 's/\x1b\[[0-9]*m//g' "$W/out" | wc -L)" -le 50 ] || fail 'a line is too wide'
    [ "$(wc -l <"$W/out")" -eq 4 ]
    NO_COLOR=1 terminal 50 "tmo-fmt <$W/rows"
    grep -q 'x…  failed  yes$' "$W/out"
    ! grep -q $'\e' "$W/out" || fail 'NO_COLOR is not respected'
    TERM=dumb terminal 50 "tmo-fmt <$W/rows"
    ! grep -q $'\e' "$W/out" || fail 'a dumb terminal gets colours'
    want 0 tmo-fmt <"$W/rows"
    ! grep -q $'\e' "$W/out" || fail 'a pipe gets colours'
    want 0 tmo-fmt --color always <"$W/rows"
    grep -q $'\e\[31mfailed' "$W/out"
    terminal 50 "tmo-fmt --color never <$W/rows"
    ! grep -q $'\e' "$W/out" || fail '--color never has colours'
}

@test 'rows are shown as they come, below one head' {
    mkfifo "$W/rows"
    tmo-fmt <"$W/rows" >"$W/shown" 3>&- &
    JOBS+=($!)
    exec 8>"$W/rows"
    echo '{"name": "first", "n": 1}' >&8
    eventually $LONG grep -q first "$W/shown"
    echo '{"name": "second", "n": 22}' >&8
    eventually $LONG grep -q second "$W/shown"
    exec 8>&-
    wait $!
    [ "$(cat "$W/shown")" = $'name   n\nfirst  1\nsecond  22' ] || fail "$(cat "$W/shown")"
}

@test 'whoever reads the table goes away while rows still come' {
    set +o pipefail
    { echo '{"x": 1}' && eventually $LONG test -e "$W/gone" && echo '{"x": 2}'; } |
        { tmo-fmt 2>"$W/err" || echo $? >"$W/status"; } | { head -1 && touch "$W/gone"; }
    [ "$(cat "$W/status")" -eq 141 ]
    silent
}

@test 'the rows of every command that lists' {
    idle_agent
    want 0 tmo-hold -w lunch project/9
    tmo-fmt <"$W/out" >"$W/table"
    grep -Eq '^1   project/9  manual  [0-9.]+s ago +user/.* lunch$' "$W/table"
    tmo-log -k hold | tmo-fmt >"$W/table"
    grep -Eq 'hold +hold +project/9 +user/.*lunch$' "$W/table"
    tmo-doctor | tmo-fmt -w 80 >"$W/table"
    grep -q '^git  *yes  git version' "$W/table"
    tmo-send -q 1/developer hello | tmo-fmt >"$W/table"
    grep -Eq '1/developer +queued +0$' "$W/table"
    tmo-notify | tmo-fmt >"$W/table"
    grep -q 'skipped: no notify_command is set$' "$W/table"
    tmo-ls | tmo-health - | tmo-recover -n - | tmo-fmt >"$W/table"
    grep -q 'stub .*idle' "$W/table"
}
