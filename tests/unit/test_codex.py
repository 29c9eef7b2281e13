"""What is known of Codex: its screens without rules, its rollout, its history, its TOML config, its login in words."""

import glob
import json
import os
import tomllib

import pytest
from tmuxorch import agents, auth, delivery, health, screen
from tmuxorch.agents import login, traces
from tmuxorch.errors import Error

SCREENS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "screens", "codex-0.169.0")
NOW = 1_700_000_000.0
# What each recorded screen shows: (state by the screen alone, dialog kind, selected item, draft).
SHOWN = {
    "draft-pasted-20-lines": ("draft", None, None, "\n".join(f"C0002q line {number}" for number in range(20))),
    "draft-typed": ("draft", None, None, "C0001q draft only"),
    "error-401": ("login", None, None, ""),
    "error-429": ("api_error", None, None, ""),
    "exited-to-shell": ("unknown", None, None, ""),
    "idle-after-answer": ("idle", None, None, ""),
    "idle-empty": ("idle", None, None, ""),
    "login-fresh-home": ("dialog", "onboarding", None, ""),
    "permission-dialog": ("dialog", "permission", "1. Yes, proceed (y)", ""),
    "trust-dialog": ("dialog", "trust", "1. Trust and continue", ""),
    "working": ("idle", None, None, ""),  # its rollout tells, not its screen
    "working-queued": ("idle", None, None, ""),
}


@pytest.fixture(scope="session")
def codex(defaults):
    return agents.profile(defaults, "codex")


def recorded(name, kind="ansi"):
    with open(f"{SCREENS}/{name}.{kind}", encoding="utf-8") as file:
        return file.read()


def judged(shown, codex, defaults, **facts):
    known = {
        "server": "up", "pane": {"pane_dead": False}, "processes": [{"name": "codex", "state": "S"}],
        "agent": {"state": "S"}, "registry": None, "turn": None, "turning": None, "untold": False, "screen": shown,
        "under_way": False, "launching": False, "launched_at": None, "activity_at": None, "watched_since": None, **facts,
    }  # fmt: skip
    return health.judge(known, codex, defaults, NOW)


# Screens


