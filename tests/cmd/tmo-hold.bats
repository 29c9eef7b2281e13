#!/usr/bin/env bats
# tmo-hold - hold back starts, recoveries and deliveries, release them, or list the holds
load ../helper

KEYS='id name cause why actor since_at until_at released_at released_by credential probes next_probe_at pilot'

@test 'a hold is set, listed and released' {
    USER=ada want 0 tmo-hold -w 'we move house' batch/night
    # shellcheck disable=SC2086 # words
    keys $KEYS
    out '.[0] | .name == "batch/night" and .cause == "manual" and .why == "we move house" and .actor == "user/ada"'
    out '.[0] | .released_at == null and .until_at == null and (now - .since_at | fabs < 60)'
    want 0 tmo-hold
    out 'map(.name) == ["batch/night"]'
    USER=bob want 0 tmo-hold -r batch/night
    out '.[0] | .released_at > 0 and .released_by == "user/bob"'
    want 0 tmo-hold
    nothing
    want 0 tmo-log -k hold
    out 'map([.name, .actor]) == [["hold", "user/ada"], ["release", "user/bob"]]'
}

@test 'one that is in force already, or not in force, is 1' {
    want 0 tmo-hold all
    want 1 tmo-hold all
    says tmo-hold "hold 'all' is in force already"
    out '.[0].id == 1'
    want 0 tmo-hold -r all
    want 1 tmo-hold -r all
    says tmo-hold "hold 'all' is not in force"
    want 1 tmo-hold -r project/7
    nothing
    want 0 tmo-hold all
    out '.[0].id == 2'
}

@test 'past its end a hold no longer counts' {
    want 0 tmo-hold -u "$(($(date +%s) + 1000))" project/1
    out '.[0].until_at > now'
    want 0 tmo-hold -u 1000 project/2
    says tmo-hold "'1000' is past"
    want 0 tmo-hold
    out 'map(.name) == ["project/1"]'
    want 0 tmo-hold project/2 # its end was its release
    out '.[0].id == 3'
    want 0 tmo-hold -u +2h batch/b
    out '.[0].until_at - now - 7200 | fabs < 60'
}

@test 'wrong calls: a name that is none, a time that is none, a flag without a name' {
    for words in nonsense project/ agent 'All' '-u soon all' '-u nan all' '-r' '-w why' 'all all'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-hold $words
        says tmo-hold
        nothing
    done
}

@test 'what a hold holds back: starts, deliveries and recoveries, but not a send of a person' {
    idle_agent shop
    project till 'say ready'
    enqueue till -b night
    want 0 tmo-hold all
    want 75 tmo-start
    want 0 tmo-send -q 1/developer 'by the outbox'
    want 0 tmo-deliver
    out '.[0] | .state == "held" and (.reason | contains("hold all"))'
    want 0 tmo-send 1/developer 'by a person'
    out '.[0].state == "submitted"'
    eventually $LONG state_is 1/developer idle
    kill -9 "$(pid_of 1/developer)"
    eventually $LONG confirmed 1/developer shell
    want 0 tmo-recover
    out '.[0].recovery | .action == "wait" and .result == "held" and (.reason | contains("hold all"))'
    want 0 tmo-hold -r all
    want 0 tmo-recover
    out '.[0].recovery | .action == "relaunch" and .result == "done"'
    want 0 tmo-start
    out '.[0].status == "processing"'
}

@test 'a hold is for a project, a batch or an agent program' {
    for name in a b c; do project $name 'say ready'; done
    enqueue a
    enqueue b -b night
    want 0 tmo-hold project/1
    want 0 tmo-hold batch/night
    want 75 tmo-start
    enqueue c
    want 0 tmo-hold agent/claude
    want 0 tmo-start
    out 'map(.id) == [3]'
    want 0 tmo-hold -r batch/night
    want 0 tmo-hold agent/stub
    want 75 tmo-start
}
