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
