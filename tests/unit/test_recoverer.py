"""What a run of recoveries owes its agents, whatever happens to one of them."""

import os
import subprocess

import pytest
from tmuxorch import config, store
from tmuxorch.errors import Error, Later
from tmuxorch.steps import recover
from tmuxorch.steps.launch import homed
from tmuxorch.steps.logins import Logins
from tmuxorch.steps.recover import Recoverer, return_key


@pytest.fixture
def recoverer(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    return Recoverer(settings, store.write(settings.db), dry=False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Error("tmux said something new"), "tmux said something new"),
        (PermissionError(13, "Permission denied", "/b"), "cannot use '/b': Permission denied"),
    ],
)
def test_one_that_cannot_be_briefed_leaves_the_others_to_be_briefed(error, reason, tmp_path, monkeypatch):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    recoverer = Recoverer(settings, store.write(settings.db), dry=False)
    rows = [{"project_id": None, "role": role, "pane_id": "%1", "health": {"state": "shell"}} for role in ("a", "b", "c")]
    project = {"id": 1, "run": "r", "status": "processing"}
    plans = [{"action": "relaunch", "result": "planned", "reason": None, "briefed": False, "project": project} for _ in rows]
    recoverer.relaunched = list(zip(rows, plans, strict=True))

    def brief(_, role):
        if role == "b":
            raise error
        return {"state": "submitted", "reason": None}

    monkeypatch.setattr(recoverer.launcher, "wait_ready", lambda keys: dict.fromkeys(keys, {"state": "idle"}))
    monkeypatch.setattr(recoverer.launcher, "brief", brief)
    monkeypatch.setattr(recoverer.db, "project", lambda _: project)
    recoverer.await_relaunched()
    assert [(plan["result"], plan["briefed"]) for plan in plans] == [("done", True), ("failed", False), ("done", True)]
    assert plans[1]["reason"] == reason
    assert [event["dest"] for event in recoverer.db.events(kind="recovery")] == ["done", "failed", "done"]


@pytest.mark.parametrize("now", [{"run": "r", "status": "cancelled"}, {"run": "s", "status": "processing"}])
def test_nobody_is_briefed_whose_project_was_moved_meanwhile(now, recoverer, monkeypatch):
    before = {"id": 1, "run": "r", "status": "processing"}
    row = {"project_id": 1, "role": "a", "pane_id": "%1", "health": {"state": "shell"}}
    plan = {"action": "relaunch", "result": "planned", "reason": None, "briefed": False, "project": before}
    recoverer.relaunched = [(row, plan)]
    monkeypatch.setattr(recoverer.launcher, "wait_ready", lambda keys: dict.fromkeys(keys, {"state": "idle"}))
    monkeypatch.setattr(recoverer.launcher, "brief", lambda *_: {"state": "submitted", "reason": None})
    monkeypatch.setattr(recoverer.db, "project", lambda _: {**before, **now})
    monkeypatch.setattr(recoverer, "record", lambda *_: None)
    recoverer.await_relaunched()
    assert (plan["result"], plan["briefed"]) == ("failed", False)
    assert plan["reason"] == "project 1 was moved while its agent was launched"


def test_a_file_that_stops_one_recovery_stops_no_other(recoverer, monkeypatch):
    db = recoverer.db
    with db.transaction():
        values = {"name": "a", "status": "queued", "enqueued_at": 1, "agent": "stub", "roles": "developer"}
        number = db.insert("project_queue", values)
    db.save_agent(number, "developer", {"agent": "stub"})

    def look(*_):
        raise PermissionError(13, "Permission denied", "/b")

    monkeypatch.setattr(recover, "Look", look)
    row = {"project_id": number, "role": "developer", "pane_id": "%1", "health": {"state": "shell"}}
    plan = {"action": "relaunch", "result": "planned", "hold": None, "known": {"next_recovery_at": None}}
    recoverer.act(row, plan)
    assert (plan["result"], plan["reason"]) == ("failed", "cannot use '/b': Permission denied")


