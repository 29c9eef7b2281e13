#!/usr/bin/env bats
# tmo-authcheck - tell whether an agent is installed, logged in and trusted in a directory
load ../helper

KEYS='ok installed version logged_in method expires_at trusted onboarded missing source error mend checked_at'

@test 'installed, logged in and trusted: yes' {
    project shop
    enqueue shop
    want 0 tmo-start
    want 0 tmo-authcheck -a stub -C "$W/shop"
    silent
    keys agent directory auth
    out '.[0].auth | keys == ($keys | split(" ") | sort)' --arg keys "$KEYS"
    out '.[0] | .agent == "stub" and .directory == $w + "/shop"' --arg w "$W"
    out '.[0].auth | .ok and .installed and .logged_in and .trusted and .missing == [] and .error == null and .mend == null'
    out '.[0].auth | (.version | test("^[0-9.]+$")) and .method == "oauth_token" and .expires_at > now and (now - .checked_at | . < 60)'
    cd "$W/shop"
    want 0 tmo-authcheck # the agent of the config, here
}

@test 'what is missing is named, with how to mend it: no' {
    project shop
    want 1 tmo-authcheck -C "$W/shop"
    out '.[0].auth | .ok == false and .logged_in and .trusted == false and .missing == ["hasTrustDialogAccepted"]'
    tmo-stub-agent auth logout
    want 1 tmo-authcheck -C "$W/shop"
    out '.[0].auth | .logged_in == false and (.missing | contains(["login", "hasTrustDialogAccepted"])) and (.mend | contains("auth login"))'
    setting agents.stub.command '["no-such-agent"]'
    want 1 tmo-authcheck -C "$W/shop"
    out '.[0].auth | .installed == false and .logged_in != false and (.missing | index("installed") != null) and (.error | contains("not on PATH"))'
}

@test 'an answer that is not understood is no verdict: try again' {
    mkdir "$W/agents" "$W/bin"
    sed 's/^command = \["tmo-stub-agent"\]/command = ["odd"]/' "$ROOT/lib/tmuxorch/agents/stub.toml" >"$W/agents/odd.toml"
    printf '#!/bin/sh\necho it is a nice day\n' >"$W/bin/odd"
    chmod +x "$W/bin/odd"
    mkdir "$TMO_STUB_HOME"
    echo "{\"projects\": {\"$W/here\": {\"hasTrustDialogAccepted\": true}}}" >"$TMO_STUB_HOME/config.json"
    PATH=$W/bin:$PATH want 75 tmo-authcheck -a odd
    out '.[0].auth | .ok == null and .logged_in == null and .missing == [] and (.error | contains("not understood"))'
}

@test 'rows: judged by their agent and directory; the answer is kept for a while, the credential is not' {
    project shop
    tmo-stub-agent auth login
    jq -nc --arg d "$W/shop" '{n: 1, agent: "stub", directory: $d}, {n: 2, project_id: 1}, {n: 3, agent: "stub", project_path: $d}' >"$W/rows"
    want 0 tmo-authcheck - <"$W/rows"
    out '.[0].auth.logged_in and .[1].auth == null and .[2].auth == .[0].auth'
    before=$(row '.[0].auth.checked_at')
    want 0 tmo-authcheck - <"$W/rows"
    [ "$(row '.[0].auth.checked_at')" = "$before" ] || fail 'the agent was asked again'
    tmo-stub-agent auth logout
    want 0 tmo-authcheck - <"$W/rows"
    out '.[0].auth.logged_in == false' # a changed credential is seen at once
    want 0 tmo-authcheck --fresh - <"$W/rows"
    out '.[0].auth.checked_at > $t' --argjson t "$before"
    token=$(jq -r .token "$TMO_STUB_HOME/credentials.json" 2>/dev/null || true)
    tmo-stub-agent auth login
    token=$(jq -r .token "$TMO_STUB_HOME/credentials.json")
    want 0 tmo-authcheck --fresh - <"$W/rows"
    ! grep -qF "$token" "$W/out" || fail 'a secret was printed'
    ! grep -qF "$token" "$TMO_DB" || fail 'a secret was kept'
}

