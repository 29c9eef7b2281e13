"""agents: profiles laid over each other, and what running agents leave behind, half-written or not."""

import errno
import json
import os
import random
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import agents, config
from tmuxorch.agents import login, traces
from tmuxorch.errors import Error

# Profiles


@pytest.fixture
def settings(tmp_path):
    """Settings with a config file of these words, and a place for the user's own profiles."""

    def load(text="", **profiles):
        (tmp_path / "agents").mkdir(exist_ok=True)
        for name, words in profiles.items():
            (tmp_path / "agents" / f"{name}.toml").write_text(words)
        (tmp_path / "config.toml").write_text(text)
        return config.load({"HOME": str(tmp_path), "TMO_CONFIG": str(tmp_path / "config.toml")})

    return load


STUB = Path(agents.HERE, "stub.toml").read_text()
NEEDED = {
    "title": str, "command": list, "home": dict, "process": dict, "launch": dict, "login": dict, "traces": dict,
    "compose": dict, "errors": dict, "screen": dict, "args": list, "env": dict, "skip_permissions": bool, "name": str,
}  # fmt: skip


@pytest.mark.parametrize("name", ["claude", "stub"])
def test_a_packaged_profile_has_all_that_is_asked_of_it(name, defaults):
    profile = agents.profile(defaults, name)
    assert {key: type(profile[key]) for key in NEEDED} == NEEDED
    assert (profile["name"], profile["args"], profile["env"], profile["skip_permissions"]) == (name, [], {}, False)
    assert set(profile["launch"]) >= {"new", "resume", "skip_permissions", "hooks"}
    assert set(profile["compose"]) >= {"submit", "command", "compact"}
    assert set(profile["screen"]) >= {"prompt", "cursor", "paste", "busy", "menu", "dialog", "answer", "said"}
    assert set(profile["errors"]) == {"login", "limited", "context_full"}
    assert set(profile["login"]) >= {"status", "config", "credentials", "environment", "mend"}


def test_the_packaged_profiles_are_listed_and_the_users_own_with_them(settings):
    assert agents.names(config.load({"HOME": "/nowhere"})) == ["claude", "codex", "stub"]
    assert agents.names(settings(mine=STUB)) == ["claude", "codex", "mine", "stub"]


def test_the_users_own_lies_over_the_packaged_one_key_by_key(settings, claude):
    found = agents.profile(
        settings(claude='title = "Mine"\n[screen]\nprompt = ">"\n[screen.dialog]\ntrust = ["new words"]\n'), "claude"
    )
    assert found["title"] == "Mine"
    assert found["screen"]["prompt"] == ">"
    assert found["screen"]["dialog"]["trust"] == ["new words"]
    assert found["screen"]["dialog"]["permission"] == claude["screen"]["dialog"]["permission"]
    assert found["command"] == claude["command"]


def test_an_agent_of_the_users_own(settings):
    own = STUB.replace('command = ["tmo-stub-agent"]', 'command = ["mine", "--tui"]')
    found = agents.profile(settings(mine=own), "mine")
    assert (found["name"], found["command"], found["args"], found["env"], found["skip_permissions"]) == (
        "mine", ["mine", "--tui"], [], {}, False,
    )  # fmt: skip


