"""The figures of a night that is written down event by event, with answers worked out by hand."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import figures, health, store
from tmuxorch.store import stats

NOW = 2000.0
PROJECTS = {  # id: (size, present status)
    1: ("small", "completed"), 2: ("medium", "completed"), 3: ("large", "failed"), 4: ("small", "processing"),
    5: ("small", "cancelled"), 6: ("xlarge", "completed"),
}  # fmt: skip
STATUS = [  # at, project, event, dest, actor
    (0, 1, "start", "initializing", "tmo-start"),
    (100, 1, "setup_complete", "processing", "tmo-start"),
    (1000, 1, "work_complete", "completing", "tmo-complete"),
    (1100, 1, "finalize", "completed", "tmo-complete"),
    (0, 2, "start", "initializing", "tmo-start"),
    (100, 2, "setup_complete", "processing", "tmo-start"),
    (1500, 2, "error", "failed", "tmo-complete"),
    (1900, 2, "reinstate", "completed", "user/ann"),  # failed by mistake
    (0, 3, "start", "initializing", "tmo-start"),
    (100, 3, "setup_complete", "processing", "tmo-start"),
    (900, 3, "error", "failed", "tmo-complete"),
    (0, 4, "start", "initializing", "tmo-start"),
    (50, 4, "error", "failed", "tmo-start"),  # no verdict: tmo-start tries again
    (50, 4, "requeue", "queued", "tmo-start"),
    (60, 4, "start", "initializing", "tmo-start"),
    (200, 4, "setup_complete", "processing", "tmo-start"),
    (10, 5, "cancel", "cancelled", "user/ann"),  # it never began
    (0, 6, "enqueue", "queued", "user/ann"),
    (0, 6, "start", "initializing", "tmo-start"),
    (100, 6, "setup_complete", "processing", "tmo-start"),
    (1700, 6, "work_complete", "completing", "tmo-complete"),
    (1800, 6, "finalize", "completed", "tmo-complete"),
]
HEALTH = [  # at, project, source, dest, the look before
    (40, 1, "starting", "idle", 30),  # before it processes: that counts from 100
    (110, 1, "idle", "working", 40),
    (400, 1, "working", "shell", 340),  # found after 60 s
    (430, 1, "shell", "starting", 400),
    (460, 1, "starting", "working", 430),  # back after 60 s
    (1050, 1, "working", "shell", 990),  # its project is not processing any more: no fault
    (110, 3, "starting", "working", 100),
    (500, 3, "working", "hung", 440),  # found after 60 s
    (560, 3, "hung", "dead", 500),  # the same fault, and it never came back
    (210, 4, "starting", "working", 200),
    (330, 4, "working", "login", 210),  # found after 120 s
    (900, 4, "login", "working", 840),  # back after 570 s
    (1900, 4, "working", "unknown", 1840),  # neither well nor at fault
    (300, 6, "working", "idle", 240),
    (1300, 6, "idle", "idle", 1240),  # stuck: found after 60 s
    (1320, 6, "idle", "working", 1300),  # back after 20 s
]
HOLDS = [  # name, cause, since, released, by
    ("agent/stub", "login", 300, 850, "tmo-recover"),
    ("agent/stub", "login", 1000, 1200, "user/ann"),
    ("agent/stub", "login", 1950, None, None),  # not over: it counts for nothing yet
    ("agent/stub", "limit", 100, 200, "tmo-recover"),
]
MESSAGES = [  # project, created, due, [(at, state)]
    (1, 100, 100, [(100, "queued"), (100.5, "typing"), (101.5, "submitted")]),
    (1, 100, 500, [(100, "queued"), (502, "submitted")]),  # for later: it waited 2 s
    (3, 600, 600, [(600, "queued"), (610, "unknown")]),
    (4, 1000, 1000, [(1000, "queued"), (1003, "typed"), (1007, "submitted")]),  # after all
    (4, 1990, 1990, [(1990, "queued"), (1991, "held")]),  # open
]


@pytest.fixture
def night(tmp_path):
    db = store.write(str(tmp_path / "task_queue.db"))
    with contextlib.closing(db.connection) as connection:
        drop_triggers(connection)
        fill(db)
        yield db


def drop_triggers(connection):
    """After this only what is written happened; the triggers' SQL."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in triggers]