def test_relaunches_that_nobody_could_wait_for_are_recorded(recoverer, monkeypatch):
    def wait_ready(keys):
        raise Later("tmux does not answer")

    monkeypatch.setattr(recoverer.launcher, "wait_ready", wait_ready)
    row = {"project_id": None, "role": "a", "pane_id": "%1", "health": {"state": "shell"}}
    plan = {"action": "relaunch", "result": "planned", "reason": None, "briefed": False}
    recoverer.relaunched = [(row, plan)]
    recoverer.await_relaunched()
    assert [(event["dest"], event["why"]) for event in recoverer.db.events(kind="recovery")] == [
        ("failed", "tmux does not answer")
    ]


def pilot_of(recoverer, monkeypatch, message_state, enabled):
    """A login hold whose first to come back has a message in this state, after one look at it."""
    db = recoverer.db
    db.set_hold("agent/stub", "login", "me", None, credential="rejected", pilot="7/developer")
    hold = db.all_holds()[0]
    agent = {"needs_human": 0, "state": "login", "confirmed": 1}
    monkeypatch.setattr(db, "agent", lambda *_: agent)
    monkeypatch.setattr(db, "project", lambda _: {"id": 7, "status": "processing", "agent": "stub", "batch_id": None})
    times = dict.fromkeys(("created_at", "due_at", "next_attempt_at", "expires_at"), 1)
    message = {"key": return_key(hold, 7, "developer"), "target": "7/developer", "text": "x", "actor": "me"}
    db.add_message({**message, "state": message_state, **times})
    recoverer.config["enabled"] = enabled
    recoverer.watch_pilot(hold, "stub")
    return db.all_holds()[0]


def test_what_a_pilot_was_not_told_says_nothing_of_a_new_credential(recoverer, monkeypatch):
    hold = pilot_of(recoverer, monkeypatch, "held", 100)
    assert (hold["pilot"], hold["credential"]) == (None, "rejected")


def test_a_pilot_outside_the_rollout_makes_room(recoverer, monkeypatch):
    assert pilot_of(recoverer, monkeypatch, "typing", 0)["pilot"] is None


def held_until(recoverer, **changed):
    """(when, why) a limit hold ends after an agent was found limited too. The hold was set 100 s ago."""
    db, at = recoverer.db, store.now()
    db.enqueue([{"name": "p", "agent": "stub", "roles": "developer", "enqueued_at": 0}])
    db.save_agent(1, "developer", {"agent": "stub", "evidence": changed.pop("evidence", '["transcript"]')})
    db.set_hold("agent/stub", "limit", "me", "resets soon", next_probe_at=at + 500, since_at=at - 100)
    health = {"state": "limited", "confirmed": True, "detail": "resets Dec 2", "since_at": at - 10,
              "reset_at": at + 90_000, "last_activity_at": at - 10, **changed}  # fmt: skip
    recoverer.hold({"project_id": 1, "role": "developer", "health": health})
    hold = db.all_holds()[-1]
    return round(hold["next_probe_at"] - at), hold["why"]


def test_a_later_end_of_a_limit_moves_the_hold(recoverer):
    assert held_until(recoverer) == (90_060, "resets Dec 2")


@pytest.mark.parametrize(
    "changed",
    [
        {"reset_at": None},  # it would move with every look
        {"reset_at": 1_000_000_000.0},
        {"reset_at": 9_000_000_000.0},
        {"evidence": '["screen"]'},
        {"confirmed": False},
    ],
)
def test_what_names_no_later_end_moves_no_hold(recoverer, changed):
    assert held_until(recoverer, **changed) == (500, "resets soon")


def test_an_error_of_before_the_last_release_moves_no_hold(recoverer):
    recoverer.db.set_hold("agent/stub", "limit", "me", None)
    recoverer.db.release_hold("me", name="agent/stub")
    recoverer.db.update("hold", {"name": "agent/stub"}, {"released_at": store.now() - 50})
    at = store.now()
    assert held_until(recoverer, since_at=at - 60, last_activity_at=at - 60) == (500, "resets soon")