def test_the_config_has_the_last_word(settings):
    text = """
        [agents.claude]
        args = ["--model", "x"]
        skip_permissions = true
        command = ["/opt/claude"]
        env = { A = "b" }
    """
    found = agents.profile(settings(text, claude='command = ["other"]\n'), "claude")
    assert (found["args"], found["skip_permissions"], found["command"], found["env"]) == (
        ["--model", "x"], True, ["/opt/claude"], {"A": "b"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["nobody", "", "..", "../agents/claude", "claude/../claude", "/etc/passwd", "claude.toml", "a\nb", "#(x)"]
)
def test_an_unknown_agent_is_said_so_and_no_path_is_opened(name, settings):
    with pytest.raises(Error, match="no profile of agent") as raised:
        agents.profile(settings(), name)
    assert "claude, codex, stub" in str(raised.value)
    assert raised.value.status == 2


def test_a_broken_profile_is_one_clear_line(settings):
    with pytest.raises(Error, match="cannot read profile .*claude.toml"):
        agents.profile(settings(claude="= x"), "claude")


@pytest.mark.parametrize("key", agents.NEEDED)
def test_a_profile_that_lacks_something_is_one_clear_line(key, settings):
    found = tomllib.loads(STUB)
    *tables, last = key.split(".")
    table = found
    for name in tables:
        table = table[name]
    del table[last]
    assert agents.flaw(found) == f"lacks {key}"
    table[last] = 7
    assert agents.flaw(found) == f"should have {config.NAMES[agents.NEEDED[key]]} in {key}"


@pytest.mark.parametrize(
    ("words", "flaw"),
    [
        ("command = []", "should not have an empty command"),
        ('command = ["mine", 1]', "should have a list of strings in command"),
        ('args = "--model x"', "should have a list of strings in args"),
        ("env = { A = 1 }", "should have a table of strings in env"),
        ('skip_permissions = "no"', "should have true or false in skip_permissions"),
        ("launch.hooks = [1]", "should have a list of strings in launch.hooks"),
        ("launch.root_needs = 1", "should have a string in launch.root_needs"),
        ('login.status_since = "2.1"', "should have a list of whole numbers in login.status_since"),
        ("login.legacy_before = [true]", "should have a list of whole numbers in login.legacy_before"),
        ("login.logged_in = ['yes']", "should have a string in login.logged_in"),
        ("login.onboarding = true", "should have a string in login.onboarding"),
        ('login.config_in_home = "yes"', "should have true or false in login.config_in_home"),
        ("login.trust.value = 1", "should have a string, or true or false in login.trust.value"),
        ("login.probe = 'ok'", "should have a list of strings in login.probe"),
        ("login.probe_env = { A = 0 }", "should have a table of strings in login.probe_env"),
        ("login.rejected = '401'", "should have a list of strings in login.rejected"),
        ("login.rejected = ['(']", "has a pattern in login.rejected that is none: "),
        ("login.unasked = ['a', 'b', 'c']", "should have a list of [file, key, value] in login.unasked"),
        ("login.unasked = [['a', 'b']]", "should have a list of [file, key, value] in login.unasked"),
        ("traces.history = 1", "should have a table of strings in traces"),
        ("errors.login = [401]", "should have a list of strings in errors.login"),
        ("compose.blank_after = ['x']", "should have a string in compose.blank_after"),
        ("screen.rule = 1", "should have a string in screen.rule"),
        ("screen.folds = 800", "should have a table of whole numbers in screen.folds"),
        ("screen.folds = { chars = '800' }", "should have a table of whole numbers in screen.folds"),
        ("screen.folds = { chars = true }", "should have a table of whole numbers in screen.folds"),
        ("screen.busy = 'esc to interrupt'", "should have a list of strings in screen.busy"),
        ("screen.menu = 'Enter to confirm'", "should have a list of strings in screen.menu"),
        ("screen.item = ['x']", "should have a string in screen.item"),
        ("screen.dialog = ['trust']", "should have a table of lists of strings in screen.dialog"),
        ("screen.dialog.trust = 'trust this'", "should have a table of lists of strings in screen.dialog"),
        ("screen.answer.trust = ['yes']", "should have a table of strings in screen.answer"),
        ("screen.said.login = 'Please run'", "should have a table of lists of strings in screen.said"),
        ("screen.said.tired = ['yawn']", "has screen.said.tired, which is no state that is told so"),
        ("screen.busy = ['x{99999999999}']", "has a pattern in screen.busy that is none: "),
        ("screen.paste = '^Pasted .*$'", "should have a group lines or chars in screen.paste"),
    ],
)  # fmt: skip
def test_a_profile_that_would_stop_us_later_is_one_clear_line_now(words, flaw):
    found = tomllib.loads(STUB)
    agents.overlay(found, tomllib.loads(words))
    told = agents.flaw(found) or ""
    assert told.startswith(flaw) if flaw.endswith(": ") else told == flaw


@pytest.mark.parametrize("name", ["claude", "codex", "stub"])
def test_the_packaged_profiles_are_without_a_flaw(name, defaults):
    assert agents.flaw(agents.profile(defaults, name)) is None


def test_a_profile_that_cannot_be_worked_with_is_one_clear_line(settings):
    with pytest.raises(Error, match=r"profile '.*/mine.toml' lacks home.env"):
        agents.profile(settings(mine='title = "Mine"\ncommand = ["mine"]\n'), "mine")
    with pytest.raises(Error, match=r"profile '.*/claude.toml' has a pattern in screen.busy that is none"):
        agents.profile(settings(claude='[screen]\nbusy = ["("]\n'), "claude")
    with pytest.raises(Error, match=r"should have a list of strings in process.names"):
        agents.profile(settings(claude='[process]\nnames = "claude"\n'), "claude")


def test_one_profile_changes_nothing_in_the_next(settings, claude):
    before = json.dumps(claude)
    agents.profile(settings(claude='[screen]\nprompt = ">"\n'), "claude")["screen"]["said"].clear()
    assert json.dumps(agents.profile(config.load({"HOME": "/nowhere"}), "claude")) == before


# What launches it, and what runs


@pytest.mark.parametrize(("resume", "flag"), [(False, "--session-id"), (True, "--resume")])
def test_the_words_that_launch_it(resume, flag, claude):
    words = agents.argv({**claude, "args": ["--model", "{conversation}x"]}, "/it's here/tmo-hook", "c-1", resume)
    assert words[:3] == ["claude", flag, "c-1"]
    assert words[3] == "--settings"
    assert words[5:] == ["--model", "c-1x"]
    hooks = json.loads(words[4])["hooks"]
    assert set(hooks) == set(claude["launch"]["hooks"])
    command = hooks["Stop"][0]["hooks"][0]["command"]
    assert (
        subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, check=True, timeout=20).stdout
        == b"/it's here/tmo-hook"
    )


