"""What a run of starts owes its projects, whatever happens to one of them."""

import contextlib

import pytest
from tmuxorch import config, store
from tmuxorch import project as projects
from tmuxorch.errors import Later
from tmuxorch.steps.start import Starter


@pytest.fixture
def starter(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "queue.db")})
    return Starter(settings, store.write(settings.db), limit=4, wanted=None)


def queued(db, path, **columns):
    """The number of a project that is queued in this directory."""
    path.mkdir()
    values = {"name": path.name, "project_path": str(path), "status": "queued", "enqueued_at": 1, "agent": "stub", **columns}
    with db.transaction():
        return db.insert("project_queue", {"roles": "developer", **values})


def waiting(starter, tmp_path, *names):
    """The numbers of projects that this start took up in `authenticating`."""
    numbers = [queued(starter.db, tmp_path / name) for name in names]
    for number in numbers:
        for event in ("start", "auth_required"):
            assert starter.db.move(number, event, "me", session_name=f"s-{number}", claimed_by=starter.claimer, run="r")
    return numbers


def test_what_waits_for_its_login_takes_a_place_when_it_goes_on(starter, tmp_path, monkeypatch):
    one, two = waiting(starter, tmp_path, "one", "two")
    three = queued(starter.db, tmp_path / "three")
    starter.limit = 1
    monkeypatch.setattr(
        starter.logins, "check", lambda *_: {"missing": [], "trusted": True, "logged_in": True, "method": "key"}
    )
    monkeypatch.setattr(starter, "set_up", lambda ready: None)
    rows, status = starter.run()
    assert status == 75
    assert [(row["id"], row["status"], row["error_message"]) for row in rows] == [
        (one, "setting_up", None),
        (two, "authenticating", "no free place: 1 may run at once"),
    ]
    assert starter.db.project(three)["status"] == "queued"  # it came later
    assert starter.db.events(kind="auth") == []  # a person would be called


def test_two_starts_at_once_never_pass_the_limit(starter, tmp_path, monkeypatch):
    one, two = waiting(starter, tmp_path, "one", "two")
    starter.limit = 1
    other = Starter(starter.config, store.write(starter.db.path), limit=1, wanted=None)
    full, seen = projects.full, []
    monkeypatch.setattr(store.file, "BUSY_S", 0.1)

    def meanwhile(*asked):
        """Whether no place is free; the other start looks right after this one did, before this one moves."""
        found = full(*asked)
        if not seen:
            seen.append(two)
            with contextlib.suppress(Later):
                other.placed(other.db.project(two), "logged in")
        return found

    monkeypatch.setattr(projects, "full", meanwhile)
    assert starter.placed(starter.db.project(one), "logged in")
    assert not other.placed(other.db.project(two), "logged in")
    assert seen and [row["id"] for row in starter.db.projects(status=("setting_up",))] == [one]


@pytest.mark.parametrize("step", ["check", "start", "brief"])
def test_a_file_that_stops_one_project_is_no_trouble_of_the_others(starter, step, tmp_path, monkeypatch):
    bad, good = (queued(starter.db, tmp_path / name, max_retries=0) for name in ("bad", "good"))

    def stops(name, answer):
        def act(project, *_):
            if name == step and project in ("bad", str(tmp_path / "bad")):
                raise PermissionError(13, "Permission denied", "/etc/x")
            return answer

        return act

    check, start, brief = (
        stops("check", {"missing": [], "trusted": True, "logged_in": True, "method": "key"}),
        stops("start", None),
        stops("brief", {"state": "submitted"}),
    )
    monkeypatch.setattr(starter.logins, "check", lambda _, directory: check(directory))
    monkeypatch.setattr(starter.launcher, "start", lambda project: start(project["name"]))
    monkeypatch.setattr(starter.launcher, "brief", lambda project, _: brief(project["name"]))
    monkeypatch.setattr(starter.launcher, "wait_ready", lambda keys: dict.fromkeys(keys, {"state": "idle"}))
    monkeypatch.setattr(starter.launcher, "end", lambda *_: True)
    rows, _ = starter.run()
    assert {row["id"]: row["status"] for row in rows} == {bad: "failed", good: "processing"}
    assert starter.troubles == [f"project {bad}: cannot use '/etc/x': Permission denied"]
