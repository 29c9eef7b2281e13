"""What a run of starts owes its projects, whatever happens to one of them."""

import pytest
from tmuxorch import config, store
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