def test_permissions_are_skipped_only_where_the_config_says_so(claude):
    assert "--dangerously-skip-permissions" not in agents.argv(claude, "h", "c")
    assert "--dangerously-skip-permissions" in agents.argv({**claude, "skip_permissions": True}, "h", "c")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30))
def test_quote_and_fill(word):
    assert agents.fill("a{x}b{y}", {"x": word}) == f"a{word}b{{y}}"
    quoted = agents.quote(word)
    assert quoted.startswith("'")
    assert quoted.replace("'\\''", "").count("'") == 2


def process(argv, exe="/usr/bin/x", state="S", pid=1):
    return {"pid": pid, "argv": argv, "exe": exe, "state": state, "name": "x"}


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ([process(["sh"])], None),
        ([process(["sh"]), process(["claude"], pid=2)], 2),
        ([process(["/opt/x/claude", "-c"], pid=2)], 2),
        ([process(["node", "/usr/lib/claude"], pid=2)], 2),  # a script of the interpreter's
        ([process(["/usr/bin/python3.11", "-E", "/opt/x/claude", "-c"], pid=2)], 2),  # as pipx starts a script
        ([process(["node", "--no-warnings", "--flag", "claude"], pid=2)], 2),
        ([process(["node", "x.js", "claude"], pid=2)], None),
        ([process(["python"], pid=2)], None),
        ([process(["grep", "-r", "claude"], pid=2)], None),
        ([process(["vim", "claude.md"], pid=2)], None),
        ([process(["x"], exe="/opt/bin/claude.exe", pid=2)], 2),
        ([process(["x"], exe="/opt/bin/claude (deleted)", pid=2)], 2),  # updated under way
        ([process([], exe="", state="Z", pid=2)], None),
        ([process(["claude"], state="Z", pid=2)], None),
        ([process(["claude"], state="T", pid=2)], 2),
        ([process(["claude"], pid=2), process(["claude"], pid=3)], 2),
        ([], None),
    ],
)
def test_the_agent_among_the_processes_of_a_pane(processes, found, claude):
    seen = agents.find(claude, processes)
    assert (seen and seen["pid"]) == found


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({"HOME": "/h"}, "/h/.claude"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c/x"}, "/c/x"),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": ""}, "/h/.claude"),
    ],
)
def test_where_it_keeps_its_things(environ, home, claude):
    assert agents.home(claude, environ) == home
    for own, there in (({"CLAUDE_CONFIG_DIR": "/own"}, "/own"), ({"CLAUDE_CONFIG_DIR": "", "HOME": "/o"}, "/o/.claude")):
        assert agents.home({**claude, "env": own}, environ) == there  # what the agent itself will see


# Session registry


@pytest.fixture
def registry(tmp_path, claude):
    """Write the registry of process 42 as these bytes; what is read of it."""
    (tmp_path / "sessions").mkdir()

    def put(content, started="777"):
        if content is not None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (tmp_path / "sessions" / "42.json").write_bytes(data)
        return traces.registry(claude, str(tmp_path), {"pid": 42, "started": started})

    return put


WHOLE = {"pid": 42, "sessionId": "c-1", "status": "waiting", "waitingFor": "permission prompt", "procStart": "777",
         "statusUpdatedAt": 1_700_000_000_500, "cwd": "/p"}  # fmt: skip


def test_the_registry(registry):
    assert registry(WHOLE) == {
        "status": "waiting",
        "waiting_for": "permission prompt",
        "conversation_id": "c-1",
        "at": 1_700_000_000.5,
    }
    assert registry({"status": "idle"}) == {"status": "idle", "waiting_for": None, "conversation_id": None, "at": 0}


def test_a_registry_that_another_process_left_is_not_this_ones(registry):
    assert registry(WHOLE, started="778") is None
    assert registry({**WHOLE, "procStart": 777}) is not None  # a number or a string, it is the same start


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        {**WHOLE, "statusUpdatedAt": "x"},
        {**WHOLE, "statusUpdatedAt": None},
    ],
)
def test_a_registry_that_cannot_be_read_is_none(content, registry):
    assert registry(content) is None


def test_a_registry_cut_anywhere_is_none_or_whole(registry):
    data = json.dumps(WHOLE).encode()
    for length in range(len(data)):
        assert registry(data[:length]) is None
    assert registry(data)["status"] == "waiting"


# Transcripts


def test_where_the_conversation_is_recorded(claude):
    def path(conversation, hook):
        return traces.transcript_path(claude, "/home/me/.claude", "/src/my shop_1", conversation, hook)

    assert path("c-1", {}) == "/home/me/.claude/projects/-src-my-shop-1/c-1.jsonl"
    assert path(None, {}) is None
    hook = {"session_id": "c-1", "transcript_path": "/else/c-1.jsonl"}
    assert path("c-1", hook) == "/else/c-1.jsonl"
    assert path("c-2", hook) == "/home/me/.claude/projects/-src-my-shop-1/c-2.jsonl"


