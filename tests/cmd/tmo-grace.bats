#!/usr/bin/env bats
# tmo-grace - tell how long each project may still take, term by term
load ../helper

@test 'the terms, the deadline, and what is left' {
    running shop 'say ready'
    want 0 tmo-grace
    silent
    keys project_id id name status status_at session_name project_path spec_path size priority agent roles batch_id depends_on \
        verify_command enqueued_at started_at completed_at retry_count max_retries rework_count error_message host boot_id server \
        run base_commit base_dirty claimed_by claimed_until actor why evidence grace
    out '.[0].grace | keys == ($keys | split(" ") | sort)' --arg keys \
        'size base_s auth_s activity_s held_s total_s started_at deadline_at left_s expired'
    out '.[0].grace | .size == "small" and .base_s == 14400 and .auth_s == 0 and .held_s == 0 and .expired == false'
    out '.[0].grace | .total_s == .base_s + .auth_s + .activity_s + .held_s'
    out '.[0].grace | (.deadline_at - .started_at - .total_s | fabs < 1) and (.deadline_at - now - .left_s | fabs < 60)'
}

@test 'the base goes by the size' {
    project shop
    for size in small medium large xlarge; do enqueue shop -s $size; done
    want 0 tmo-grace 1 2 3 4
    out 'map(.grace.base_s) == [14400, 21600, 28800, 43200]'
    out 'all(.grace | .deadline_at == null and .left_s == null and .expired == false)' # not started
    want 0 tmo-grace # none of them runs
    nothing
    setting grace.small 60
    want 0 tmo-grace 1
    out '.[0].grace.base_s == 60'
}

@test 'work that goes on, login trouble and time held are added' {
    idle_agent
    want 0 tmo-health
    want 0 tmo-grace 1
    out '.[0].grace.activity_s == 1800'
    sql "UPDATE agent_health SET last_activity_at = 1000"
    want 0 tmo-grace 1
    out '.[0].grace.activity_s == 0'
    now=$(date +%s)
    sql "UPDATE project_queue SET started_at = $now - 10000"
    sql "INSERT INTO hold (name, cause, actor, since_at, released_at) VALUES ('agent/stub', 'login', 'x', $now - 500, $now - 200),
        ('all', 'manual', 'x', $now - 400, $now - 100), ('project/9', 'manual', 'x', $now - 9000, $now)"
    want 0 tmo-grace 1
    out '.[0].grace | .auth_s == 3600 and .held_s == 400 and .total_s == 18400'
}

@test 'time in which nobody looked does not count: one event says so' {
    idle_agent shop
    sql 'UPDATE agent_health SET last_health_check_at = last_health_check_at - 4000'
    want 0 tmo-health
    want 0 tmo-health
    want 0 tmo-log -p 1 -k health
    out 'map(select(.name == "pause")) | length == 1 and (.[0] | .actor == "tmo-health" and (.why | test("^nobody looked for 40[0-9][0-9] s$")))'
    want 0 tmo-grace 1
    out '.[0].grace | .held_s >= 0 and .held_s < 60' # it only began a moment ago
    sql 'UPDATE project_queue SET started_at = started_at - 5000'
    want 0 tmo-grace 1
    out '.[0].grace | .held_s > 3990 and .held_s < 4100'
}

@test '-e is 1 when a grace is over' {
    running shop 'say ready'
    want 0 tmo-grace -e
    sql "UPDATE project_queue SET started_at = 1000"
    want 1 tmo-grace -e
    out '.[0].grace | .expired and .left_s < 0'
    want 0 tmo-grace
}

@test 'rows: all rows of a project get the same, a row of none gets null' {
    running shop 'say ready'
    printf '%s\n' '{"project_id": 1, "role": "a"}' '{"project_id": null}' '{}' '{"project_id": 1}' >"$W/rows"
    want 0 tmo-grace - <"$W/rows"
    out '.[0].grace == .[3].grace and .[0].grace.size == "small" and .[1].grace == null and .[2].grace == null'
    out '.[1:3] | all(has("error") | not)'
    want 0 tmo-grace - <<<'{"project_id": 99}'
    out '.[0] | .grace == null and .error == "cannot find project '"'99'"'"'
}

@test 'a project that there is not is a wrong call' {
    running shop
    want 2 tmo-grace 99 1
    out '.[0].grace == null and .[1].grace.size == "small"'
    want 2 tmo-grace one
    says tmo-grace
    nothing
}

@test 'the time since the last look does not count, before the next look has written it down' {
    running shop 'say ready'
    want 0 tmo-health
    sql "UPDATE agent_health SET last_health_check_at = last_health_check_at - 3600"
    sql "UPDATE project_queue SET started_at = started_at - 4000"
    want 0 tmo-grace 1
    out '.[0].grace | .held_s > 3500 and .held_s < 4000'
}