def fill(db):
    for number, (size, status) in PROJECTS.items():
        fixed = {"name": "p", "agent": "stub", "roles": "r", "enqueued_at": 0, "session_name": "s"}
        db.insert("project_queue", {"id": number, "size": size, "status": status, **fixed,
                                    "completed_at": None if status == "processing" else 1})  # fmt: skip
    for at, number, name, dest, actor in STATUS:
        event(db, "status", name, at, actor, project_id=number, dest=dest)
    for at, number, source, dest, looked in HEALTH:
        event(db, "health", dest, at, "tmo-health", project_id=number, role="developer", source=source, dest=dest,
              looked_at=looked)  # fmt: skip
    for name, cause, since, released, by in HOLDS:
        db.insert("hold", {"name": name, "cause": cause, "actor": "tmo-recover", "since_at": since, "released_at": released,
                           "released_by": by})  # fmt: skip
    for key, (number, created, due, states) in enumerate(MESSAGES, 1):
        add_message(db, key, number, created, due, states)
    event(db, "message", "queued", 700, "user/ann", project_id=6, message_id=99, dest="queued")  # a hand
    event(db, "message", "queued", 700, "1/developer", project_id=1, message_id=98, dest="queued")  # an agent's is none
    event(db, "hold", "hold", 700, "user/ann", dest="all")  # not about one project
    event(db, "health", "pause", 700, "tmo-health", project_id=1)  # no state of an agent
    event(db, "recovery", "relaunch", 430, "tmo-recover", project_id=1, role="developer", source="shell", dest="done")


def event(db, kind, name, at, actor, **columns):
    db.insert("event", {"kind": kind, "name": name, "at": at, "actor": actor, **columns})


def add_message(db, key, number, created, due, states):
    db.insert("message", {"id": key, "key": str(key), "project_id": number, "target": "t", "text": "x", "actor": "tmo-start",
                          "created_at": created, "due_at": due, "expires_at": 9e9, "next_attempt_at": 0,
                          "state": states[-1][1]})  # fmt: skip
    sources = [None, *[state for _, state in states]]
    for source, (at, state) in zip(sources, states, strict=False):
        event(db, "message", state, at, "tmo-start", project_id=number, message_id=key, source=source, dest=state)


def told(db, since=None):
    return {row["name"]: row for row in figures.figures(stats.units(db, since or 0), since, NOW)}


# Each figure: (numerator, n, value)
WHOLE = {
    "false_failure_rate": (1, 2, 0.5),  # 2 and 3 were called failed; 2 was not
    "manual_intervention_rate": (2, 5, 0.4),  # 2 and 6 of 1, 2, 3, 4, 6
    "login_recovery_rate": (1, 2, 0.5),
    "time_to_detect_p50_s": (None, 4, 60),  # 60, 60, 60, 120
    "time_to_detect_p95_s": (None, 4, 120),
    "success_rate": (3, 4, 0.75),  # 1, 2, 6 of 1, 2, 3, 6
    "success_rate.large": (0, 1, 0),
    "success_rate.medium": (1, 1, 1),
    "success_rate.small": (1, 1, 1),
    "success_rate.xlarge": (1, 1, 1),
    "time_to_detect_p50_s.hung": (None, 1, 60),
    "time_to_detect_p95_s.hung": (None, 1, 60),
    "time_to_detect_p50_s.idle": (None, 1, 60),
    "time_to_detect_p95_s.idle": (None, 1, 60),
    "time_to_detect_p50_s.login": (None, 1, 120),
    "time_to_detect_p95_s.login": (None, 1, 120),
    "time_to_detect_p50_s.shell": (None, 1, 60),
    "time_to_detect_p95_s.shell": (None, 1, 60),
    "fault_recovery_rate": (3, 4, 0.75),  # the hung one never came back
    "time_to_recover_p50_s": (None, 3, 60),  # 20, 60, 570
    "time_to_recover_p95_s": (None, 3, 570),
    "time_to_recover_p50_s.hung": (None, 0, None),
    "time_to_recover_p95_s.hung": (None, 0, None),
    "time_to_recover_p50_s.idle": (None, 1, 20),
    "time_to_recover_p95_s.idle": (None, 1, 20),
    "time_to_recover_p50_s.login": (None, 1, 570),
    "time_to_recover_p95_s.login": (None, 1, 570),
    "time_to_recover_p50_s.shell": (None, 1, 60),
    "time_to_recover_p95_s.shell": (None, 1, 60),
    "login_recovery_p50_s": (None, 2, 200),  # 550, 200
    "login_recovery_p95_s": (None, 2, 550),
    "delivery_rate": (3, 4, 0.75),
    "delivery_p50_s": (None, 3, 2),  # 1.5, 2, 7
    "delivery_p95_s": (None, 3, 7),
    # 1: 10 s idle, 290 working, 30 shell, 30 starting, 540 working: 870 of 900. 3: 390 working, 400 hung and dead.
    # 4: 120 working, 570 login, 1000 working, 100 unknown. 6: from its first look at 300: 1000 idle, 20 stuck, 380 working.
    "health_pass_rate": (870 + 390 + 1120 + 1380, 900 + 790 + 1790 + 1400, 0.770492),
}


