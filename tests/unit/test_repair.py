"""repair: which rows contradict the facts, and what would repair them."""

import contextlib

import pytest
from tmuxorch import repair, store
from tmuxorch.errors import Refused
from tmuxorch.steps import repairing
from tmuxorch.store import file, repairs

PROJECT = {
    "id": 7, "status": "failed", "status_at": 50.0, "session_name": "shop-7", "completed_at": 50.0, "enqueued_at": 1.0,
    "roles": "orchestrator,developer", "verify_command": None, "base_dirty": 0,
}  # fmt: skip
FAILED = {
    "session": "ours", "names": ["shop-7"], "states": {"developer": "idle"}, "moved": [], "failure": "guess", "why": "x",
    "worth": None,
    "done": {}, "marks": [], "commits": 0, "dirty": 0, "told": False, "open": 0, "running": {}, "busy": [],
    "asking": [],
    "neighbour": None,
}  # fmt: skip
RUNNING = {
    "session": "none", "names": [], "states": {}, "survivors": False, "kept": None,
    "grace": {"expired": True, "deadline_at": 9.0},
}  # fmt: skip
LEFT = None


@pytest.mark.parametrize(
    ("facts", "project", "kind", "to"),
    [
        ({}, {}, "failed_alive", "processing"),
        ({"states": {"developer": "shell"}}, {}, "failed_alive", LEFT),
        ({"states": {"developer": "hung"}}, {}, "failed_alive", LEFT),
        ({"states": {"developer": "unknown"}}, {}, "failed_alive", LEFT),
        ({"session": "foreign", "states": {}}, {}, "failed_alive", LEFT),
        ({"session": "none", "states": {}}, {}, None, None),
        ({"session": "unknown"}, {}, None, None),
        ({"neighbour": 3}, {}, "failed_alive", LEFT),
        ({"failure": "decision"}, {}, None, None),
        (
            {"failure": "decision", "states": {"developer": "working"}, "moved": ["developer"]},
            {},
            "failed_alive",
            "processing",
        ),
        ({"failure": "verify", "states": {"developer": "working"}, "moved": ["developer"]}, {}, "failed_alive", LEFT),
        ({"done": {"orchestrator": ""}}, {}, "failed_done", "completed"),
        ({"done": {"orchestrator": ""}, "session": "none", "states": {}}, {}, "failed_done", "completed"),
        ({"done": {"orchestrator": ""}, "session": "unknown"}, {}, None, None),
        ({"done": {"orchestrator": ""}, "failure": "verify"}, {}, None, None),
        ({"done": {"orchestrator": ""}, "dirty": 2}, {}, "failed_done", LEFT),
        ({"done": {"orchestrator": ""}}, {"verify_command": "make"}, "failed_done", "processing"),
        ({"done": {"orchestrator": ""}, "neighbour": 3}, {"verify_command": "make"}, "failed_done", LEFT),
        ({"done": {"orchestrator": ""}}, {"verify_command": "make", "session_name": None}, "failed_done", LEFT),
        ({"done": {"developer": ""}}, {}, "failed_alive", "processing"),  # not the lead's word
        ({"marks": ["marker"]}, {}, "failed_done", LEFT),
        ({"marks": ["marker"], "commits": 3, "session": "none", "states": {}}, {}, "failed_done", "completed"),
        (
            {"marks": ["marker"], "moved": ["developer"], "states": {"developer": "working"}},
            {},
            "failed_alive",
            "processing",
        ),
    ],
)
def test_failed(facts, project, kind, to):
    found = repair.failed({**PROJECT, **project}, {**FAILED, **facts})
    assert (found and found["kind"], found and found["to"]) == (kind, to)
    if found:
        assert bool(found["change"]) == (to is not None)
        assert found["reason"] and found["project_id"] == 7


def test_a_renamed_session_is_written_down():
    found = repair.failed({**PROJECT, "session_name": "old"}, FAILED)
    assert found["change"]["first"] == {"session_name": "shop-7"}
    assert found["change"]["expect"]["session_name"] == "old"