@test 'wrong calls: an agent without a profile, a directory that is not there' {
    want 2 tmo-authcheck -a nobody
    says tmo-authcheck "no profile of agent 'nobody'"
    want 2 tmo-authcheck -C "$W/none"
    says tmo-authcheck "cannot find directory"
    setting agents.stub.command '[]'
    want 2 tmo-authcheck
    says tmo-authcheck "'agents.stub.command' should not be empty"
    want 2 tmo-authcheck word
    says tmo-authcheck
    nothing
}

@test '--probe makes one real call: answered, rejected, or it cannot be told' {
    mkdir -p "$W/agents" "$W/bin" "$TMO_STUB_HOME"
    echo "{\"projects\": {\"$W\": {\"hasTrustDialogAccepted\": true}}}" >"$TMO_STUB_HOME/config.json"
    sed -e 's/^command = \["tmo-stub-agent"\]/command = ["odd"]/' \
        -e "s|^\[login\]|[login]\nprobe = [\"say\"]\nprobe_env = { ANSWER = \"$W/answer\" }\nrejected = ['no such key']|" \
        "$ROOT/lib/tmuxorch/agents/stub.toml" >"$W/agents/odd.toml"
    cat >"$W/bin/odd" <<'END'
#!/bin/sh
case $1 in
say) echo call >>"$ANSWER.calls"; . "$ANSWER" ;;
auth) echo '{"loggedIn": true, "authMethod": "key"}' ;;
*) echo 1.0.0 ;;
esac
END
    chmod +x "$W/bin/odd"
    export PATH=$W/bin:$PATH
    echo 'echo ok' >"$W/answer"
    want 0 tmo-authcheck --probe -a odd
    out '.[0].auth | .ok and .probed and .missing == []'
    echo 'echo "no such key" >&2; exit 1' >"$W/answer"
    want 1 tmo-authcheck --probe -a odd
    out '.[0].auth | .ok == false and .probed == false and .logged_in == false and .missing == ["login"] and .source == "probe"'
    echo 'echo "the internet is closed"; exit 1' >"$W/answer"
    want 75 tmo-authcheck --probe -a odd
    out '.[0].auth | .ok == null and .probed == null and .logged_in and (.error | contains("the internet is closed"))'
    setting probe_timeout_s 0.2
    echo 'exec sleep 100' >"$W/answer"
    want 75 tmo-authcheck --probe -a odd
    out '.[0].auth | .probed == null and (.error | contains("did not end within 0.2 s"))'
    want 75 tmo-authcheck --probe -a stub
    out '.[0].auth | .probed == null and (.error | contains("no probe"))'
    rm "$W/answer.calls"
    jq -nc --arg w "$W" '{agent: "odd", directory: "\($w)/here"}, {agent: "odd", directory: "\($w)/home"}' | want 0 tmo-authcheck --probe -
    [ "$(wc -l <"$W/answer.calls")" -eq 1 ] # one call an agent
}

@test 'rows: an agent that does not answer is asked once a run, not in every directory' {
    mkdir "$W/bin"
    printf '#!/bin/sh\ncase "$1" in auth) echo >>%s/asked; exec sleep 1000;; esac\nexec %s "$@"\n' "$W" "$BIN/tmo-stub-agent" >"$W/bin/tmo-stub-agent"
    chmod +x "$W/bin/tmo-stub-agent"
    mkdir "$W/a" "$W/b" "$W/c"
    for name in a b c; do echo "{\"agent\": \"stub\", \"directory\": \"$W/$name\"}"; done >"$W/rows"
    PATH=$W/bin:$PATH want 0 tmo-authcheck - <"$W/rows"
    out 'length == 3 and all(.auth.logged_in == null and (.auth.error | contains("15 s")))'
    [ "$(wc -l <"$W/asked")" -eq 1 ]
    [ "$(sql 'SELECT directory FROM auth_check')" = "$W/a" ] # the next run asks in another one
}