def test_every_figure_of_the_night(night):
    found = {name: (row["numerator"], row["n"], row["value"]) for name, row in told(night).items()}
    assert found == WHOLE


def test_what_another_system_failed_or_completed_counts_for_nothing(night):
    before = told(night)
    for number, (status, also) in enumerate((("failed", None), ("completed", None), ("completed", "reinstate")), 7):
        fixed = {"name": "taken over", "agent": "stub", "roles": "r", "enqueued_at": 0, "completed_at": 1}
        night.insert("project_queue", {"id": number, "size": "small", "status": status, **fixed})
        event(night, "status", "enqueue", 5, "tmo-import", project_id=number, dest="failed" if also else status)
        if also:
            event(night, "status", also, 6, "user/ann", project_id=number, source="failed", dest=status)
    assert told(night) == before


def repairs(db, number, name, why, status, evidence=None):
    """What tmo-repair-db leaves in the history: the moves, then the repair; the id of that."""
    for step, dest in status:
        event(db, "status", step, 1950, "tmo-repair-db", project_id=number, dest=dest, why=why)
    event(db, "repair", name, 1950, "tmo-repair-db", project_id=number, evidence=json.dumps(evidence))
    return db.events(number)[-1]["id"]


def test_an_undone_repair_reverses_no_failure(night):
    before = told(night)["false_failure_rate"]
    number = repairs(night, 3, "failed_done", "it is done", [("reinstate", "completed")])
    assert told(night)["false_failure_rate"]["numerator"] == 2
    undo = [("requeue", "queued"), ("error", "failed")]
    repairs(night, 3, "undo", f"undo of the repair in event {number}", undo, {"event": number})
    assert told(night)["false_failure_rate"] == before
    event(night, "status", "reinstate", 1960, "user/ann", project_id=3, dest="completed")
    assert told(night)["false_failure_rate"]["numerator"] == 2


@pytest.mark.parametrize(
    ("columns", "hand"),
    [
        ({"kind": "hold", "name": "hold", "actor": "user/ann", "dest": "project/3"}, True),
        ({"kind": "hold", "name": "release", "actor": "user/ann", "source": "project/3"}, True),
        ({"kind": "hold", "name": "hold", "actor": "user/ann", "dest": "agent/stub"}, False),
        ({"kind": "hold", "name": "hold", "actor": "tmo-recover", "dest": "project/3"}, False),
        ({"kind": "status", "name": "requeue", "actor": "sql", "dest": "queued", "project_id": 3}, True),
        ({"kind": "status", "name": "requeue", "actor": "tmo-start", "dest": "queued", "project_id": 3}, False),
        ({"kind": "message", "name": "queued", "actor": "user/ann", "dest": "queued", "project_id": 3}, True),
        ({"kind": "message", "name": "held", "actor": "user/a", "source": "queued", "dest": "held", "project_id": 3}, False),
        ({"kind": "message", "name": "queued", "actor": "3/developer", "dest": "queued", "project_id": 3}, False),
        ({"kind": "message", "name": "queued", "actor": "user/ann", "dest": "queued"}, False),  # to a pane that is not ours
        ({"kind": "done", "name": "done", "actor": "3/developer", "project_id": 3}, False),
    ],
)
def test_what_is_a_hand_in_a_project(night, columns, hand):
    night.insert("event", {"at": 950, **columns})
    assert told(night)["manual_intervention_rate"]["numerator"] == 2 + hand


def test_only_what_came_since_counts(night):
    found = told(night, 1000)
    assert {row["window"]["since_at"] for row in found.values()} == {1000}
    count = {name: (row["numerator"], row["n"]) for name, row in found.items()}
    assert count["false_failure_rate"] == (1, 1)  # the other one was at 900
    assert count["manual_intervention_rate"] == (1, 4)  # 2, of 1, 2, 4, 6: the word to 6 came before
    assert count["login_recovery_rate"] == (0, 1)
    assert count["success_rate"] == (3, 3)
    assert count["time_to_detect_p95_s"] == (None, 1)  # the idle one
    assert count["delivery_rate"] == (1, 1)
    assert count["health_pass_rate"] == (0 + 900 + 300 + 380, 0 + 1000 + 300 + 20 + 380)  # 1: none, 3: none