def test_nor_does_one_in_whose_directory_another_works(recoverer):
    """Their commits count as moves of both."""
    recoverer.db.set_hold("agent/stub", "limit", "me", None)
    recoverer.db.release_hold("me", name="agent/stub")
    recoverer.db.update("hold", {"name": "agent/stub"}, {"released_at": store.now() - 50})
    assert held_until(recoverer, since_at=store.now() - 60) == (500, "resets soon")


@pytest.mark.parametrize(("installed", "logged_in", "may"), [(False, True, False), (True, False, False), (True, True, True)])
def test_a_login_without_its_program_ends_no_hold(recoverer, monkeypatch, installed, logged_in, may):
    recoverer.db.set_hold("agent/stub", "login", "me", None)
    monkeypatch.setattr(Logins, "check", lambda *_: {"installed": installed, "logged_in": logged_in})
    recoverer.tend_holds()
    assert len(recoverer.db.holds(store.now())) == (0 if may else 1)


def test_what_could_not_be_typed_now_is_not_typed_into_an_agent_that_is_well_later(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    recoverer = Recoverer(settings, store.write(settings.db), dry=False)
    times = dict.fromkeys(("created_at", "due_at", "next_attempt_at", "expires_at"), store.now())
    message = {"key": "compact/r/1/1", "target": "1/developer", "text": "/compact", "actor": "tmo-recover", **times}
    recoverer.db.add_message({**message, "state": "held", "reason": "the pane is in use"})
    found = recoverer.withdrawn(recoverer.db.message(message["key"]))
    assert (found["state"], found["reason"]) == ("expired", "not now: the pane is in use")
    assert recoverer.withdrawn(found) is found


@pytest.fixture
def nudged(recoverer, tmp_path):
    """A stuck agent in a repository that was nudged three times since: what is counted of that."""
    db, work = recoverer.db, tmp_path / "work"
    subprocess.run(["git", "init", "-q", str(work)], check=True, timeout=20)
    db.enqueue([{"name": "p", "agent": "stub", "roles": "developer", "enqueued_at": 0, "project_path": str(work)}])
    db.save_agent(1, "developer", {"agent": "stub"})
    for _ in range(3):
        db.event("recovery", "nudge", "tmo-recover", project_id=1, role="developer", source="idle", dest="done")
    db.event("recovery", "nudge", "tmo-recover", project_id=1, role="developer", source="api_error", dest="done")
    idle = {"state": "idle", "is_stuck": True}
    return lambda **seen: recoverer.nudges(db.project(1), db.agent(1, "developer"), {**idle, **seen})


def later():
    """A moment after all that was written down so far."""
    end = store.now()
    while store.now() == end:
        pass
    return store.now()


def test_an_agent_that_only_talks_is_nudged_in_vain(nudged):
    assert nudged() == 3
    assert nudged(is_stuck=False) == nudged(state="api_error") == 0


def test_a_changed_file_is_more_than_talk(nudged, tmp_path):
    path = tmp_path / "work" / "new.txt"
    path.write_text("x")
    os.utime(path, (1, 1))
    assert nudged() == 3
    os.utime(path, (store.now() + 9000,) * 2)  # a clock that is no more
    assert nudged() == 3
    os.utime(path, (later(),) * 2)
    assert nudged() == 0


def test_so_is_a_commit(nudged, tmp_path):
    git = ["git", "-C", str(tmp_path / "work"), "-c", "user.name=t", "-c", "user.email=t@t"]
    later()
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True, timeout=20)
    assert nudged() == 0


def test_so_is_its_word(nudged, recoverer):
    later()
    recoverer.db.event("done", "done", "1/tester", project_id=1, role="tester")
    assert nudged() == 3
    recoverer.db.event("done", "done", "1/developer", project_id=1, role="developer")
    assert nudged() == 0


