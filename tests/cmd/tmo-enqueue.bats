#!/usr/bin/env bats
# tmo-enqueue - queue specs, each a project that agents will work on
load ../helper

COLUMNS_OF_A_PROJECT='project_id id name status status_at session_name project_path spec_path size priority agent roles
    batch_id depends_on verify_command enqueued_at started_at completed_at retry_count max_retries rework_count
    error_message host boot_id server run base_commit base_dirty claimed_by claimed_until actor why evidence'

@test 'a spec becomes a queued project, in the current directory and with the defaults of the config' {
    project shop
    cd "$W/shop"
    want 0 tmo-enqueue ../shop.md
    silent
    # shellcheck disable=SC2086 # words
    keys $COLUMNS_OF_A_PROJECT
    out '.[0] | .id == 1 and .project_id == 1 and .name == "shop" and .status == "queued" and .size == "small"'
    out '.[0] | .project_path == $w + "/shop" and .spec_path == $w + "/shop.md"' --arg w "$W"
    out '.[0] | .agent == "stub" and .roles == "developer" and .priority == 0 and .max_retries == 1'
    out '.[0] | .session_name == null and .depends_on == null and .verify_command == null and .batch_id == null'
    out '.[0] | (now - .enqueued_at | . >= 0 and . < 60) and (.status_at - .enqueued_at | fabs < 60)'
}

@test 'every flag sets its column' {
    project shop
    want 0 tmo-enqueue "$W/shop.md" "$W/shop.md"
    want 0 tmo-enqueue -p "$W/shop" -n Laden -s large -a claude -r orchestrator,Code-Reviewer,dev -P 7 -b night -d 1,2 \
        -v 'make test' --retries 5 "$W/shop.md"
    out '.[0] | .name == "Laden" and .size == "large" and .agent == "claude" and .priority == 7 and .batch_id == "night"'
    out '.[0] | .roles == "orchestrator,code_reviewer,developer" and .depends_on == "1,2" and .max_retries == 5'
    out '.[0].verify_command == "make test"'
    want 0 tmo-enqueue --project "$W/shop" --name Laden --size large --agent claude --roles a --priority 7 --batch night \
        --depends 2 --verify 'make test' "$W/shop.md"
}

@test 'several specs are several projects, in their order' {
    project shop
    for name in b a c; do echo "# $name" >"$W/$name.md"; done
    want 0 tmo-enqueue -p "$W/shop" "$W/b.md" "$W/a.md" "$W/c.md"
    out 'map(.spec_path | split("/") | last) == ["b.md", "a.md", "c.md"] and map(.id) == [1, 2, 3]'
}

@test 'the size is what the spec states, else what its length makes it' {
    project shop
    echo '**Size:** xlarge' >"$W/stated.md"
    yes 'a line of six words here' | head -200 >"$W/middle.md"
    yes -- '- an item of a list' | head -200 >"$W/list.md"
    want 0 tmo-enqueue -p "$W/shop" "$W/stated.md" "$W/shop.md" "$W/middle.md" "$W/list.md"
    out 'map(.size) == ["xlarge", "small", "medium", "xlarge"]'
    want 0 tmo-enqueue -p "$W/shop" -s medium "$W/stated.md"
    out '.[0].size == "medium"'
}

@test 'rows: their own keys go before the flags, and what the row leaves open comes from the flags' {
    project shop
    project till
    want 0 tmo-enqueue "$W/shop.md"
    jq -nc --arg w "$W" '{spec_path: ($w + "/shop.md"), project_path: ($w + "/shop"), size: "large", roles: ["tester", "pm"],
        priority: 3, name: "s", batch_id: "b", depends_on: [1], verify_command: "true", agent: "stub", max_retries: 0, more: 1},
        {spec_path: ($w + "/till.md")}' >"$W/rows"
    want 0 tmo-enqueue -p "$W/till" -r researcher -P 9 -v false - <"$W/rows"
    out 'length == 2'
    out '.[0] | .size == "large" and .roles == "tester,project_manager" and .priority == 3 and .verify_command == "true"'
    out '.[0] | .name == "s" and .batch_id == "b" and .depends_on == "1" and .max_retries == 0 and (.project_path | endswith("/shop"))'
    out '.[1] | .size == "small" and .roles == "researcher" and .priority == 9 and .verify_command == "false" and .name == "till"'
}