def user(content, **more):
    return {"type": "user", "message": {"role": "user", "content": content}, **more}


def assistant(text, **more):
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}, **more}


LIMIT = {"isApiErrorMessage": True, "apiErrorStatus": 429, "error": "rate_limit", "timestamp": "2025-11-20T12:00:00.500Z"}


@pytest.mark.parametrize(
    ("raw", "record"),
    [
        (user("hello"), {"kind": "prompt", "text": "hello"}),
        (
            user([{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}]),
            {"kind": "prompt", "text": "one\ntwo"},
        ),
        (user([{"type": "tool_result", "content": "hello"}]), {"kind": "tool_result"}),
        (user("hello", isSidechain=True), None),  # a sub-task's
        (assistant("fine"), {"kind": "assistant"}),
        (assistant("fine", isSidechain=True), None),
        (
            assistant("limit reached", **LIMIT),
            {"kind": "error", "status": 429, "error": "rate_limit", "text": "limit reached", "at": 1763640000.5},
        ),
        (assistant("x", isApiErrorMessage=True), {"kind": "error", "status": None, "error": None, "text": "x", "at": None}),
        ({"type": "queue-operation", "operation": "enqueue", "content": "later"}, {"kind": "queued", "text": "later"}),
        ({"type": "queue-operation", "operation": "dequeue"}, {"kind": "dequeued"}),
        (
            {"type": "attachment", "attachment": {"type": "queued_command", "prompt": "taken up"}},
            {"kind": "prompt", "text": "taken up"},
        ),
        ({"type": "attachment", "attachment": {"type": "file"}}, None),
        ({"type": "system", "subtype": "turn_duration", "durationMs": 5}, {"kind": "turn_end"}),
        ({"type": "system", "subtype": "other"}, None),
        ({"type": "summary", "summary": "x"}, None),
        ({"type": "brand-new"}, None),
        ({"type": "user"}, None),
        ({"type": "user", "message": None}, None),
        ({"type": "user", "message": {"content": None}}, None),
        ({"type": "user", "message": {"content": [None, 5]}}, None),
        ({"type": ["user"]}, None),
        ({}, None),
        ([], None),
        ("user", None),
        (5, None),
    ],
)
def test_what_a_record_is(raw, record):
    found = traces.read_record(json.dumps(raw).encode() + b"\n")
    assert found == (record and {"at": None, **record})


@pytest.mark.parametrize("content", [["x"], {"a": 1}, 5, True])
def test_a_queued_text_is_text_or_the_record_is_not_known(content):
    record = traces.read_record(json.dumps({"type": "queue-operation", "operation": "enqueue", "content": content}).encode())
    assert record is None or isinstance(record["text"], str)


@pytest.fixture
def transcript(tmp_path):
    """Write these records; (path, where each starts)."""

    def put(raws, end=b""):
        path, places, data = tmp_path / "t.jsonl", [], b""
        for raw in raws:
            places.append(len(data))
            data += (raw if isinstance(raw, bytes) else json.dumps(raw, ensure_ascii=False).encode()) + b"\n"
        path.write_bytes(data + end)
        return str(path), places

    return put


def kinds(records):
    return [record["kind"] for record in records]


def test_records_tell_where_they_stand(transcript):
    path, places = transcript([user("日本"), assistant("x"), user("b"), {"type": "summary"}, user("c")])
    found = list(traces.records(path))
    assert [(record["kind"], record["place"]) for record in found] == [
        ("prompt", places[0]), ("assistant", places[1]), ("prompt", places[2]), ("prompt", places[4]),
    ]  # fmt: skip
    for record in found:  # read again from its place it is the first one
        assert next(iter(traces.records(path, record["place"]))) == record
    assert [record["text"] for record in traces.records(path, places[2]) if "text" in record] == ["b", "c"]


def test_a_line_that_is_still_being_written_is_not_there_yet(transcript):
    half = json.dumps(user("half")).encode()
    path, places = transcript([user("whole")], end=half)
    assert kinds(traces.records(path)) == ["prompt"]
    with open(path, "ab") as file:
        file.write(b"\n")
    assert [record["text"] for record in traces.records(path)] == ["whole", "half"]


def test_a_transcript_cut_anywhere_gives_what_is_whole(transcript):
    raws = [user("one"), assistant("two", **LIMIT), user("three")]
    path, places = transcript(raws)
    with open(path, "rb") as file:
        data = file.read()
    for start in range(len(data) + 5):
        wanted = [number for number, place in enumerate(places) if place >= start]
        found = list(traces.records(path, start))
        assert [record["place"] for record in found] == [places[number] for number in wanted], start


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"null", b"[1]", b"\xff\xff", b"\x00" * 50, b"{}", b'{"type":"user"', b"}{" * 99]
)
def test_a_broken_line_harms_no_other(garbage, transcript):
    path, _ = transcript([user("one"), garbage, user("two")])
    assert [record["text"] for record in traces.records(path)] == ["one", "two"]


