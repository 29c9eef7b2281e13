"""tmo-notify is killed at every line that it comes to: each event is told, and twice only where its command had begun."""

import json
import os
import signal
import subprocess
import sys

import pytest
from harness import ROOT
from tmuxorch import store

DIES = [sys.executable, ROOT / "tests" / "chaos" / "dies.py"]
NOTIFY = ROOT / "bin" / "tmo-notify"


@pytest.fixture
def world(tmp_path):
    (tmp_path / "config.toml").write_text(
        f"notify_command = '''cat >>{tmp_path}/told'''\nnotify_after_s = 0\nnotify_per_hour = 100000\n"
    )
    os.environ.update(TMO_DB=str(tmp_path / "task_queue.db"), TMO_CONFIG=str(tmp_path / "config.toml"))
    yield tmp_path
    del os.environ["TMO_DB"], os.environ["TMO_CONFIG"]


def run(where):
    return subprocess.run([*DIES, where, NOTIFY], capture_output=True, text=True, timeout=60, check=False)


def fail_one(db, name):
    """A project that failed: the event of it is to be told."""
    values = {"name": name, "agent": "stub", "roles": "developer", "enqueued_at": store.now()}
    ((project,), _) = db.enqueue([values])
    assert db.move(project["id"], "error", "test", "because")


def told(world, name):
    if not (world / "told").exists():
        return 0
    texts = [json.loads(line)["notify"]["text"] for line in (world / "told").read_text().splitlines()]
    return sum(f"({name})" in text for text in texts)


def test_killed_at_every_line(world):
    db = store.write(os.environ["TMO_DB"])
    fail_one(db, "whole")
    lines = run("-").stderr.split()
    assert len(lines) > 100 and told(world, "whole") == 1
    killed = twice = 0
    for number, line in enumerate(lines):
        name = f"line{number}"
        fail_one(db, name)
        done = run(line)
        assert done.returncode in (0, -signal.SIGKILL), (line, done)
        killed += done.returncode == -signal.SIGKILL
        (open_,) = [row["notification"] for row in db.notifications()] or [None]
        again = subprocess.run([NOTIFY], capture_output=True, text=True, timeout=60, check=False)
        assert again.returncode == 0, (line, again)
        assert db.notifications() == [], line
        most = 2 if open_ and open_["state"] == "sending" else 1
        assert 1 <= told(world, name) <= most, line
        twice += told(world, name) == 2
    assert killed > 0.9 * len(lines)
    assert twice  # it was killed behind its command too