def test_every_recorded_screen_has_its_expectation():
    assert {os.path.splitext(os.path.basename(path))[0] for path in glob.glob(f"{SCREENS}/*.ansi")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_recorded_screen_is_judged_as_its_name_says(name, codex, defaults):
    shown = screen.read(recorded(name), codex["screen"])
    verdict = judged(shown, codex, defaults)
    assert (verdict["state"], verdict["dialog"], shown["selected"], shown["draft"]) == SHOWN[name]
    assert shown["composer"] == (SHOWN[name][0] not in ("dialog", "unknown"))


@pytest.mark.parametrize("name", [name for name in SHOWN if SHOWN[name][0] in ("dialog", "unknown")])
def test_no_line_of_a_dialog_or_shell_is_a_composer_wherever_the_cursor_is(name, codex):
    for cursor_y in (None, *range(40)):
        assert not screen.read(recorded(name), codex["screen"], cursor_y)["composer"]


def page(*composer, above=("› an earlier prompt", "", "• ok.", ""), foot=("", "  model · /src")):
    """A screen, its composer's first line in bold; a prompt of an earlier turn is dim."""
    sign = "\x1b[1m›\x1b[0m"
    lines = [line.replace("›", "\x1b[2m›\x1b[0m") for line in above]
    return "\n".join([*lines, *[line.replace("›", sign) for line in composer], *foot])


@pytest.mark.parametrize(
    ("composer", "cursor_y", "draft"),
    [
        (["› hello"], 4, "hello"),
        (["› hello"], None, "hello"),
        (["› one", "", "  three"], 6, "one\n\nthree"),
        (["› one", "", "  three"], None, "one\n\nthree"),
        (["› \x1b[2mAsk Codex to do anything\x1b[0m"], 4, ""),
        (["› line 37" + " " * 50 + "\x1b[2m↑\x1b[0m", "  line 38"], 5, "line 37\nline 38"),
        (["! ls"], 4, "! ls"),
    ],
)
def test_the_composer_is_around_the_cursor(composer, cursor_y, draft, codex):
    shown = screen.read(page(*composer), codex["screen"], cursor_y)
    assert shown["composer"] and shown["draft"] == draft


def test_a_composer_that_fills_the_screen_has_no_foot(codex):
    text = page(*["› line 0", *[f"  line {number}" for number in range(1, 24)]], foot=("",))
    assert screen.read(text, codex["screen"], 27)["draft"].endswith("line 23")


def test_earlier_prompts_are_no_composer(codex):
    text = page(above=("› an earlier prompt", "", "• thinking", ""), foot=())
    assert not screen.read(text, codex["screen"])["composer"]


def test_busy_by_its_rollout_and_a_dialog_goes_before(codex, defaults):
    assert judged(screen.read(recorded("working"), codex["screen"]), codex, defaults, turning="busy") == {
        **health.verdict("working", None, ["transcript"]), "has_agent": True
    }  # fmt: skip
    shown = screen.read(recorded("permission-dialog"), codex["screen"])
    assert judged(shown, codex, defaults, turning="busy")["state"] == "dialog"
    assert judged(screen.read(recorded("idle-empty"), codex["screen"]), codex, defaults, turning="idle")["evidence"] == [
        "transcript", "screen"
    ]  # fmt: skip


def test_before_it_tells_its_conversation_it_is_starting(codex, defaults):
    shown = screen.read(recorded("idle-empty"), codex["screen"])
    assert judged(shown, codex, defaults, untold=True, launched_at=NOW - 1)["state"] == "starting"
    assert judged(shown, codex, defaults, untold=True, launched_at=NOW - 1000)["state"] == "idle"


# What is typed


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("look at @file", "look at @file "), ("@file", "@file "), ("use $skill", "use $skill "), ("/tmp/x", "/tmp/x "),
        ("me@home", "me@home"), ("@file is it", "@file is it"), ("ends in \\", "ends in \\"), ("plain\n\n", "plain"),
    ],
)  # fmt: skip
def test_an_end_at_which_a_list_would_be_open_gets_a_blank(text, typed, codex):
    assert delivery.typed_form(text, codex) == typed


@pytest.mark.parametrize(
    ("shown", "text", "same"),
    [
        ("[Pasted Content 1500 chars]", "x" * 1500, True),
        ("[Pasted Content 1500 chars]", "x" * 1499, False),
        ("[Pasted Content 1501 chars]", "x" * 1499 + "ü\n\n", False),
        ("[Pasted Content 1500 chars]", "x" * 1499 + "ü\n\n", True),
        ("[Pasted Content 1500 chars] and more", "x" * 1500, False),
        ("\n".join("3456789"), "\n".join("0123456789"), True),  # scrolled: its end, over lines enough
        ("\n".join("345678"), "\n".join("0123456789"), False),
        ("89", "0123456789", False),
    ],
)
def test_what_stands_in_the_composer_is_the_text(shown, text, same, codex):
    assert delivery.shows(shown, text, codex) is same


# Rollout and history


def event(kind, at="2026-11-25T09:54:02.500Z", **more):
    return {"timestamp": at, "type": "event_msg", "payload": {"type": kind, **more}}


def item(kind, **more):
    return event("item_completed", item={"type": kind, **more})


FAILED = {"message": "unexpected status 401", "codex_error_info": {"http_connection_failed": {"http_status_code": 401}}}
LIMIT = {"message": "You’ve hit your usage limit. Try again at 10:56 AM.", "codex_error_info": "usage_limit_exceeded"}


