"""What makes a night fail: the verdicts over facts, and the runner of the checks."""

import subprocess
import threading
from itertools import pairwise

import pytest
from tmuxorch import config, doctor, proc, schedule
from tmuxorch.steps import doctor as step

NOW = 1_800_000_000.0
AUTH = {"missing": [], "error": None, "mend": None, "logged_in": True, "method": "token", "version": "2.1.0"}
PROFILE = {"name": "claude", "command": ["claude"], "args": [], "skip_permissions": False,
           "launch": {"skip_permissions": ["--dangerously"]}}  # fmt: skip
NAMES = list(schedule.LINES)


def beat(**more):
    return {"name": "watch", "host": "h", "started_at": NOW - 30, "finished_at": NOW - 29, "status": 0, **more}


@pytest.mark.parametrize(("version", "ok"), [((3, 1), False), ((3, 2), True), ((4, 0), True), (None, None)])
def test_tmux(version, ok):
    assert doctor.tmux(version, (3, 2))["ok"] is ok


def test_a_row_that_is_right_needs_no_fix():
    assert doctor.row("x", True, "why", "fix") == {"check": "x", "ok": True, "why": "why", "fix": None}
    assert doctor.row("x", None, "why", "fix")["fix"] == "fix"


@pytest.mark.parametrize(
    ("more", "ok", "words"),
    [
        ({}, True, "logged in by token"),
        ({"missing": ["trusted"]}, True, "logged in"),  # the trust of `/` is of no interest
        ({"missing": ["installed"], "error": "claude is not on PATH"}, False, "not on PATH"),
        ({"missing": ["login", "trusted"]}, False, "lacks login"),
        ({"logged_in": None, "error": "no answer"}, None, "no answer"),
    ],
)
def test_an_agent(more, ok, words):
    row = doctor.agent("claude", "Claude Code", {**AUTH, **more}, "trusted")
    assert (row["check"], row["ok"]) == ("agent/claude", ok)
    assert words in row["why"]


@pytest.mark.parametrize(
    ("more", "own", "ok"),
    [
        ({}, [], True),
        ({"skip_permissions": True}, [], True),  # in the words of our settings
        ({"args": ["--dangerously"]}, [], False),
        ({"command": ["claude", "--dangerously"]}, [], False),
        ({}, ["its own settings.json says so"], False),
        ({"launch": {"skip_permissions": []}}, [], True),
    ],
)
def test_a_setting_that_asks_nothing_is_named(more, own, ok):
    row = doctor.permissions({**PROFILE, **more}, own)
    assert row["ok"] is ok
    assert ("skip_permissions" in (row["fix"] or "")) is not ok
    if more.get("skip_permissions"):
        assert "--dangerously" in row["why"]


# cron


def test_our_lines_are_found_in_a_crontab_as_they_are_printed():
    command = "/o'd 100% place/bin/tmo-crontab"
    lines = schedule.crontab(command, {"PATH": "/a:/b", "TMO_DB": "/x.db"})
    text = "\n".join(
        ["MAILTO=me", "SHELL=/bin/fish", "0 5 * * * backup --run start", "#* * * * * x/tmo-crontab --run old", *lines]
    )
    found = doctor.scheduled(text)
    assert found["names"] == NAMES
    assert set(found["commands"]) == {command}
    assert found["environ"] == {"MAILTO": "me", "SHELL": "/bin/sh", "PATH": "/a:/b", "TMO_DB": "/x.db"}
    assert doctor.scheduled("") == {"names": [], "commands": [], "environ": {}}