@pytest.mark.parametrize(
    ("actor", "state", "count"), [("ann", "submitted", 0), ("ann", "held", 3), ("tmo-recover", "submitted", 3)]
)
def test_what_somebody_else_says_to_it_is_a_beginning(nudged, recoverer, actor, state, count):
    at = later()
    times = dict.fromkeys(("created_at", "due_at", "next_attempt_at", "expires_at", "typed_at"), at)
    message = {"key": "k", "project_id": 1, "role": "developer", "target": "1/developer", "text": "x"}
    recoverer.db.add_message({**message, "actor": actor, "state": state, **times})
    assert nudged() == count


def test_so_is_a_call_of_a_person_and_a_move_of_the_project(nudged, recoverer):
    recoverer.db.event("notice", "needs_human", "tmo-recover", project_id=1, role="tester")
    assert nudged() == 3
    recoverer.db.event("notice", "needs_human", "tmo-recover", project_id=1, role="developer")
    assert nudged() == 0
    recoverer.db.event("recovery", "nudge", "tmo-recover", project_id=1, role="developer", source="idle", dest="done")
    assert nudged() == 1
    recoverer.db.move(1, "start", "x", run="r")
    assert nudged() == 0


def test_the_environment_in_which_an_agent_has_a_home(claude):
    bare, set_ = {"HOME": "/h"}, {"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}
    assert homed(claude, bare, "/h/.claude") == homed(claude, set_, "/h/.claude") == bare
    assert homed(claude, bare, "/c") == homed(claude, set_, "/c") == set_
    own = {**claude, "env": {"CLAUDE_CONFIG_DIR": "/own"}}  # set since it was launched
    assert homed(own, bare, "/own") == {"HOME": "/h", "CLAUDE_CONFIG_DIR": "/own"}
    assert homed(own, set_, "/h/.claude") == bare
    assert homed(own, set_, "/c") == set_


def test_a_launch_has_the_home_that_is_written_down_and_the_other_settings(recoverer, claude):
    own = {**claude, "env": {"CLAUDE_CONFIG_DIR": "/own", "EXTRA": "x"}}
    for home, named in (("/own", "/own"), ("/c", "/c"), ("/h/.claude", None)):
        given = homed(own, {"HOME": "/h"}, home)
        found = recoverer.launcher.environment(own, {"id": 1, "project_path": "/p"}, "developer", "r", given)
        assert (found.get("CLAUDE_CONFIG_DIR"), found["EXTRA"]) == (named, "x")


def test_what_a_clock_wrote_that_was_set_back_since_stops_nothing(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    recoverer, ahead = Recoverer(settings, store.write(settings.db), dry=False), store.now() + 90 * 86400
    db = recoverer.db
    db.set_hold("agent/stub", "limit", "me", None, next_probe_at=ahead)
    assert recoverer.may_return(db.all_holds()[0], "stub")
    db.update("hold", {"name": "agent/stub"}, {"released_at": ahead})
    health = {"state": "limited", "since_at": 1, "last_activity_at": 1}
    project = {"id": 1, "agent": "stub", "batch_id": None}
    assert not recoverer.over({"agent": "stub"}, health)
    assert recoverer.released(project, {"role": "developer"}, health) is None
    assert not recoverer.young({"created_at": ahead})
    assert recoverer.young({"created_at": store.now() - 1})
    times = dict.fromkeys(("created_at", "due_at", "next_attempt_at", "expires_at"), 1)
    pane = {"pane_id": "%1", "pane_pid": 1, "server": "s"}
    for key, state, at in (("old", "submitted", ahead), ("new", "typed", store.now())):
        values = {"key": key, "target": "%1", "text": "x", "actor": "me", "state": state, "typed_at": at}
        db.add_message({**values, **pane, **times})
    assert [message["key"] for message in db.typed_in(pane)] == ["new"]