@pytest.mark.parametrize(
    ("raw", "record"),
    [
        (event("task_started"), {"kind": "turn_start"}),
        (event("task_complete", error=None), {"kind": "turn_end"}),
        (event("turn_aborted", reason="interrupted"), {"kind": "turn_end"}),
        (
            event("task_complete", error=FAILED),
            {"kind": "error", "status": 401, "error": "http_connection_failed", "text": "unexpected status 401"},
        ),
        (
            event("task_complete", error=LIMIT),
            {"kind": "error", "status": None, "error": "usage_limit_exceeded", "text": LIMIT["message"]},
        ),
        (item("UserMessage", content=[{"type": "text", "text": "hello"}]), {"kind": "prompt", "text": "hello"}),
        (item("CommandExecution", command=["bash", "-lc", "ls"], source="user_shell"), {"kind": "prompt", "text": "!ls"}),
        (item("CommandExecution", command=["bash", "-lc", "ls"], source="agent"), {"kind": "tool_result"}),
        (item("AgentMessage", content=[]), {"kind": "assistant"}),
        (event("token_count"), None),
        (event("item_completed"), None),
        ({"timestamp": "x", "type": "response_item", "payload": {"type": "message", "role": "user"}}, None),
        ({"type": "event_msg", "payload": None}, None),
        ({"type": "event_msg"}, None),
    ],
)
def test_what_an_event_of_a_rollout_is(raw, record):
    found = traces.read_record(json.dumps(raw).encode() + b"\n")
    assert found == (record and {"at": 1795600442.5, **record})


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ({"status": 401, "error": "http_connection_failed", "text": "unexpected status 401"}, "login"),
        ({"status": 429, "error": "response_too_many_failed_attempts", "text": "exceeded retry limit"}, "api_error"),
        ({"status": None, "error": "usage_limit_exceeded", "text": LIMIT["message"]}, "limited"),
        ({"status": None, "error": "x", "text": "Codex ran out of room in the model's context window."}, "context_full"),
        ({"status": None, "error": "server_overloaded", "text": "Selected model is at capacity."}, "api_error"),
    ],
)
def test_what_a_failed_turn_means(error, state, codex):
    assert health.error_state(error, codex) == state


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], None),
        (["turn_start"], "busy"),
        (["turn_start", "prompt", "assistant"], "busy"),
        (["turn_start", "turn_end"], "idle"),
        (["turn_start", "error"], "idle"),
        (["turn_end", "turn_start", "tool_result"], "busy"),
        (["tool_result"], "busy"),  # its start is further up
    ],
)
def test_a_turn_is_open_until_it_ends(kinds, status):
    assert traces.turn_status([{"kind": kind, "at": 10.0} for kind in reversed(kinds)], 5.0) == status


def test_what_an_earlier_process_left_open_is_over():
    assert traces.turn_status([{"kind": "turn_start", "at": 4.0}], 5.0) is None


def test_the_conversation_is_the_file_that_it_holds_open(codex):
    files = ["/h/history.jsonl", "/h/thread-writer-locks/b-2.lock", "/h/thread-writer-locks/a-1.lock", "/h/x.lock"]
    assert traces.held_conversation(codex, "/h", files) == "a-1"  # the other is a sub-agent's
    assert traces.held_conversation(codex, "/other", files) is None


def test_its_rollout_is_found_by_its_id_once_it_is_there(codex, tmp_path):
    home = tmp_path / "odd [home]*"
    path = traces.transcript_path(codex, str(home), "/src", "a-1", {})
    assert (traces.there(path), traces.size(path), list(traces.records(path)), traces.begun(path)) == (None, 0, [], False)
    folder = home / "sessions" / "2026" / "11" / "25"
    folder.mkdir(parents=True)
    record = item("UserMessage", content=[{"type": "text", "text": "hello"}])
    (folder / "rollout-2026-11-25T09-53-05-a-1.jsonl").write_text(json.dumps(record) + "\n")
    (folder / "rollout-2026-11-25T09-53-05-a-2.jsonl").write_text("")
    assert traces.begun(path) and traces.size(path) > 0 and traces.changed(path) > 0


def test_its_history_is_that_of_the_conversation_from_the_offset_on(tmp_path):
    path = tmp_path / "history.jsonl"
    rows = [("a", "before"), ("a", "one"), ("b", "another's"), ("a", "two")]
    lines = [json.dumps({"session_id": who, "ts": 1, "text": text}) + "\n" for who, text in rows]
    path.write_text("".join(lines) + '{"session_id": "a", "te')
    assert traces.history(str(path), len(lines[0]), "a") == ["one", "two"]
    assert traces.history(None, 0, "a") == traces.history(str(tmp_path / "none"), 0, "a") == []


