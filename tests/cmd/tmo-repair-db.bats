#!/usr/bin/env bats
# tmo-repair-db - check the database file
load ../helper

@test 'a database that is whole has no findings' {
    idle_agent shop
    want 0 tmo-repair-db --check
    nothing
    silent
}

@test 'a row that refers to nothing is found' {
    project shop
    enqueue shop
    sql "INSERT INTO agent_health (project_id, role, agent, host) VALUES (99, 'developer', 'stub', 'h')"
    want 1 tmo-repair-db --check
    out 'length == 1 and .[0].kind == "foreign_key" and (.[0].reason | contains("agent_health"))'
    says tmo-repair-db foreign_key
}

@test 'a broken page is found, by whichever words SQLite has for it' {
    project shop
    for _ in 1 2 3 4 5; do enqueue shop; done
    sql 'PRAGMA wal_checkpoint(TRUNCATE)'
    pages=$(($(wc -c <"$TMO_DB") / 4096))
    for page in $(seq 3 $((pages - 1))); do
        head -c 2000 /dev/zero | tr '\0' 'x' | dd of="$TMO_DB" bs=1 seek=$((page * 4096 + 50)) conv=notrunc status=none
    done
    status=0
    tmo-repair-db --check >"$W/out" 2>"$W/err" || status=$?
    [ "$status" -eq 1 ] || [ "$status" -eq 2 ]
    ! grep -q Traceback "$W/err" || fail 'a traceback'
    [ -s "$W/err" ]
}

@test 'a call without --check is wrong' {
    want 2 tmo-repair-db
    says tmo-repair-db
}
