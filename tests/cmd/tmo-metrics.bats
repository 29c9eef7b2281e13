#!/usr/bin/env bats
# tmo-metrics - print the metrics for monitoring, as rows or for Prometheus
load ../helper

# What each metric counts is in tests/unit/test_metrics.py.

# counters FILE: the samples of counters and histograms in it, sorted.
counters() { grep -E '^[a-z_]+_(total|bucket|sum|count)[{ ]' "$1" | sort; }

# never_lower BEFORE AFTER: each sample of the first scrape is in the second, and is no lower.
never_lower() {
    counters "$1" >"$W/a" && counters "$2" >"$W/b"
    join -a 1 -e gone -o 0,1.2,2.2 <(sed 's/ \([^ ]*\)$/\t\1/' "$W/a" | sort) <(sed 's/ \([^ ]*\)$/\t\1/' "$W/b" | sort) -t "$(printf '\t')" |
        awk -F '\t' '$3 == "gone" || $3 < $2 { print; bad = 1 } END { exit bad }' >&2
}

one_ended() {
    project shop
    enqueue shop -s small
    sql "UPDATE project_queue SET status = 'initializing', actor = 'tmo-start' WHERE id = $ID"
    sql "UPDATE project_queue SET status = 'failed', actor = 'tmo-start', why = 'its time is over' WHERE id = $ID"
}

@test 'a row a sample' {
    want 0 tmo-metrics # before there is a database
    nothing
    one_ended
    want 0 tmo-metrics
    silent
    keys name type labels value
    out 'map(select(.name == "tmux_orch_projects_ended_total" and .value > 0)) == [{"name": "tmux_orch_projects_ended_total", "type": "counter", "labels": {"size": "small", "status": "failed"}, "value": 1}]'
    out 'map(select(.name == "tmux_orch_stuck_agents"))[0] | .type == "gauge" and .value == 0 and .labels == {}'
    out 'any(.name == "tmux_orch_auth_failures_total") and any(.name == "tmux_orch_message_failures_total")'
}

@test 'Prometheus takes it, and no counter is lower in the next scrape, not even after tmo-prune' {
    running one 'say ready' 'commit a.txt' 'done'
    want 0 tmo-metrics --prometheus
    silent
    cp "$W/out" "$W/first"
    eventually $LONG minute_and_done
    want 0 tmo-metrics --prometheus -o "$W/second"
    nothing
    never_lower "$W/first" "$W/second"
    grep -q '^tmux_orch_projects_ended_total{size="small",status="completed"} 1.0$' "$W/second"
    grep -q '^tmux_orch_project_duration_seconds_bucket{le="86400",size="small",status="completed"} 1.0$' "$W/second"
    grep -q '^tmux_orch_delivery_seconds_count 1.0$' "$W/second"
    for name in start deliver watch complete; do
        grep -q "^tmux_orch_cron_last_run_timestamp_seconds{host=\"$(uname -n)\",line=\"$name\"} 1" "$W/second"
    done
    sql 'UPDATE project_queue SET completed_at = 1'
    want 0 tmo-prune
    out 'length == 1 and .[0].removed'
    want 0 tmo-metrics --prometheus -o "$W/third"
    never_lower "$W/second" "$W/third"
    [ "$(counters "$W/second")" = "$(counters "$W/third")" ]
    command -v promtool >/dev/null || skip 'no promtool here'
    promtool check metrics <"$W/third"
}

minute_and_done() { minute && status_is 1 completed; }

@test 'the alert rules, by promtool' {
    command -v promtool >/dev/null || skip 'no promtool here'
    promtool check rules "$ROOT/share/alerts.yml"
    promtool test rules "$ROOT/tests/share/alerts_test.yml"
}

@test 'every metric that an alert asks for is one of ours' {
    one_ended
    sql "INSERT INTO heartbeat VALUES ('watch', 'a', 1000, 1001, 0)"
    want 0 tmo-metrics
    jq -r .name "$W/out" | sort -u >"$W/ours"
    for name in $(grep -o 'tmux_orch_[a-z_]*' "$ROOT/share/alerts.yml" | sort -u); do
        grep -qx "$name" "$W/ours" || fail "$name is no metric"
    done
}

@test 'without the library: one line that says how to get it, and rows all the same' {
    one_ended
    mkdir "$W/none"
    echo 'raise ImportError' >"$W/none/prometheus_client.py"
    PYTHONPATH=$W/none want 2 tmo-metrics --prometheus
    says tmo-metrics "pip install 'tmuxorch[metrics]'"
    nothing
    PYTHONPATH=$W/none want 0 tmo-metrics
    out 'length > 0'
}

@test 'into a file' {
    one_ended
    umask 022
    want 0 tmo-metrics -o "$W/new"
    nothing
    [ "$(stat -c %a "$W/new" 2>/dev/null || stat -f %Lp "$W/new")" = 644 ] # the collector is another user
    want 2 tmo-metrics -o "$W/no/such"
    says tmo-metrics "$W/no/such"
    want 0 tmo-metrics -o /dev/null
    [ -c /dev/null ]
}

@test 'wrong calls' {
    for words in 'word' '-o' '--prom'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-metrics $words
        says tmo-metrics
        nothing
    done
}
