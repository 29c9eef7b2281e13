#!/usr/bin/env bats
# tmo-stub-agent - a scripted agent for the demo and the tests
load ../helper

@test 'without a terminal it does not start' {
    want 1 tmo-stub-agent
    says tmo-stub-agent 'needs a terminal'
}

@test 'its login: there at first, lost, and back' {
    want 0 tmo-stub-agent auth status --json
    out '.[0] | .loggedIn and .authMethod == "oauth_token" and .loginExpiresAt / 1000 > now'
    want 0 tmo-stub-agent auth logout
    want 1 tmo-stub-agent auth status
    out '.[0] | .loggedIn == false and .authMethod == "none"'
    want 0 tmo-stub-agent auth login
    want 0 tmo-stub-agent auth status
    [ "$(ls -ld "$TMO_STUB_HOME" | cut -c1-10)" = drwx------ ]
}

@test 'wrong calls: an unknown option, verb or step' {
    for words in --no-such-option 'auth nonsense'; do
        # shellcheck disable=SC2086 # words
        want 2 tmo-stub-agent $words
        ! grep -q Traceback "$W/err" || fail 'a traceback'
    done
    echo 'dance 3' >"$W/script"
    in_a_terminal --script "$W/script"
    eventually $LONG shows "line 1: unknown step 'dance'"
}

# in_a_terminal WORD...: the agent in a pane of its own, and its status when it ended.
in_a_terminal() {
    tmux -S "$TMO_SOCKET" -f /dev/null new-session -d -s t -x 100 -y 30 -c "$W/here" /bin/sh -c '"$@"; echo "status $?"; exec cat' sh \
        tmo-stub-agent --start-s 0 "$@"
}

shows() { screen_of t: | grep -qF "$1"; }

@test 'as a new user meets it: trust, a prompt, its script, and /exit' {
    project shop 'say good morning' 'write out.txt hello'
    in_a_terminal
    eventually $LONG shows 'Accessing workspace'
    tmux -S "$TMO_SOCKET" send-keys -t t: Down Enter
    eventually $LONG shows 'auto mode on'
    tmux -S "$TMO_SOCKET" send-keys -t t: -l "do $W/shop.md"
    tmux -S "$TMO_SOCKET" send-keys -t t: Enter
    eventually $LONG shows 'good morning'
    eventually $LONG test -e "$W/here/out.txt"
    tmux -S "$TMO_SOCKET" send-keys -t t: -l '/exit'
    eventually $LONG shows '/exit'
    tmux -S "$TMO_SOCKET" send-keys -t t: Enter
    eventually $LONG shows 'status 0'
    [ "$(journal prompt .prompt)" = "do $W/shop.md" ]
}