def test_a_transcript_that_is_not_there_has_no_records(tmp_path):
    for path in (None, "", str(tmp_path / "none"), str(tmp_path)):
        assert list(traces.records(path)) == []
        assert list(traces.newest(path)) == []
    assert traces.size(str(tmp_path / "none")) == traces.size(None) == 0
    assert traces.changed(str(tmp_path / "none")) == traces.changed(None) == 0


def test_the_newest_records_come_first_and_far_enough_back(transcript):
    path, _ = transcript([user(f"{number} " + "x" * 1000) for number in range(600)])
    found = [int(record["text"].split()[0]) for record in traces.newest(path)]
    assert found == list(range(599, 599 - len(found), -1)) and 200 < len(found) < 300


@pytest.mark.parametrize("size", [1, 5, 100, traces.BLOCK - 60, traces.BLOCK, traces.BLOCK + 1, 2 * traces.BLOCK])
def test_the_newest_records_are_all_records_backwards(size, transcript):
    path, _ = transcript([user(f"{number} " + "ü" * size) for number in range(7)])
    assert [r["text"] for r in traces.newest(path)] == [r["text"] for r in traces.records(path)][::-1]
    with open(path, "ab") as file:
        file.write(b'{"type": "user", "message": {"content": "half')
    assert next(traces.newest(path))["text"].startswith("6 ")


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ([], None),
        ([assistant("x", **LIMIT)], True),
        ([assistant("x", **LIMIT), {"type": "system", "subtype": "turn_duration"}], True),
        ([assistant("x", **LIMIT), user("again")], None),
        ([assistant("x", **LIMIT), assistant("fine")], None),
        ([user("q"), assistant("x", **LIMIT), {"type": "queue-operation", "operation": "enqueue", "content": "y"}], True),
        ([assistant("x", **LIMIT), user([{"type": "tool_result"}])], None),
    ],
)
def test_how_the_last_turn_ended(ends, error, transcript):
    found = traces.last_turn(traces.newest(transcript([user("hi"), assistant("hello"), *ends])[0]))
    assert bool(found) is bool(error)
    if error:
        assert (found["status"], found["error"]) == (429, "rate_limit")


# Hooks, as tmo-hook writes them


def hook(name, at=1, **more):
    return json.dumps({"at": at, "hook": {"hook_event_name": name, **more}})


@pytest.fixture
def hooks(tmp_path):
    def put(text):
        path = tmp_path / "run.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return traces.hooks(str(path))

    return put


def names(found):
    return [one.get("hook_event_name") for one in found]


def test_hooks_in_their_order(hooks):
    found = hooks(hook("SessionStart", 5, session_id="c") + "\n" + hook("Stop", 6) + "\n")
    assert found == [{"hook_event_name": "SessionStart", "session_id": "c", "at": 5}, {"hook_event_name": "Stop", "at": 6}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (hook("A"), ["A"]),
        (hook("A") + hook("B"), ["A", "B"]),  # on one line
        (hook("A") + "\n" + hook("B")[:-10], ["A"]),  # still being written
        (hook("A") + "\ngarbage { [ \n" + hook("B"), ["A", "B"]),
        (
            '{"at":1,"hook":' + hook("B").replace(" ", "") + '{"hook_event_name":"A"}}\n' + hook("C"),
            ["B", "C"],
        ),  # interleaved
        ('{"at":1,"hook":}\n' + hook("B").replace(" ", ""), ["B"]),  # an empty stdin
        ('{"at":1,"hook":null}\n' + hook("B").replace(" ", ""), ["B"]),
        ('{"at":1,"hook":[1]}\n' + hook("B").replace(" ", ""), ["B"]),
        ('{"at":1,"hook":"x"}\n' + hook("B").replace(" ", ""), ["B"]),
        ('{"hook":{}}\n' + hook("B").replace(" ", ""), ["B"]),
        ('{"at":1,"hook":{"hook_event_name":"A","prompt":"{\\"at\\":2,\\"hook\\":{}}"}}', ["A"]),  # quoted in a prompt
        (b'{"at":1,"hook":{"hook_event_name":"A","prompt":"\xff"}}\n', ["A"]),
    ],
)
def test_what_stands_between_two_whole_hooks_is_passed_over(text, found, hooks):
    written = text if isinstance(text, bytes) else text.replace('{"at": ', '{"at":').replace(', "hook": ', ',"hook":')
    assert names(hooks(written)) == found


def test_hooks_from_an_offset_on(tmp_path):
    path = tmp_path / "run.jsonl"
    first = hook("A").replace('{"at": ', '{"at":') + "\n"
    path.write_text(first + hook("B").replace('{"at": ', '{"at":') + "\n")
    assert names(traces.hooks(str(path), len(first))) == ["B"]
    assert names(traces.hooks(str(path), 3)) == ["B"]
    assert traces.hooks(str(path), 10_000) == []
    assert traces.hooks(None) == traces.hooks(str(tmp_path / "none")) == []


