#!/usr/bin/env bats
# tmo-report - write a page that shows how a batch went
load ../helper

# What the page says is in tests/unit/test_report.py.

# failed NAME: a project that began and failed, by what is typed into sqlite3.
failed() {
    project "$1"
    enqueue "$1"
    sql "UPDATE project_queue SET status = 'initializing', actor = 'tmo-start' WHERE id = $ID"
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-start', why = 'its <time> is over' WHERE id = $ID"
}

# data FILE: the figures on a page, as NAME VALUE.
data() { grep -o '<data id="kpi-[^"]*" value="[^"]*"' "$1" | sed 's/.*id="kpi-\([^"]*\)" value="\([^"]*\)"/\1 \2/' | sort; }

@test 'a page with the numbers of tmo-kpi, of agents that ran and of a project that failed' {
    running one 'say ready' 'crash' 'commit a.txt' 'done'
    failed two
    minutes_until $LONG status_is 1 completed
    want 0 tmo-report -o "$W/page.html"
    nothing
    silent
    grep -q '<h1>1 of 2 projects completed, 1 failed.</h1>' "$W/page.html"
    grep -q 'its &lt;time&gt; is over' "$W/page.html"
    grep -q 'class="mark fault"' "$W/page.html"
    data "$W/page.html" >"$W/shown"
    tmo-kpi | jq -r '"\(.name) \(.value // "")"' | sort >"$W/kpi"
    [ "$(wc -l <"$W/shown")" -gt 12 ]
    # jq and Python write a whole number each in its own way.
    join "$W/shown" "$W/kpi" | awk 'NF == 3 && $2 + 0 != $3 + 0 || NF != 3 && NF != 1 { print; bad = 1 } END { exit bad }'
    [ "$(join "$W/shown" "$W/kpi" | wc -l)" -eq "$(wc -l <"$W/shown")" ]
}

@test 'to stdout, and of a window' {
    failed one
    want 0 tmo-report
    grep -q '^<!doctype html>' "$W/out"
    grep -q '0 of 1 projects completed, 1 failed' "$W/out"
    want 0 tmo-report -s "$(($(date +%s) + 60))"
    grep -q 'No project in this time' "$W/out"
}

@test 'before there is a database there is a page that says so, and none is made' {
    want 0 tmo-report -o "$W/page.html"
    grep -q 'No project in this time' "$W/page.html"
    [ ! -e "$W/state" ]
}

@test 'a page that cannot be written is one line' {
    failed one
    want 2 tmo-report -o "$W/no/page.html"
    says tmo-report "cannot write '$W/no/page.html'"
    nothing
}

@test 'wrong calls' {
    for words in 'word' '-o' '-s yesterday'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-report $words
        says tmo-report
        nothing
    done
}
