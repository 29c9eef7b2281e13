"""importing: what the older system's words, times, sessions and files mean here."""

import json
import re
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import importing, store

LISBON = ZoneInfo("Europe/Lisbon")
CONTEXT = {"zone": UTC, "live": set(), "of": None, "shared": False, "files": {}, "spec": None}
DEFAULTS = {"agent": "stub", "roles": "developer"}
VALUES = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=8))


def take(record, **context):
    return importing.project({"id": 1, "spec_path": "/s/web.md", **record}, {**CONTEXT, **context}, DEFAULTS, 2e9)


@pytest.mark.parametrize(
    ("value", "zone", "at"),
    [
        (1755500000.25, None, 1755500000.25),
        (1755500000, None, 1755500000.0),
        ("1755500000.5", None, 1755500000.5),
        (1755500000250, None, 1755500000.25),  # milliseconds
        ("2025-08-21T14:03:05.123456", LISBON, 1755781385.123456),  # local, no zone
        ("2025-08-21T14:03:05.123456", timezone(timedelta(hours=2)), 1755777785.123456),
        ("2025-12-21T14:03:05", LISBON, 1766325785.0),  # winter
        ("2025-08-21 14:03:05", LISBON, 1755784985.0),  # SQLite's datetime('now'): UTC
        ("2025-08-21T14:03:05Z", LISBON, 1755784985.0),
        ("2025-08-21T14:03:05+02:00", LISBON, 1755777785.0),
        *[(value, None, None) for value in (None, "", "soon", 0, -5, 9e99, float("inf"), float("nan"), b"1", "0001-01-01")],
    ],
)
def test_moments(value, zone, at):
    assert importing.moment(value, zone) == at


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("web-impl-1a2b3c4d", "web-impl-1a2b3c4d"), ("web-impl-1a2b3c4d:0", "web-impl-1a2b3c4d"),
        ("vso-monitor-android--1956158c", "vso-monitor-android--1956158c"), ("a:1.2", "a"), (5, "5"),
        *[(value, None) for value in (None, "", " ", "None", "NULL", ":0", b"x", "\x00")],
    ],
)  # fmt: skip
def test_sessions(value, name):
    assert importing.session(value) == name


STATUSES = {
    "queued": "queued", "processing": "processing", "timing_out": "processing", "zombie": "processing",
    "recovered": "processing", "completed": "completed", "COMPLETED": "completed", "FAILED": "failed",
    "permanently_failed": "failed", "retried": "cancelled", "merged": "completed", "cancelled": "cancelled",
    "superseded": "cancelled", "archived": "cancelled", "credit_paused": "processing", " Failed ": "failed",
    "what": "failed",
}  # fmt: skip


@pytest.mark.parametrize(("word", "status"), STATUSES.items())
def test_each_status_word(word, status):
    found = take({"status": word, "session_name": "a"})
    assert found["values"]["status"] == status
    assert found["paused"] == (word == "credit_paused")
    assert bool(take({"status": word, **({} if status == "queued" else {"session_name": "a"})})["notes"]) == (word != status)
    if status == "processing":  # without a session there is nothing that runs
        alone = take({"status": word})
        assert alone["values"]["status"] == ("queued" if word == "credit_paused" else "failed")
        assert alone["notes"]


def test_our_words_are_there(tmp_path):
    assert set(importing.STATUSES.values()) - {"paused"} <= {"queued", *store.RUNNING, *store.TERMINAL}


def test_a_project_whose_columns_disagree():
    record = {"status": "processing", "session_name": "a", "main_session": "b:0", "orchestrator_session": "a"}
    assert take(record)["values"]["session_name"] == "a"
    assert take(record, live={"b"})["values"]["session_name"] == "b"
    both = take(record, live={"a", "b"})
    assert both["values"]["session_name"] == "a" and "several sessions" in both["notes"][0]


def test_times_that_cannot_be():
    ends = {"started_at": 1755500000.0, "completed_at": 1755400000.0}
    assert take({"status": "failed", **ends})["values"]["completed_at"] == 1755500000.0
    assert take({"status": "queued", **ends})["values"]["completed_at"] is None
    assert take({"status": "queued"})["values"]["enqueued_at"] == 2e9
    assert take({"status": "completed", "queued_at": 1755500000})["values"]["enqueued_at"] == 1755500000