@pytest.mark.parametrize(
    ("facts", "status", "kind", "to"),
    [
        ({}, "processing", "processing_gone", "failed"),
        ({}, "completing", "processing_gone", "failed"),
        ({"kept": "it is held (all)"}, "processing", "processing_gone", LEFT),
        ({"survivors": True}, "processing", None, None),
        ({"grace": {"expired": False, "deadline_at": 9.0}}, "processing", None, None),
        ({"session": "ours"}, "processing", None, None),
        ({"session": "unknown"}, "processing", None, None),
        ({"session": "foreign"}, "processing", "unowned", LEFT),
        ({"session": "ours", "states": {"developer": "idle"}}, "recovering", "recovering_left", "processing"),
        ({"grace": {"expired": False, "deadline_at": None}}, "recovering", "processing_gone", "failed"),
    ],
)
def test_running(facts, status, kind, to):
    found = repair.running({**PROJECT, "status": status}, {**RUNNING, **facts})
    assert (found and found["kind"], found and found["to"]) == (kind, to)


@pytest.mark.parametrize(
    ("event", "how"),
    [
        (None, "guess"),
        ({"actor": "sql", "evidence": None}, "guess"),
        ({"actor": "tmo-import", "evidence": None}, "guess"),
        ({"actor": "user/ann", "evidence": None}, "guess"),
        ({"actor": "tmo-complete", "evidence": {"command": "make", "status": 1}}, "verify"),
        ({"actor": "tmo-complete", "evidence": {"expired": True}}, "decision"),
        ({"actor": "tmo-start", "evidence": None}, "decision"),
    ],
)
def test_how_it_failed(event, how):
    assert repair.failure_of(event) == how


def test_one_session_is_of_one_project():
    rows = [
        {**PROJECT, "id": number, "status": status} for number, status in ((1, "failed"), (2, "processing"), (3, "failed"))
    ]
    assert [one["project_id"] for one in repair.twins(rows, None)] == [1, 3]  # it is of the one that runs
    found = repair.twins(rows, 1)  # its tags say more
    assert [(one["project_id"], one["to"]) for one in found] == [(2, "cancelled"), (3, "failed")]
    assert found[0]["change"]["events"] == ("cancel",)
    rows[1]["status"] = "failed"
    assert [one["project_id"] for one in repair.twins(rows, None)] == [1, 2]  # else of the newest
    rows[0]["status"] = "setting_up"
    assert [one["project_id"] for one in repair.twins(rows, None)] == [2]  # tmo-start has it in hand


def test_there_is_a_way_back_from_every_repair(tmp_path):
    db = store.write(str(tmp_path / "x.db"))
    with contextlib.closing(db.connection):
        machine = db.transitions()
    for source, dest in (
        ("processing", "failed"),
        ("completed", "failed"),
        ("failed", "processing"),
        ("cancelled", "processing"),
    ):
        status = source
        for event in repair.way(machine, source, dest):
            status = next(row["dest"] for row in machine if (row["event"], row["source"]) == (event, status))
        assert status == dest
    assert repair.way(machine, "failed", "failed") == []
    assert repair.way(machine, "failed", "nowhere") is None


# -- carried out on a real database


@pytest.fixture
def db(tmp_path):
    with contextlib.closing(store.write(str(tmp_path / "x.db")).connection) as connection:
        yield store.Store(connection, str(tmp_path / "x.db"))


def failed_row(db, path="/src", status="failed"):
    values = {"name": "x", "agent": "stub", "roles": "developer", "enqueued_at": 1.0, "status": status, "session_name": "s",
              "project_path": path, "completed_at": 5.0 if status == "failed" else None}  # fmt: skip
    return db.enqueue([values])[0][0]


def recover(row):
    return repair.of_project(row, "recover", "recover", "recovery_complete", alone=True, agents=repair.FRESH)


@pytest.mark.parametrize(("column", "value"), [("session_name", "other"), ("completed_at", 6.0), ("status_at", 7.0)])
def test_a_row_that_changed_since_the_look_is_left(db, column, value):
    row = failed_row(db)
    db.update("project_queue", {"id": row["id"]}, {column: value})
    assert not repairs.carry_out(db, recover(row), "why", {}, "b")
    assert db.project(row["id"])["status"] == "failed"
    assert db.events(kind="repair") == []


def test_a_neighbour_that_started_since_the_look_keeps_it_back(db):
    row = failed_row(db)
    other = failed_row(db, status="processing")
    assert not repairs.carry_out(db, recover(row), "why", {}, "b")
    db.move(other["id"], "error", "t")
    assert repairs.carry_out(db, recover(row), "why", {}, "b")
    assert db.project(row["id"])["status"] == "processing"


