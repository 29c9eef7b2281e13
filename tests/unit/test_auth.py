"""auth: whether an agent is installed, logged in, past its first dialogs and trusted, from facts alone."""

import pytest
from tmuxorch import auth

KEYS = {
    "ok", "installed", "version", "logged_in", "method", "expires_at", "trusted", "onboarded", "missing", "source", "error",
    "mend", "checked_at",
}  # fmt: skip
NOW = 1_700_000_000.0


def answer(value=None, **more):
    """What an agent's own login check said."""
    return {"rc": 0, "text": "", "value": value, **more}


LOGGED_IN = answer({"loggedIn": True, "authMethod": "api_key", "apiKeySource": "ANTHROPIC_API_KEY"})
LOGGED_OUT = answer({"loggedIn": False, "authMethod": "none"}, rc=1)


def facts(**changed):
    known = {
        "program": "/usr/bin/claude", "version": "2.1.330", "status": LOGGED_IN, "legacy": False,
        "config": {"hasCompletedOnboarding": True}, "credential": ".credentials.json:-", "root": False,
    }  # fmt: skip
    return {**known, **changed}


def judge(profile, known=None, trusted=True, environ=None):
    return auth.judge(profile, known or facts(), trusted, environ or {}, NOW)


def test_all_is_well(claude):
    found = judge(claude)
    assert set(found) == KEYS
    assert found == {
        "ok": True, "installed": True, "version": "2.1.330", "logged_in": True, "method": "api_key", "expires_at": None,
        "trusted": True, "onboarded": True, "missing": [], "source": "claude auth status --json", "error": None,
        "mend": None, "checked_at": NOW,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "trusted", "ok", "missing", "mend"),
    [
        ({"status": LOGGED_OUT}, True, False, ["login"], "claude auth login"),
        ({}, False, False, ["hasTrustDialogAccepted"], "trust"),
        ({"config": {}}, True, False, ["hasCompletedOnboarding"], "claude auth login"),
        ({"program": None, "status": None, "version": None}, True, False, ["installed"], "install Claude Code"),
        ({"status": LOGGED_OUT, "config": {}}, False, False,
         ["login", "hasTrustDialogAccepted", "hasCompletedOnboarding"], "claude auth login"),
        # what cannot be told is null, never false
        ({"status": answer(text="garbage")}, True, None, [], None),
        ({"status": {"timeout": 15.0}}, True, None, [], None),
        ({"status": {"error": "Permission denied"}}, True, None, [], None),
        ({"config": None}, None, None, [], None),
        ({"status": answer([1])}, True, None, [], None),
        ({"status": answer({"loggedIn": "yes"})}, True, None, [], None),
        # but what is missing for sure is said, whatever else cannot be told
        ({"status": {"timeout": 15.0}}, False, False, ["hasTrustDialogAccepted"], "trust"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(changed, trusted, ok, missing, mend, claude):
    found = judge(claude, facts(**changed), trusted)
    assert (found["ok"], found["missing"]) == (ok, missing)
    assert mend in found["mend"] if mend else found["mend"] is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"program": None, "status": None}, "claude is not on PATH"),
        ({"status": {"timeout": 15.0}}, "did not answer within 15 s"),
        ({"status": {"error": "Permission denied"}}, "Permission denied"),
        ({"status": answer(text="Welcome!\nPlease  log in")}, "Welcome! Please log in"),
        ({"config": None}, "config file cannot be read"),
        ({}, None),
    ],
)
def test_the_error_says_in_one_line_why_something_cannot_be_told(changed, words, claude):
    error = judge(claude, facts(**changed))["error"]
    if words is None:
        assert error is None
    else:
        assert words in error
        assert "\n" not in error


@pytest.mark.parametrize("status", [answer(text="oops"), {"timeout": 15.0}, {"error": "Permission denied"}])
def test_an_unreadable_login_is_unknown_not_lost_and_not_there(status, claude):
    """A key that is there says little where the agent itself could have said more."""
    for environ, credential in (({}, ".credentials.json:-"), ({"ANTHROPIC_API_KEY": "k"}, ".credentials.json:1:2:3")):
        found = judge(claude, facts(status=status, credential=credential), environ=environ)
        assert (found["logged_in"], found["ok"]) == (None, None)