def test_targets(night):
    found = told(night)
    judged = {name: (row["bound"], row["target"], row["met"]) for name, row in found.items() if row["target"] is not None}
    assert judged == {
        "false_failure_rate": ("below", 0.05, False),
        "manual_intervention_rate": ("below", 0.02, False),
        "login_recovery_rate": ("at least", 1.0, False),
        "time_to_detect_p95_s": ("at most", 1800.0, True),
        "success_rate": ("above", 0.95, False),
    }
    assert {row["met"] for name, row in found.items() if name not in judged} == {None}


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("false_failure_rate", 0.0499, True), ("false_failure_rate", 0.05, False),
        ("manual_intervention_rate", 0.0199, True), ("manual_intervention_rate", 0.02, False),
        ("login_recovery_rate", 1.0, True), ("login_recovery_rate", 0.9999, False),
        ("time_to_detect_p95_s", 1800.0, True), ("time_to_detect_p95_s", 1800.1, False),
        ("success_rate", 0.9501, True), ("success_rate", 0.95, False), ("success_rate", None, None),
    ],
)  # fmt: skip
def test_the_edge_of_each_target(name, value, met):
    assert figures.judged({"name": name, "value": value})["met"] is met


def test_a_database_in_which_nothing_happened(tmp_path):
    db = store.write(str(tmp_path / "task_queue.db"))
    found = figures.figures(stats.units(db, 0), None, NOW)
    assert {(row["value"], row["n"], row["met"]) for row in found} == {(None, 0, None)}
    assert {"success_rate", "health_pass_rate", "delivery_p95_s"} < {row["name"] for row in found}


def test_the_views_know_the_states_of_health(night):
    sql = night.one("SELECT sql FROM sqlite_schema WHERE name = 'agent_span'")["sql"]
    assert {*health.STUCK, *health.HELD} == words(sql, "draft")
    assert words(sql, "starting") == {"starting", "working", "idle"}


def words(sql, first):
    """The words of the list in a view that begins with this one."""
    return set(json.loads("[" + sql.split(f"IN ('{first}'")[1].split(")")[0].replace("'", '"').lstrip(",") + "]")) | {first}


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values):
    ordered = sorted(values)
    for q in (50, 95):
        found = figures.percentile(ordered, q)
        assert sum(value <= found + 0.001 for value in values) >= q / 100 * len(values)
        assert sum(value < found - 0.001 for value in values) < q / 100 * len(values)


# What the triggers write: the look before a change, and that an agent got stuck


def test_a_change_of_health_knows_the_look_before_it(tmp_path):
    db = store.write(str(tmp_path / "task_queue.db"))
    ((row,), _) = db.enqueue([{"name": "p", "agent": "stub", "roles": "developer", "enqueued_at": 0}])
    key = {"project_id": row["id"], "role": "developer"}
    db.save_agent(**key, values={"agent": "stub", "state": "starting", "launched_at": 50.0})

    def look(at, state, stuck=0):
        db.update("agent_health", key, {"state": state, "is_stuck": stuck, "last_health_check_at": at})
        return [(e["source"], e["dest"], e["why"], e["looked_at"]) for e in db.events(kind="health")]

    assert look(60.0, "idle")[0] == ("starting", "idle", None, 50.0)  # since its launch
    assert len(look(120.0, "idle")) == 1
    assert look(180.0, "idle", 1)[1] == ("idle", "idle", "stuck", 120.0)
    assert len(look(240.0, "idle", 1)) == 2
    assert look(300.0, "shell", 1)[2] == ("idle", "shell", None, 240.0)
    db.save_agent(**key, values={"agent": "stub", "state": "starting", "launched_at": 310.0, "is_stuck": 0})
    assert look(330.0, "dead", 1)[4] == ("starting", "dead", None, 310.0)
    assert len(look(390.0, "dead")) == 5
    assert look(450.0, "idle", 1)[5] == ("dead", "idle", None, 390.0)
    assert look(510.0, "idle")[6] == ("idle", "idle", "unstuck", 450.0)
    db.update("agent_health", key, {"detail": "a message waits"})
    assert look(570.0, "idle", 1)[7] == ("idle", "idle", "a message waits", 510.0)
    assert look(630.0, "idle")[8] == ("idle", "idle", "unstuck", 570.0)


def test_an_agent_that_answered_between_two_looks_is_recovered(night):
    event(night, "health", "idle", 1500, "tmo-health", project_id=6, role="developer", source="idle", dest="idle",
          looked_at=1440, why="stuck")  # fmt: skip
    event(night, "health", "idle", 1560, "tmo-health", project_id=6, role="developer", source="idle", dest="idle",
          looked_at=1500, why="unstuck")  # fmt: skip
    found = {name: (row["numerator"], row["n"], row["value"]) for name, row in told(night).items()}
    assert found["fault_recovery_rate"] == (4, 5, 0.8)
    assert found["time_to_recover_p95_s.idle"] == (None, 2, 60)
    numerator, n, _ = WHOLE["health_pass_rate"]
    assert found["health_pass_rate"][:2] == (numerator - 60, n)