def test_a_repair_is_whole_or_not_at_all(db):
    row = failed_row(db)
    bad = repair.of_project(row, "recover", "recover", "finalize")  # not legal from recovering
    with pytest.raises(Refused):
        repairs.carry_out(db, bad, "why", {}, "b")
    assert db.project(row["id"])["status"] == "failed"
    assert [event["name"] for event in db.events()] == ["enqueue"]


def test_undo_brings_back_a_row_that_was_removed(db):
    row = failed_row(db)
    db.save_agent(row["id"], "nobody", {"agent": "stub", "state": "idle"})
    agent = {**db.agent(row["id"], "nobody"), "status": "failed", "roles": "developer"}
    backup = repairs.backup(db)
    found = repair.agent(agent, there=False)
    assert repairs.carry_out(db, found["change"], found["reason"], found["evidence"], backup)
    assert db.agents() == []
    old = store.read(backup)
    (event,) = repairs.made_after(db, backup)
    assert repairs.undo(db, event, old.row("agent_health", agent["id"]), [])
    assert db.agents() == old.agents()
    assert repairs.made_after(db, backup) == []
    old.connection.close()


# -- undone beside what came since


def repaired(db, *found):
    """The backup before what these findings change, which is carried out."""
    backup = repairs.backup(db)
    for one in found:
        assert repairs.carry_out(db, one["change"], one["reason"], one["evidence"], backup)
    return backup


def end_over(db):
    """A finding that comes before the others, and so is undone after them."""
    row = failed_row(db, status="queued")
    db.update("project_queue", {"id": row["id"]}, {"completed_at": 5.0})
    return repair.end(db.project(row["id"]))


def hold_over(db):
    db.set_hold("all", "manual", "t", "x")
    db.update("hold", {"name": "all"}, {"until_at": 2.0})
    return repair.hold(db.all("SELECT * FROM hold")[0])


def hold_anew(db):
    db.set_hold("all", "manual", "t", "y")


def agent_gone(db):
    other = failed_row(db)
    db.save_agent(other["id"], "nobody", {"agent": "stub", "state": "idle"})
    return repair.agent({**db.agent(other["id"], "nobody"), "status": "failed", "roles": "developer"}, there=False)


def forget_projects(db):
    db.connection.execute("DELETE FROM project_queue WHERE id = 2")


@pytest.mark.parametrize(
    ("finding", "meanwhile", "words"),
    [
        (hold_over, hold_anew, "another row has its place by now: UNIQUE"),
        (agent_gone, forget_projects, "what it belongs to is not there any more"),
    ],
)
def test_a_row_that_cannot_go_back_keeps_no_other_from_it(db, finding, meanwhile, words):
    backup = repaired(db, end_over(db), finding(db))
    meanwhile(db)
    refused, done = repairing.undo(db, backup)
    assert not refused["applied"] and words in refused["reason"]
    assert done["applied"] and db.project(1)["completed_at"] == 5.0
    assert [row["applied"] for row in repairing.undo(db, backup)] == [False]


def test_an_undo_lets_no_two_projects_run_in_one_directory(db):
    row, other = failed_row(db, status="processing"), failed_row(db, status="queued")
    lost = repair.running(row, {**RUNNING, "grace": {"expired": True, "deadline_at": 9.0}})
    backup = repaired(db, lost)
    db.connection.execute("UPDATE project_queue SET session_name = 's' WHERE id = ?", (other["id"],))
    db.move(other["id"], "start", "t")
    (undone,) = repairing.undo(db, backup)
    assert not undone["applied"] and f"project {other['id']} runs in its directory" in undone["reason"]
    assert db.project(row["id"])["status"] == "failed"
    db.move(other["id"], "error", "t")
    (undone,) = repairing.undo(db, backup)
    assert undone["applied"] and db.project(row["id"])["status"] == "processing"


def at_first(path):
    """A database as the first version made it."""
    connection = file.connect(path)
    file.script(connection, file.migrations()[0])
    connection.execute("PRAGMA user_version = 1")
    return store.Store(connection, path)


def test_a_backup_of_an_older_schema_undoes_what_was_repaired_before_the_migration(tmp_path):
    db = at_first(str(tmp_path / "x.db"))
    backup = repaired(db, end_over(db), agent_gone(db))
    db.connection.close()
    with contextlib.closing(store.write(db.path).connection) as connection:
        db = store.Store(connection, db.path)
        assert [row["applied"] for row in repairing.undo(db, backup)] == [True, True]
        assert db.project(1)["completed_at"] == 5.0 and len(db.agents()) == 1