@pytest.mark.parametrize(
    ("crontab", "timers", "gone", "ok", "words"),
    [
        (NAMES, [], [], True, "crontab"),
        ([], NAMES, [], True, "timers"),
        (None, NAMES, [], True, "timers"),
        ([], [], [], False, "nothing runs by itself"),
        (None, [], [], None, "cannot be read"),
        (NAMES[1:], [], [], False, f"nothing runs {NAMES[0]}"),
        (NAMES, NAMES[:1], [], False, f"both run {NAMES[0]}"),
        (NAMES + NAMES[:1], [], [], False, f"twice {NAMES[0]}"),
        (NAMES, [], ["/old/tmo-crontab"], False, "/old/tmo-crontab"),
    ],
)
def test_the_schedule(crontab, timers, gone, ok, words):
    row = doctor.schedule(schedule.LINES, crontab, timers, gone)
    assert row["ok"] is ok
    assert words in row["why"]


def test_the_daemon_by_its_process_or_its_work():
    assert doctor.daemon({"sh", "cron"}, [], NOW)["ok"]
    assert doctor.daemon({"sh", "crontab"}, [beat()], NOW)["ok"]
    assert doctor.daemon({"sh", "crontab"}, [beat(started_at=NOW - 600)], NOW)["ok"] is False


@pytest.mark.parametrize(
    ("here", "there", "ok", "words"),
    [
        ("/a/claude", "/a/claude", True, "claude"),
        ("/a/claude", None, False, "lacks claude: /a/claude"),
        ("/a/claude", "/b/claude", False, "/b/claude"),
        (None, None, True, ""),  # that it is nowhere is told by another check
    ],
)
def test_the_path_of_cron(here, there, ok, words):
    row = doctor.programs({"claude": here}, {"claude": there})
    assert row["ok"] is ok
    assert words in row["why"]


def test_cron_may_have_another_database():
    assert doctor.environment({"database": "/a", "socket": ""}, {"database": "/a", "socket": ""})["ok"]
    row = doctor.environment({"database": "/a", "socket": "x"}, {"database": "/a", "socket": ""})
    assert row["ok"] is False
    assert "the socket of cron is the default, of this shell x" in row["why"]


@pytest.mark.parametrize(
    ("name", "beat", "ok"),
    [
        ("watch", None, None),
        ("watch", beat(), True),
        ("watch", beat(status=1), True),
        ("watch", beat(status=75), True),
        ("watch", beat(status=2), False),
        ("watch", beat(started_at=NOW - 179), True),
        ("watch", beat(started_at=NOW - 181), False),
        ("watch", beat(started_at=NOW + 5000), True),  # a time ahead of the clock is now
        ("watch", beat(finished_at=None, status=None, started_at=NOW - 1800), True),
        ("watch", beat(finished_at=None, status=None, started_at=NOW - 4000), False),
        ("nightly", beat(started_at=NOW - 80_000), True),
        ("nightly", beat(started_at=NOW - 91_000), False),
    ],
)
def test_the_last_run_of_a_line(name, beat, ok):
    row = doctor.last_run(name, schedule.LINES[name], beat, NOW)
    assert (row["check"], row["ok"]) == (f"line/{name}", ok)


def test_other_hosts_and_other_programs():
    assert doctor.hosts([beat()], "h", NOW)["ok"]
    assert doctor.hosts([beat(), beat(host="b", started_at=NOW - 9000)], "h", NOW)["ok"]
    assert doctor.hosts([beat(), beat(host="b")], "h", NOW)["ok"] is False
    ours = {"argv": ["python3", "/opt/bin/tmo-start"], "name": "python3", "pid": 1}
    assert doctor.writers([ours])["ok"]
    row = doctor.writers([ours, {"argv": ["python3", "scheduler.py"], "name": "python3", "pid": 7}])
    assert row["ok"] is False
    assert "python3 scheduler.py (7)" in row["why"]


# The machine


def test_room():
    assert doctor.memory(2000 << 20, 4)["ok"]
    assert doctor.memory(1999 << 20, 4)["ok"] is False
    assert doctor.disk({"/a": 9 << 30, "/b": 2 << 30})["ok"]
    row = doctor.disk({"/a": 9 << 30, "/b": 1 << 20})
    assert (row["ok"], row["why"]) == (False, "1 MiB are free at /b")


