"""tmo-send is killed at every line that it comes to: each message is there once, or was never taken on."""

import signal
import subprocess
import sys

from harness import ROOT, until

TARGET = "1/developer"
DIES = [sys.executable, ROOT / "tests" / "chaos" / "dies.py"]


def run(world, where, key, text):
    command = [*DIES, where, ROOT / "bin" / "tmo-send", "-k", key, TARGET, text]
    return subprocess.run(command, env=world.env, capture_output=True, text=True, timeout=60, check=False)


def later(world):
    """As if the seconds were over after which tmo-deliver believes that an agent never saw a text."""
    world.write(
        "UPDATE message SET typed_at = typed_at - 10, next_attempt_at = 0 WHERE state IN ('typing', 'held', 'queued')"
    )


def test_killed_at_every_line(world):
    world.start()
    pane = world.pane(TARGET)
    lines = run(world, "-", "whole", "the whole way").stderr.split()
    assert len(lines) > 150 and world.message("whole")["state"] == "submitted"
    killed = 0
    for line in lines:
        text = f"killed at {line} end"
        done = run(world, line, line, text)
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), (line, done)
        if not world.message(line):
            assert world.program.taken(text) == 0, line
            continue

        def submitted(key=line):
            later(world)
            world.tmo("tmo-deliver")
            return world.message(key)["state"] == "submitted"

        until(submitted, lambda key=line: f"{world.message(key)}\n{pane.screen()}")
        pane.is_idle()
        assert world.program.taken(text) == 1, line
        assert pane.is_empty(), line
    assert killed > 0.9 * len(lines)  # a line of a poll may not be come to again
    world.account()