def test_that_an_agent_still_waits_is_nothing_that_it_did(tmp_path):
    path = tmp_path / "hooks.jsonl"

    def acted():
        return traces.acted(str(path), traces.last_hook(str(path)))

    assert acted() == 0
    path.write_text(hook("Stop", 60) + "\n")
    os.utime(path, (61.5, 61.5))
    assert acted() == 61.5
    path.write_text(hook("Stop", 60) + "\n" + hook("Notification", 120) + "\n")
    assert acted() == 60


def test_hooks_that_many_agents_threads_write_at_once(tmp_path):
    """The real tmo-hook, many at a time: each is whole."""
    command = os.path.join(os.path.dirname(__file__), "..", "..", "bin", "tmo-hook")
    env = {"PATH": os.environ["PATH"], "TMO_DB": str(tmp_path / "x.db"), "TMO_RUN": "r-1"}
    running = []
    for number in range(12):
        one = subprocess.Popen([command], env=env, stdin=subprocess.PIPE)
        running.append((one, json.dumps({"hook_event_name": f"H{number}", "prompt": "x" * number * 50}).encode()))
    for one, data in running:
        one.stdin.write(data)
        one.stdin.close()
    assert [one.wait(30) for one, _ in running] == [0] * 12
    path = tmp_path / "hooks" / "r-1.jsonl"
    found = traces.hooks(str(path))
    assert sorted(names(found)) == sorted(f"H{number}" for number in range(12))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@given(
    st.lists(
        st.sampled_from([hook("A"), hook("B", 2, x={"y": 1}), "{", "}", '{"at":1,', '"hook":{', "x", "\n", "]", '"']),
        max_size=12,
    )
)
def test_any_log_of_hooks_is_read(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(parts).replace('{"at": ', '{"at":'))
    assert set(names(traces.hooks(str(path)))) <= {"A", "B", None}


# Trust


@pytest.fixture
def claude_json(tmp_path):
    path = tmp_path / ".claude.json"

    def put(value, mode=0o600):
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        path.chmod(mode)
        return str(path)

    return put


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def test_trust_is_added_and_nothing_else_is_changed(claude, claude_json):
    before = {
        "numStartups": 5, "z": [1, {"a": None}], "名": "日本", "big": 12345678901234567890, "float": 0.1, "cut": "\ud83d",
        "esc": "\x00\x1b", "last": True,
        "projects": {"/other": {"hasTrustDialogAccepted": False, "history": ["x"]}, "/p": {"allowedTools": ["Bash"]}},
    }  # fmt: skip
    path = claude_json(before)
    assert login.give_trust(claude, path, "/p") is True
    after = read(path)
    assert after["projects"]["/p"] == {"allowedTools": ["Bash"], "hasTrustDialogAccepted": True}
    del after["projects"]["/p"]["hasTrustDialogAccepted"]
    assert after == before
    assert list(after) == list(before)
    assert os.listdir(os.path.dirname(path)) == [".claude.json"]


def test_trust_makes_a_file_where_there_is_none(claude, tmp_path):
    path = str(tmp_path / "new" / ".claude.json")
    assert login.give_trust(claude, path, "/p") is True
    assert read(path) == {"projects": {"/p": {"hasTrustDialogAccepted": True}}}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_the_file_stays(claude, mode, claude_json):
    path = claude_json({}, mode)
    login.give_trust(claude, path, "/p")
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_a_link_stays_a_link(claude, tmp_path, claude_json):
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "claude.json"
    real.write_text('{"a": 1}')
    link = tmp_path / "link.json"
    link.symlink_to("dotfiles/claude.json")
    assert login.give_trust(claude, str(link), "/p")
    assert link.is_symlink()
    assert read(real) == {"a": 1, "projects": {"/p": {"hasTrustDialogAccepted": True}}}
    assert sorted(os.listdir(tmp_path)) == ["dotfiles", "link.json"]
    dangling = tmp_path / "dangling.json"
    dangling.symlink_to("dotfiles/new.json")
    assert login.give_trust(claude, str(dangling), "/p")
    assert dangling.is_symlink()
    assert (tmp_path / "dotfiles" / "new.json").exists()