# Config and login


@pytest.fixture
def config_toml(tmp_path):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("directory", ["/p", "/with space", '/"quoted"', "/back\\slash", "/日本", "/new\nline", "/del\x7f"])
@pytest.mark.parametrize("before", ["", "# mine\nmodel = 'x'\n[tui]\nnotifications = true", '[projects."/o"]\na = 1\n'])
def test_trust_is_a_table_at_the_end_and_nothing_else_changes(codex, config_toml, before, directory):
    path = config_toml(before)
    assert login.give_trust(codex, path, directory) is True
    with open(path, encoding="utf-8") as file:
        after = file.read()
    assert after.startswith(before.rstrip())
    known = tomllib.loads(after)
    assert known["projects"].pop(directory) == {"trust_level": "trusted"}
    assert (known | {"projects": None}) == (tomllib.loads(before) | {"projects": None})
    assert login.trusted(codex, login.read_config(path), directory)
    assert login.give_trust(codex, path, directory) is True  # and is not written again
    with open(path, encoding="utf-8") as file:
        assert file.read() == after


@pytest.mark.parametrize(
    "text", ['[projects."/p"]\ntrust_level = "untrusted"\n', 'projects = { "/o" = { a = 1 } }\n', "projects = 5\n", "half ="]
)
def test_a_config_that_says_otherwise_or_is_not_known_is_left_alone(codex, config_toml, text):
    path = config_toml(text)
    with pytest.raises(Error):
        login.give_trust(codex, path, "/p")
    with open(path, encoding="utf-8") as file:
        assert file.read() == text


def test_only_the_directory_and_the_top_of_its_repository_count(codex, tmp_path):
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    inside = str(tmp_path / "repo" / "a" / "b")

    def trusts(directory):
        return login.trusted(codex, {"projects": {str(directory): {"trust_level": "trusted"}}}, inside)

    assert trusts(inside) and trusts(tmp_path / "repo")
    assert not trusts(tmp_path / "repo" / "a") and not trusts(tmp_path)


@pytest.mark.parametrize(
    ("said", "answer", "method"),
    [
        ({"text": "Logged in using ChatGPT", "err": ""}, True, "Logged in using"),
        ({"text": "", "err": "API key configured - sk-..***"}, True, "API key configured"),
        ({"text": "", "err": "WARNING: something\nNot logged in"}, False, None),
        ({"text": "something new", "err": ""}, None, None),
    ],
)
def test_a_login_check_in_words(codex, said, answer, method):
    status = login.understood(codex["login"], {"rc": 0, "value": None, **said})
    assert "err" not in status  # it is kept, and what it holds is not ours to keep
    facts = {"program": "/x", "version": "0.169.0", "status": status, "legacy": False, "config": {}, "credential": "",
             "root": False}  # fmt: skip
    found = auth.judge(codex, facts, True, {}, NOW)
    assert (found["logged_in"], found["method"]) == (answer, method)
    assert (found["error"] is None) == (answer is not None)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_provider": "own", "model_providers": {"own": {"env_key": "KEY"}}}, "KEY"),
        ({"model_provider": "own", "model_providers": {"own": {}}}, ""),
        ({"model_provider": "own", "model_providers": {"own": {"requires_openai_auth": True}}}, None),
        ({"model_provider": "openai"}, None),
        ({"model_provider": ["x"], "model_providers": {}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_provider_of_the_configs_own_needs_no_login(config, key):
    assert auth.provider(config) == key


def test_it_is_launched_without_a_conversation_and_resumed_with_one(codex):
    assert agents.new_conversation(codex) is None
    assert agents.argv(codex, "/bin/tmo-hook", None) == ["codex", "--no-daemon"]
    assert agents.argv(codex, "/bin/tmo-hook", "a-1", resume=True) == ["codex", "--no-daemon", "resume", "a-1"]