# Old versions, which answer otherwise


def test_a_legacy_config_answers_for_trust_and_onboarding(claude):
    def legacy(**flags):
        return judge(claude, facts(version="1.0.60", legacy=True, status=answer(flags)), trusted=None)

    found = legacy(hasTrustDialogAccepted=True, hasCompletedProjectOnboarding=True)
    assert (found["trusted"], found["onboarded"], found["missing"]) == (True, True, [])
    found = legacy(hasTrustDialogAccepted=True)
    assert found["missing"] == ["hasCompletedProjectOnboarding"]
    found = legacy()
    assert found["missing"] == ["hasTrustDialogAccepted", "hasCompletedProjectOnboarding"]
    assert found["ok"] is False


def test_the_dead_flag_is_not_required_where_it_does_not_exist(claude):
    assert judge(claude)["missing"] == []


@pytest.mark.parametrize(
    ("environ", "credential", "logged_in", "method", "source"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, ".credentials.json:-", True, "ANTHROPIC_API_KEY", "environment"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "t"}, ".credentials.json:-", True, "CLAUDE_CODE_OAUTH_TOKEN", "environment"),
        ({"ANTHROPIC_BASE_URL": "http://x"}, ".credentials.json:-", None, None, None),
        ({"ANTHROPIC_API_KEY": ""}, ".credentials.json:-", None, None, None),
        ({}, ".credentials.json:1:2:3", True, "file", "credentials"),
        ({}, ".credentials.json:-", None, None, None),
    ],
)
def test_a_version_without_a_login_check_is_judged_by_the_credential_that_is_there(
    environ, credential, logged_in, method, source, claude
):
    found = judge(claude, facts(status=None, version="2.0.14", credential=credential), environ=environ)
    assert (found["logged_in"], found["method"], found["source"]) == (logged_in, method, source)


# No secret, and permissions as root


def test_no_secret_is_repeated(claude):
    status = answer({"loggedIn": True, "authMethod": "api_key", "apiKey": "sk-ant-SECRET", "email": "a@example.org"})
    found = judge(claude, facts(status=status), environ={"ANTHROPIC_API_KEY": "sk-ant-SECRET"})
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize(("at", "told"), [(1_800_000_000, 1_800_000_000), (1_800_000_000_000, 1_800_000_000), ("x", None)])
def test_when_the_login_ends_is_told_in_seconds(at, told, claude):
    assert judge(claude, facts(status=answer({"loggedIn": True, "loginExpiresAt": at})))["expires_at"] == told


@pytest.mark.parametrize(
    ("skip", "root", "own", "environ", "missing"),
    [
        (True, True, {}, {}, ["IS_SANDBOX"]),
        (True, True, {"IS_SANDBOX": "1"}, {}, []),
        (True, True, {}, {"IS_SANDBOX": "1"}, []),
        (True, True, {}, {"IS_SANDBOX": "0"}, ["IS_SANDBOX"]),
        (True, False, {}, {}, []),
        (False, True, {}, {}, []),
    ],
)
def test_the_refusal_to_skip_permissions_as_root_is_known_before_launch(skip, root, own, environ, missing, claude):
    profile = {**claude, "skip_permissions": skip, "env": own}
    found = judge(profile, facts(root=root), environ=environ)
    assert found["missing"] == missing
    assert found["ok"] is not bool(missing)
    if missing:
        assert "IS_SANDBOX" in found["mend"]


def test_an_agent_without_onboarding_does_not_need_it(stub):
    found = judge(stub, facts(config={}))
    assert (found["onboarded"], found["ok"], found["missing"]) == (None, True, [])


def test_a_probe_that_failed_in_words_that_no_profile_knows_is_no_verdict(claude, monkeypatch):
    monkeypatch.delitem(claude["login"], "rejected")
    found = auth.probed(claude, judge(claude, facts()), answer(text="Invalid API key", rc=1))
    assert (found["probed"], found["ok"], found["logged_in"]) == (None, None, True)