@test 'what cannot be queued is told in one line, and the others are queued' {
    project shop
    want 2 tmo-enqueue -p "$W/shop" "$W/none.md" "$W/shop.md" "$W/shop"
    out 'length == 1 and (.[0].spec_path | endswith("/shop.md"))'
    [ "$(wc -l <"$W/err")" -eq 2 ]
    grep -q "cannot queue '$W/none.md': No such file or directory" "$W/err"
    printf '{"spec_path": "%s"}\n' "$W/shop.md" | want 2 tmo-enqueue -p "$W/none" -
    says tmo-enqueue "cannot find directory '$W/none'"
    nothing
    for row in '{}' '{"spec_path": 7}' '{"spec_path": "S", "size": "huge"}' '{"spec_path": "S", "priority": "7"}' \
        '{"spec_path": "S", "roles": []}' '{"spec_path": "S", "roles": [""]}' '{"spec_path": "S", "agent": "nobody"}' \
        '{"spec_path": "S", "depends_on": "x"}' '{"spec_path": "S", "max_retries": 1.5}' \
        '{"spec_path": "S", "priority": 99999999999999999999}' '{"spec_path": "S", "project_path": "/none"}'; do
        want 2 tmo-enqueue -p "$W/shop" - <<<"${row//\"S\"/\"$W/shop.md\"}"
        says tmo-enqueue
        nothing
    done
}

@test 'a name, text or number that nothing can hold keeps no other spec from the queue' {
    project shop
    bad=$W/$'caf\xe9.md'
    cp "$W/shop.md" "$bad"
    want 2 tmo-enqueue -p "$W/shop" "$bad" "$W/shop.md"
    says tmo-enqueue "cannot queue '$W/caf\\udce9.md': 'spec_path' should be UTF-8 without a NUL"
    out 'length == 1 and .[0].spec_path == $w + "/shop.md"' --arg w "$W"
    mkdir "$W/"$'caf\xe9'
    ln -s "$W/"$'caf\xe9' "$W/link"
    want 2 tmo-enqueue -p "$W/link" "$W/shop.md" # it is the real path that would be kept
    says tmo-enqueue "cannot queue '$W/shop.md': 'project_path' should be UTF-8"
    for key in spec_path project_path name agent size batch_id verify_command depends_on; do
        for text in 'a\u0000b' 'a\ud800b'; do
            refused_beside_another "\"$key\": \"$text\""
            [ "$key" = spec_path ] || says tmo-enqueue "cannot queue '$W/shop.md': "
        done
    done
    says tmo-enqueue "'depends_on' should be project numbers"
    for key in priority max_retries; do
        refused_beside_another "\"$key\": 9223372036854775808"
        says tmo-enqueue "cannot queue '$W/shop.md': '$key' should be a whole number of at most 64 bits"
        refused_beside_another "\"$key\": -99999999999999999999"
    done
    want 0 tmo-enqueue -p "$W/shop" -P 9223372036854775807 "$W/shop.md"
    out '.[0].priority == 9223372036854775807'
}

# refused_beside_another KEYS: the row with these keys is told in one line that a terminal can show, the next is queued.
refused_beside_another() {
    printf '{"spec_path": "%s", %s}\n{"spec_path": "%s", "name": "next"}\n' "$W/shop.md" "$1" "$W/shop.md" >"$W/rows"
    want 2 tmo-enqueue -p "$W/shop" - <"$W/rows"
    says tmo-enqueue 'cannot queue '
    [ -z "$(tr -d '[:print:]\n' <"$W/err")" ] || fail 'what is said holds a control character'
    out 'map(.name) == ["next"]'
}

@test 'wrong calls: no spec, an unknown size, agent, role list, dependency or number' {
    project shop
    cd "$W/shop"
    for words in '' '-s huge S' '-a nobody S' '-r , S' '-d x S' '-P high S' '-p /none S'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-enqueue ${words/S/$W/shop.md}
        says tmo-enqueue
        nothing
    done
    want 0 tmo-project
    nothing
}

@test 'a spec whose name begins with a dash comes after --' {
    project shop
    cd "$W/shop"
    echo x >./-n.md
    want 0 tmo-enqueue -- -n.md
    out '.[0].spec_path == $w + "/shop/-n.md"' --arg w "$W"
}

@test 'the event says who queued it' {
    project shop
    USER=ada want 0 tmo-enqueue -p "$W/shop" "$W/shop.md"
    want 0 tmo-log
    out 'length == 1 and (.[0] | .kind == "status" and .name == "enqueue" and .dest == "queued" and .actor == "user/ada")'
    TMO_PROJECT=1 TMO_ROLE=orchestrator want 0 tmo-enqueue -p "$W/shop" "$W/shop.md"
    want 0 tmo-log -p 2
    out '.[0].actor == "1/orchestrator"'
}

@test 'to depend on a project that there is not is refused, and the rest is queued' {
    project shop
    want 2 tmo-enqueue -p "$W/shop" -d 7 "$W/shop.md"
    says tmo-enqueue "cannot find all of '7' that '$W/shop.md' should depend on"
    nothing
    jq -nc --arg s "$W/shop.md" '{spec_path: $s}, {spec_path: $s, depends_on: [1]}, {spec_path: $s, depends_on: [1, 9]}' >"$W/rows"
    want 2 tmo-enqueue -p "$W/shop" - <"$W/rows"
    says tmo-enqueue "cannot find all of '1,9'"
    out 'map(.depends_on) == [null, "1"]'
    want 0 tmo-enqueue -p "$W/shop" -d 1 "$W/shop.md"
    out '.[0].depends_on == "1"'
}