@pytest.mark.parametrize("call", ["makedirs", "replace"])
def test_a_config_that_cannot_be_written_is_named_with_the_reason(claude, call, claude_json, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    path = claude_json({"numStartups": 1})
    monkeypatch.setattr(login.os, call, fails)
    with pytest.raises(Error, match=f"^cannot write '{re.escape(path)}' to trust '/p': Read-only file system$"):
        login.give_trust(claude, path, "/p")
    assert read(path) == {"numStartups": 1}
    assert os.listdir(os.path.dirname(path)) == [".claude.json"]


@pytest.mark.parametrize("trusted_one", ["/p", "/p/sub", "/"])
def test_what_is_trusted_already_is_not_written(claude, trusted_one, claude_json):
    path = claude_json({"projects": {trusted_one: {"hasTrustDialogAccepted": True}}})
    before = os.stat(path)
    assert login.give_trust(claude, path, "/p/sub") is True
    after = os.stat(path)
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("change", ["rewrite", "replace", "remove"])
def test_a_file_that_changed_meanwhile_is_left_to_its_writer(claude, change, claude_json, monkeypatch):
    path = claude_json({"numStartups": 1})

    def meanwhile(descriptor):
        if change == "remove":
            os.unlink(path)
            return
        place = path + ".theirs" if change == "replace" else path
        with open(place, "w") as file:
            json.dump({"numStartups": 2}, file)
        os.replace(place, path)

    monkeypatch.setattr(login.os, "fsync", meanwhile)  # it is called just before the last look
    assert login.give_trust(claude, path, "/p") is False
    monkeypatch.undo()
    if change != "remove":
        assert read(path) == {"numStartups": 2}
    assert [name for name in os.listdir(os.path.dirname(path)) if name.startswith(".tmo-")] == []
    assert login.give_trust(claude, path, "/p") is True
    assert read(path)["projects"]["/p"] == {"hasTrustDialogAccepted": True}
    assert read(path).get("numStartups") == (None if change == "remove" else 2)


def test_a_busy_file_is_never_torn_and_trust_comes_in_the_end(claude, claude_json):
    """An agent that rewrites its config all the time, in a process of its own."""
    path = claude_json({"n": 0})
    script = (
        "import json, os, random, sys, time\n"
        f"path = {path!r}\nprint('up', flush=True)\n"
        "for n in range(300):\n"
        "    value = json.load(open(path))\n"
        "    value['n'] = n\n"
        "    open(path + '.theirs', 'w').write(json.dumps(value))\n"
        "    os.replace(path + '.theirs', path)\n"
        "    time.sleep(random.random() / 500)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline()
        while writer.poll() is None:
            login.give_trust(claude, path, f"/p{random.randrange(3)}")
            assert isinstance(read(path), dict)
        assert writer.returncode == 0
    finally:
        writer.kill()
        writer.wait(20)
        writer.stdout.close()
    assert login.give_trust(claude, path, "/p") is True
    assert read(path)["projects"]["/p"] == {"hasTrustDialogAccepted": True}


BROKEN = [
    "", "{", "[]", "null", '"x"', "5", '{"projects": []}', '{"projects": null}', '{"projects": {"/p": null}}',
    '{"projects": {"/p": [1]}}',
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_a_config_that_is_not_as_it_should_be_is_an_error_and_left_alone(claude, content, claude_json):
    path = claude_json(content)
    with pytest.raises(Error, match="to trust '/p'") as raised:
        login.give_trust(claude, path, "/p")
    assert raised.value.status == 2
    with open(path) as file:
        assert file.read() == content


@pytest.mark.parametrize(
    ("value", "directory", "trusted"),
    [
        (None, "/p", None),  # it cannot be read
        ({}, "/p", False),
        ({"projects": {"/p": {"hasTrustDialogAccepted": True}}}, "/p", True),
        ({"projects": {"/p": {"hasTrustDialogAccepted": True}}}, "/p/a/b", True),  # its parent
        ({"projects": {"/p/a": {"hasTrustDialogAccepted": True}}}, "/p", False),
        ({"projects": {"/p": {"hasTrustDialogAccepted": True}}}, "/pp", False),
        ({"projects": {"/p": {"hasTrustDialogAccepted": "yes"}}}, "/p", False),
        ({"projects": {"/p": {"hasTrustDialogAccepted": False}, "/": {"hasTrustDialogAccepted": True}}}, "/p", True),
        ({"projects": []}, "/p", False),
        ({"projects": {"/p": None}}, "/p", False),
        ({"projects": {}}, "relative", False),
        ({"projects": {}}, "", False),
    ],
)
def test_a_directory_is_trusted_by_itself_or_one_above(claude, value, directory, trusted):
    assert login.trusted(claude, value, directory) is trusted


# Login


@pytest.fixture
def program(tmp_path, claude):
    """Put a program on PATH as the agent's own; the facts of its login."""

    def put(script, environ=None, timeout=15.0):
        (tmp_path / "bin").mkdir(exist_ok=True)
        path = tmp_path / "bin" / "claude"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        (tmp_path / "p").mkdir(exist_ok=True)
        env = {"PATH": f"{path.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), **(environ or {})}
        return login.facts(claude, str(tmp_path / "p"), env, agents.home(claude, env), timeout)

    return put


NEW = """
case "$1 $2" in
"--version ") echo '2.1.330 (Claude Code)' ;;
"auth status") echo '{"loggedIn": false, "authMethod": "none"}'; exit 1 ;;
*) touch "$HOME/asked-otherwise"; exit 9 ;;
esac
"""


def test_the_agents_own_check_is_asked(program, tmp_path):
    found = program(NEW)
    assert (found["version"], found["legacy"], found["config"]) == ("2.1.330", False, {})
    assert found["status"]["value"] == {"loggedIn": False, "authMethod": "none"}
    assert found["status"]["rc"] == 1
    assert found["program"] == str(tmp_path / "bin" / "claude")
    assert not (tmp_path / "asked-otherwise").exists()


@pytest.mark.parametrize(
    ("version", "asked", "legacy"),
    [
        ("1.0.60", "config ls", True),
        ("2.0.14", None, False),
        ("2.1.40", None, False),
        ("2.1.41", "auth status --json", False),
        ("", None, False),
    ],
)
def test_only_what_this_version_answers_is_asked(version, asked, legacy, program, tmp_path):
    """On others the same words are a prompt, and cost a call of the model."""
    found = program(f'echo "$*" >>"$HOME/asked"\ntest "$1" = --version && echo "{version}" || echo "{{}}"')
    calls = (tmp_path / "asked").read_text().splitlines()
    assert calls == ["--version"] + ([asked] if asked else [])
    assert found["legacy"] is legacy
    assert (found["status"] is not None) is bool(asked)


def test_an_old_version_whose_check_is_not_known_is_asked_nothing(claude, program, tmp_path, monkeypatch):
    monkeypatch.delitem(claude["login"], "legacy")
    found = program('echo "$*" >>"$HOME/asked"; echo 1.0.60')
    assert (tmp_path / "asked").read_text() == "--version\n"
    assert (found["status"], found["legacy"]) == (None, False)


@pytest.mark.parametrize("said", ["", "Welcome", "{", "[1]"])
def test_an_answer_in_other_words_has_no_value_to_judge(said, program):
    found = program(f"test \"$1\" = --version && echo 2.1.330 || echo '{said}'")
    assert not isinstance(found["status"]["value"], dict)
    assert found["status"]["text"] == said


def test_a_program_that_hangs_or_is_missing_or_broken(program, tmp_path, claude):
    assert program("exec sleep 600", timeout=0.2)["status"] is None
    found = program('test "$1" = --version && echo 2.1.330 || exec sleep 600', timeout=0.3)
    assert found["status"] == {"timeout": 0.3}
    os.unlink(tmp_path / "bin" / "claude")
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    found = login.facts(claude, str(tmp_path), env, str(tmp_path))
    assert (found["program"], found["version"], found["status"]) == (None, None, None)
    found = login.facts({**claude, "command": [sys.executable]}, str(tmp_path / "no such directory"), env, str(tmp_path))
    assert found["version"] is None


def test_a_credential_is_told_by_its_change_and_never_read(tmp_path, claude):
    path = tmp_path / ".credentials.json"
    none = login.fingerprint(claude, str(tmp_path))
    path.write_text("SECRET")
    path.chmod(0)
    first = login.fingerprint(claude, str(tmp_path))
    assert "SECRET" not in first
    assert len({none, first, login.fingerprint(claude, str(tmp_path))}) == 2
    path.chmod(0o600)
    path.write_text("ANOTHER ONE")
    assert login.fingerprint(claude, str(tmp_path)) not in (none, first)


@pytest.mark.parametrize(
    ("environ", "path"),
    [({"HOME": "/h"}, "/h/.claude.json"), ({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c/x"}, "/c/x/.claude.json")],
)
def test_where_the_config_is(environ, path, claude):
    assert login.config_path(claude, environ, agents.home(claude, environ)) == path


def test_the_stub_has_its_config_in_its_home(stub):
    for environ in ({"HOME": "/h"}, {"HOME": "/h", "TMO_STUB_HOME": "/h/.tmo-stub"}):
        assert login.config_path(stub, environ, agents.home(stub, environ)) == "/h/.tmo-stub/config.json"


@pytest.mark.parametrize(
    ("content", "value"), [(None, {}), ("{}", {}), ('{"a": 1}', {"a": 1}), ("{", None), ("[]", None), ("", None)]
)
def test_a_config_that_is_not_there_is_empty_and_one_that_is_broken_unknown(content, value, tmp_path):
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    assert login.read_config(str(path)) == value
    assert login.read_config(str(tmp_path)) is None


def test_a_probe_is_one_call_and_its_status(tmp_path, claude):
    for script, rc, longest_s in (("exit 0", 0, 1e300), ("exit 1", 1, 1e7), ("exec sleep 600", None, 0.5)):
        path = tmp_path / "claude"
        path.write_text(f'#!/bin/sh\necho "$*" >"{tmp_path}/asked"\n{script}\n')
        path.chmod(0o755)
        profile = {**claude, "command": [str(path)]}
        assert login.probe(profile, str(tmp_path), {"PATH": os.environ["PATH"]}, longest_s).get("rc") == rc
    assert "-p" in (tmp_path / "asked").read_text()
