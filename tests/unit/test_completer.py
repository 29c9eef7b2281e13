"""Finishing projects, where no test on a real machine can cause what happens."""

import errno
import os

import pytest
from tmuxorch import config, shell, store
from tmuxorch.errors import Error
from tmuxorch.steps.complete import Completer


@pytest.fixture
def completer(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    db = store.write(settings.db)
    (tmp_path / ".tmuxorch").mkdir()
    db.enqueue([{"name": "p", "agent": "stub", "roles": "developer", "enqueued_at": 0, "verify_command": "true",
                 "project_path": str(tmp_path)}])  # fmt: skip
    for event, more in (("start", {"run": "r"}), ("setup_complete", {"session_name": "s"})):
        assert db.move(1, event, "x", **more)
    db.save_agent(1, "developer", {"agent": "stub", "run": "r-1"})
    return Completer(settings, db, dry=False)


@pytest.mark.parametrize(
    ("number", "status", "rounds"),
    [(errno.ENOMEM, "completing", 0), (errno.ENOSPC, "completing", 0), (errno.ENOENT, "processing", 1)],
)
def test_what_the_machine_lacks_costs_no_round_of_rework(number, status, rounds, completer, monkeypatch):
    def run(*_, **__):
        raise OSError(number, "no")

    monkeypatch.setattr(shell, "run", run)
    completer.db.move(1, "work_complete", "x")
    completer.add({"project_id": 1})
    project = completer.db.project(1)
    assert (project["status"], project["rework_count"]) == (status, rounds)


def test_what_cannot_be_judged_is_an_error_and_stops_no_other_project(completer, monkeypatch):
    def completion(_):
        raise Error("odd")

    monkeypatch.setattr(completer.judge, "completion", completion)
    assert completer.add({"project_id": 1}) == {"project_id": 1, "completion": None, "error": "odd"}


def test_a_process_that_cannot_be_started_stops_no_other_project(completer):
    def elsewhere(_):
        raise OSError(errno.EAGAIN, "no more processes")

    completer.elsewhere = elsewhere
    completer.db.move(1, "work_complete", "x")
    assert "no more processes" in completer.add({"project_id": 1})["completion"]["reasons"][-1]
    assert completer.db.project(1)["status"] == "completing"


def test_a_marker_that_a_kill_left_half_written_down_counts_once(completer, tmp_path):
    """Whatever the clock says: the event and the file are told apart by the file."""
    taken = tmp_path / ".tmuxorch" / "done.taken"

    def said():
        completer.take_marker(completer.db.project(1))
        return len(completer.db.events(1, kind="done"))

    taken.write_text("r-1\n")
    mark = {"marked_at": taken.stat().st_mtime}
    completer.db.event("done", "done", "1/developer", mark, project_id=1, role="developer")  # and killed before the unlink
    assert said() == 1
    assert not taken.exists()
    again = tmp_path / ".tmuxorch" / "done"
    again.write_text("r-1\n")
    os.utime(again, (mark["marked_at"] + 1, mark["marked_at"] + 1))
    assert said() == 2
    assert said() == 2


def test_a_person_is_called_once_for_each_reason(completer):
    project = completer.db.project(1)
    for what in ("silent", "silent", "stalled"):
        completer.db.call_person_to(project, "x", what, what)
    assert [row["source"] for row in completer.db.events(1, kind="notice")] == ["silent", "stalled"]


def test_help_is_counted_by_the_agent_that_got_most_of_it_and_a_return_from_a_hold_is_none(completer):
    for role, source in (("a", "idle"), ("b", "shell"), ("b", "idle"), ("c", "limited"), ("c", "login"), ("c", "limited")):
        completer.db.event("recovery", "nudge", "x", project_id=1, role=role, source=source, dest="done")
    assert completer.db.count_recoveries(1, 0) == 2
    assert completer.db.count_recoveries(1, store.now() + 1) == 0


def test_what_was_moved_meanwhile_is_not_called_completed(completer):
    completer.db.move(1, "work_complete", "x")
    seen = {**completer.db.project(1), "verify_command": None}
    completer.db.move(1, "cancel", "x")
    assert completer.finish(seen, {"verdict": "completing", "reasons": [], "verified": None})["verdict"] == "unknown"
    assert completer.db.project(1)["status"] == "cancelled"
