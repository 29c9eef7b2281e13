"""Projects from tmo-enqueue to completed in the real program, by the lines that a user's cron runs."""

import json
import threading

import pytest
from harness import POLL_S, World, bare, until

FREE = ["--permission-mode", "acceptEdits", "--allowedTools", "Bash"]
SPEC = """\
# A greeting

Write the file hello.txt. Its only line is: hello, world
"""
OWN_KEYS = {
    "theme": "light", "numStartups": 7, "tipsHistory": {"shift-enter": 3},
    "projects": {"/srv/other project": {"hasTrustDialogAccepted": True, "allowedTools": ["Bash(ls:*)"]}},
}  # fmt: skip

pytestmark = pytest.mark.only("claude")


@pytest.fixture
def world(program):
    with World(program, args=FREE) as world:
        yield world
        assert not world.program.elsewhere()


class Watcher(threading.Thread):
    """Sees every screen of a world while something happens; keeps those that show a dialog."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.over, self.looks, self.dialogs = world, threading.Event(), 0, []

    def run(self):
        while not self.over.wait(POLL_S):
            try:
                panes = self.world.tmux("list-panes", "-a", "-F", "#{pane_id}").split()
                shots = [self.world.tmux("capture-pane", "-p", "-t", pane) for pane in panes]
            except AssertionError:
                continue  # no server yet, or a pane that just ended
            self.looks += bool(shots)
            self.dialogs += [shot for shot in shots if "Accessing workspace" in shot or "Enter to confirm" in shot]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def play(world, status="completed"):
    """Cron, minute after minute, until the project has this status; its row."""

    def there():
        world.cron("start", "deliver", "watch", "complete")
        row = world.tmo("tmo-project").row
        return row if row["status"] == status else None

    return until(there, lambda: f"{status}: {world.tmo('tmo-project').rows}\n{world.tmo('tmo-log').rows[-6:]}", 90)


def briefing(world, role="developer"):
    """The text with which a role was started."""
    rows = world.sql("SELECT text FROM message WHERE key LIKE 'briefing/%' AND role = ?", role)
    assert len(rows) == 1
    return rows[0]["text"]


def events(world, kind):
    return [row for row in world.tmo("tmo-log").rows if row["kind"] == kind]


def calls(world):
    """What the model had the agents run."""
    return [row["action"]["input"].get("command") for row in world.program.requests() if "tool" in row["action"]]


def test_one_project_from_a_spec_to_completed(world):
    program = world.program
    config = json.loads(program.config_file.read_text())
    program.config_file.write_text(json.dumps({**config, **OWN_KEYS}))
    row = world.enqueue(SPEC, "-v", "grep -qx 'hello, world' hello.txt && git log --oneline | grep -q greet")
    assert row["status"] == "queued"
    program.does(
        f"The spec is {world.dir}/spec.md",
        ("run", f"cat {world.dir}/spec.md"),
        ("write", "hello.txt", "hello, world"),
        ("run", "git add hello.txt && git commit -q -m greet"),
        ("run", "tmo-done -m 'wrote the greeting'"),
    )
    with Watcher(world) as watcher:
        done = play(world)
    assert watcher.looks and watcher.dialogs == []
    assert (world.project / "hello.txt").read_text() == "hello, world\n"
    assert world.git("log", "--format=%an %s", "main").splitlines() == ["agent greet", "agent start"]
    assert world.git("status", "--porcelain") == ""

    # Trust was given before the launch, and what stood in the file stands there still.
    names = [(event["kind"], event["name"]) for event in world.tmo("tmo-log").rows]
    assert names.index(("trust", "given")) < names.index(("launch", "start"))
    config = json.loads(program.config_file.read_text())
    assert config["projects"][str(world.project)]["hasTrustDialogAccepted"] is True
    assert config["projects"]["/srv/other project"] == OWN_KEYS["projects"]["/srv/other project"]
    assert config["tipsHistory"].items() >= OWN_KEYS["tipsHistory"].items()
    assert config["theme"] == "light" and config["customApiKeyResponses"]["approved"]

    program.took(briefing(world))
    assert calls(world)[-1] == "tmo-done -m 'wrote the greeting'"
    assert [(event["actor"], event["why"]) for event in events(world, "done")] == [("1/developer", "wrote the greeting")]
    moves = [event["name"] for event in events(world, "status")]
    assert moves == ["enqueue", "start", "auth_required", "auth_complete", "setup_complete", "work_complete", "finalize"]
    verified = [event for event in events(world, "status") if event["name"] == "finalize"][0]
    assert verified["evidence"]["status"] == 0 and verified["evidence"]["command"] == row["verify_command"]
    assert done["retry_count"] == done["rework_count"] == 0
    assert [message["state"] for message in world.account()] == ["submitted"]


def test_the_orchestrator_writes_to_the_developer(world):
    program = world.program
    world.enqueue(SPEC, "-r", "orchestrator,developer", "-v", "test -e hello.txt")
    task, report = "please write the greeting, and commit it", "the greeting is committed"
    program.does("You are the orchestrator", ("run", f"tmo-send 1/developer '{task}'"))
    program.does("You are the developer", ("say", "I wait for the orchestrator."))
    program.does(
        task,
        ("write", "hello.txt", "hello, world"),
        ("run", "git add hello.txt && git commit -q -m greet"),
        ("run", f"tmo-send 1/orchestrator '{report}'"),
    )
    program.does(report, ("run", "tmo-done -m 'the developer wrote it'"))
    play(world)
    messages = {message["text"]: message for message in world.account()}
    assert messages[task]["actor"] == "1/orchestrator" and messages[task]["state"] == "submitted"
    assert messages[report]["actor"] == "1/developer" and messages[report]["state"] == "submitted"
    assert len(messages) == 4
    program.took(briefing(world, "orchestrator"))
    program.took(briefing(world, "developer"))
    # Each of them has a conversation of its own.
    whose = {row["session"] for row in program.requests() if bare(task) in bare(row["prompt"])}
    sessions = {row["session"] for row in program.requests()}
    assert len(sessions) == 2 and len(whose) == 1
    assert [event["actor"] for event in events(world, "done")] == ["1/orchestrator"]


def test_a_failed_check_comes_back_to_the_agent(world):
    program = world.program
    world.enqueue(SPEC, "-v", "test -s hello.txt || { echo 'hello.txt is empty'; exit 3; }")
    program.does(
        "You are the developer",
        ("run", "touch hello.txt && git add hello.txt && git commit -q -m empty"),
        ("run", "tmo-done -m 'wrote it, I think'"),
    )
    program.does(
        "The check of project 1 did not pass",
        ("run", "echo 'hello, world' >hello.txt && git commit -q -a -m greet"),
        ("run", "tmo-done -m 'now it is there'"),
    )
    done = play(world)
    assert done["rework_count"] == 1
    moves = [event["name"] for event in events(world, "status")]
    assert moves[-4:] == ["work_complete", "rework", "work_complete", "finalize"]
    rework = [message for message in world.account() if message["key"].startswith("rework/")]
    assert len(rework) == 1 and rework[0]["state"] == "submitted"
    assert "hello.txt is empty" in rework[0]["text"] and "status 3" in rework[0]["text"]
    program.took(rework[0]["text"])