@pytest.mark.parametrize(
    ("files", "processes", "ok"), [(1024, 1024, [True, True]), (256, None, [False, True]), (None, 100, [True, False])]
)
def test_limits(files, processes, ok):
    assert [row["ok"] for row in doctor.limits(files, processes, "this shell")] == ok


def test_the_history_of_a_pane():
    assert doctor.history(2000)["ok"]
    assert doctor.history(1_000_000)["ok"] is False


@pytest.mark.parametrize(
    ("said", "newest", "ok"),
    [("yes", None, True), ("no", None, False), ("", None, None), ("yes", NOW - 5, True), ("yes", NOW + 60, False)],
)
def test_the_clock(said, newest, ok):
    assert doctor.clock(said, newest, NOW)["ok"] is ok


@pytest.mark.parametrize(
    ("kill", "linger", "ok"), [("", "", True), ("no", "no", True), ("yes", "no", False), ("yes", "yes", True)]
)
def test_logging_out(kill, linger, ok):
    assert doctor.logout(kill, linger)["ok"] is ok


def test_spans():
    assert [doctor.span(s) for s in (5, 119, 180, 7200, 200_000)] == ["5 s", "119 s", "3 min", "2 h", "2 d"]


# The facts


def test_who_writes_to_a_file(tmp_path):
    path = str(tmp_path / "x")
    with open(path, "w"):
        assert proc.writers(path) == []  # we are not another process
    assert proc.writers("/nowhere") == []


def test_what_runs():
    with subprocess.Popen(["sleep", "603"]) as process:
        try:
            assert "sleep" in proc.running()
        finally:
            process.kill()
    assert "no-such-program" not in proc.running()
    proc.needs()


def test_limits_of_a_process():
    assert proc.limits() == proc.limits(None)
    text = "Limit  Soft Limit\nMax processes   unlimited   unlimited processes\nMax open files  1024  4096 files\n"
    assert (proc.limit(text, "Max open files"), proc.limit(text, "Max processes")) == (1024, None)
    assert proc.memory_free() > 1 << 20


def quiet(monkeypatch, **checks):
    """A doctor whose other checks have nothing to say."""
    rows = dict.fromkeys(step.Doctor(config.load({"HOME": "/nowhere"})).checks(), list)
    monkeypatch.setattr(step.Doctor, "checks", lambda self: {**rows, **checks})


def test_a_check_that_hangs_cannot_tell_and_holds_up_nobody(monkeypatch):
    quiet(monkeypatch, disk=threading.Event().wait, git=lambda: [doctor.row("git", True, "there")])
    rows = step.examine({"HOME": "/nowhere"}, 0.3)
    assert [(row["check"], row["ok"]) for row in rows] == [("config", True), ("git", True), ("disk", None)]
    assert rows[2]["why"] == "no answer within 0.3 s"


@pytest.mark.parametrize(("name", "ok"), [("database", False), ("lines", None), ("disk", None)])
def test_an_error_is_a_row(monkeypatch, name, ok):
    def broken():
        raise step.Error("no such thing")

    quiet(monkeypatch, **{name: broken})
    assert step.examine({"HOME": "/nowhere"}, 5)[1:] == [
        {"check": name, "ok": ok, "why": "no such thing", "fix": "mend that first"}
    ]


def test_the_rows_come_in_the_order_of_the_checks(monkeypatch):
    names = list(step.Doctor(config.load({"HOME": "/nowhere"})).checks())
    quiet(monkeypatch, **{name: lambda name=name: [doctor.row(name, True, "")] for name in names})
    found = [row["check"] for row in step.examine({"HOME": "/nowhere"}, 5)[1:]]
    assert all(names.index(a) < names.index(b) for a, b in pairwise(found))
    assert set(found) == set(names)
