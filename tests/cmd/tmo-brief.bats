#!/usr/bin/env bats
# tmo-brief - print the briefing of a role
load ../helper

ROLES='orchestrator project_manager developer tester testrunner researcher documentation devops code_reviewer logtracker
    sysadmin securityops networkops monitoringops databaseops'

@test 'every role has a start and a recovery briefing of its own, and any other the default' {
    local role kind
    for kind in start recovery; do
        for role in $ROLES; do
            want 0 tmo-brief -k $kind "$role"
            [ -s "$W/out" ]
            cp "$W/out" "$W/$kind.$role"
        done
        want 0 tmo-brief -k $kind gardener
        cp "$W/out" "$W/$kind.gardener"
    done
    [ "$(cksum "$W"/start.* "$W"/recovery.* | cut -d' ' -f1,2 | sort -u | wc -l)" -eq 32 ] || fail 'two roles have the same text'
    want 0 tmo-brief Code-Reviewer
    cmp "$W/out" "$W/start.code_reviewer"
    want 0 tmo-brief pm
    cmp "$W/out" "$W/start.project_manager"
}

@test 'for a project the placeholders are filled in' {
    project shop
    enqueue shop -r developer,tester -v 'make test'
    want 0 tmo-brief -p 1 developer
    grep -q 'You are the developer of project 1, "shop"' "$W/out"
    for words in "$W/shop" "$W/shop.md" 'make test' 'Team: tester' 'tmo-done'; do grep -qF "$words" "$W/out"; done
    ! grep -q '{[a-z_]*}' "$W/out" || fail 'a placeholder is left'
    git -C "$W/shop" -c user.name=t -c user.email=t@t commit -q --allow-empty -m 'the first stone'
    want 0 tmo-brief -k recovery -p 1 tester
    grep -q 'the first stone' "$W/out"
    TMO_PROJECT=1 want 0 tmo-brief tester # in a pane of ours
    grep -q 'You are the tester of project 1' "$W/out"
    TMO_PROJECT=no-number want 0 tmo-brief tester # a pane of somebody else's
    grep -q 'project {project_id}' "$W/out"
}

@test 'the own briefings of a user go before the packaged ones' {
    mkdir -p "$W/briefings/start"
    echo 'only {role_text} for {role}' >"$W/briefings/start.md"
    echo 'my own words' >"$W/briefings/start/gardener.md"
    project shop
    enqueue shop
    want 0 tmo-brief -p 1 gardener
    [ "$(cat "$W/out")" = 'only my own words for gardener' ]
    echo 'a {mistake}' >"$W/briefings/start.md"
    want 2 tmo-brief -p 1 gardener
    says tmo-brief "unknown placeholder '{mistake}'"
    nothing
    rm "$W/briefings/start.md"
    mkdir "$W/briefings/start.md"
    want 2 tmo-brief -p 1 gardener
    says tmo-brief "cannot read briefing '$W/briefings/start.md'"
}

@test 'wrong calls: no role, an unknown kind, an unknown project' {
    project shop
    enqueue shop
    for words in '' '-k end developer' '-p 9 developer' '-p x developer' '-p 99999999999999999999 developer'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-brief $words
        says tmo-brief
        nothing
    done
}