def test_a_duplicate_is_kept_and_named():
    record = {"status": "processing", "session_name": "a", "spec_path": "ORPHANED_SESSION_a"}
    found = take(record, of=36, shared=True)
    assert (found["values"]["status"], found["values"]["session_name"]) == ("cancelled", None)
    assert take({**record, "status": "failed"}, of=36, shared=True)["values"]["status"] == "failed"
    real = importing.place({"spec_path": "/s/web.md", "status": "failed", "session_name": "a"}, set())
    guess = importing.place(record, set())
    assert real["rank"] > guess["rank"] and real["session"] == guess["session"]


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        ("Phantom project detected: No session created after 900s (elapsed: 931s)", "weak"),
        ("Auto-reset: Timeout after 4 hours in processing", "weak"),
        ("Heartbeat monitor: No tmux session found after 300 seconds", "weak"),
        ("Session disappeared - auto-recovered", "weak"),
        ("State sync: dead_tmux_session", "weak"),
        ("Unrecoverable null session name after reboot - repair failed", "weak"),
        ("Project terminated during system reboot/shutdown", "medium"),
        ("Process exceeded maximum runtime (1800s) and was terminated", "strong"),
        ("Subprocess failed: Traceback (most recent call last):\n  ModuleNotFoundError: No module named 'psutil'", "strong"),
        ("tmux_orchestrator_cli.py run completed but no tmux session was created", "medium"),
        ("Validation failed: No implementation found (0 files)", "medium"),
        ("All agents stuck in bash mode: dev", "medium"),
        ("Error indicators detected with low confidence (0.3)", "weak"),
        ("Manual reset: Project appeared stuck or orphaned", "none"),
        ("something else", None),
        (None, None),
    ],
)
def test_what_an_error_text_is_worth(error, worth):
    assert importing.worth(error) == worth
    assert take({"status": "failed", "error_message": error})["failure"] == worth


def test_the_registry_is_put_together_by_session():
    files = [
        ("/r/projects/web-1a2b3c4d",
         "orchestration_metadata.json", {"session_name": "web-impl-1a2b3c4d", "project_name": "Web"}),
        ("/r/projects/web-1a2b3c4d", "implementation_spec.json", {
            "project_size": {"size": "large"}, "roles": {"developer": {}, "orchestrator": {}, "project_manager": {}}}),
        ("/r/projects/web", "session_state.json", {
            "session_name": "web-impl-1a2b3c4d", "project_path": "/src/web", "completion_status": "completed",
            "completion_time": "2025-08-21T14:03:05", "agents": []}),
        ("/r/projects/web-impl-1a2b3c4d", "COMPLETION_MARKER", {"completed_at": "2025-08-21T14:03:05"}),
        ("/r/projects/x", "session_state.json", ["no object"]),
        ("/r/projects/y", "implementation_spec.json", {"roles": 5}),
    ]  # fmt: skip
    found = importing.registry(files, UTC)
    assert list(found) == ["web-impl-1a2b3c4d"]
    facts = found["web-impl-1a2b3c4d"]
    assert {key: facts[key] for key in facts if key != "marks"} == {
        "name": "Web", "project_path": "/src/web", "size": "large", "roles": "orchestrator,developer,project_manager",
    }  # fmt: skip
    record = {"status": "failed", "session_name": "web-impl-1a2b3c4d", "started_at": 1755700000.0}
    assert len(take(record, files=facts)["marks"]) == 2
    assert take({**record, "started_at": 1755800000.0}, files=facts)["marks"] == []  # of an earlier run
    assert take({**record, "merged_status": "merged"})["marks"] == ["the old table says that it was merged"]


def checkin(**values):
    record = {"session_name": "a", "agent_role": "Developer", "window_index": 1, "next_run": 1e9, "note": "look", **values}
    return importing.checkin("tasks", record, UTC, 1e9 + 60)


def test_check_ins():
    found = checkin()
    assert (found["session"], found["role"], found["window"], found["due_at"], found["left"]) == (
        "a",
        "developer",
        1,
        1e9 + 60,
        None,
    )
    assert checkin(agent_role="orchestrator")["role"] == "orchestrator"
    assert checkin(next_run="2001-09-10 00:00:00")["due_at"] == 1000080000.0
    assert "switched off" in checkin(next_run=1e9 + 365 * 86400)["left"]
    assert "no time" in checkin(next_run="never")["left"]
    assert "failed for good" in checkin(retry_count=-1)["left"]
    assert "136 times" in checkin(retry_count=136)["left"]
    assert "nothing" in checkin(note=None)["left"]
    assert checkin(note="x" * 10**5)["cut"]
    message = {"agent_id": "web-impl-1:2", "message": "go on", "status": "delivered"}
    assert importing.checkin("message_queue", message, UTC, 1e9)["left"] == "it is delivered"
    assert importing.checkin("message_queue", {**message, "status": "pending"}, UTC, 1e9)["window"] == 2


COLUMNS = [
    *importing.SESSIONS, *sum(importing.TIMES.values(), ()), "status", "spec_path", "priority", "project_path", "batch_id",
    "project_name", "retry_count", "error_message", "merged_status", "note", "agent_role", "window_index", "next_run",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES))
def test_any_record_becomes_a_row_that_the_database_takes(record):
    found = take(record)
    values = found["values"]
    assert values["name"] and values["status"] in ("queued", *store.RUNNING, *store.TERMINAL)
    assert values["status"] != "processing" or values["session_name"]
    assert (values["completed_at"] is None) == (values["status"] not in store.TERMINAL)
    assert not any(re.search("[\ud800-\udfff\\x00-\\x1f]", value) for value in values.values() if isinstance(value, str))
    json.dumps(found)
    assert json.loads(importing.kept(record)).keys() == record.keys()
    assert isinstance(importing.key("project_queue", record, 1), str)
    importing.checkin("tasks", record, UTC, 1e9)
    importing.place(record, {"a"})
