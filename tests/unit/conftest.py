"""What the unit tests share: settings and profiles as they are packaged, a world of its own, and waiting."""

import os
import shutil
import subprocess
import tempfile
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir
from tmuxorch import agents, config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEADLINE_S = 30.0

# The same examples every time and no deadline: a slow machine fails no test.
set_hypothesis_home_dir(os.path.join(ROOT, ".cache", "hypothesis"))
settings.register_profile(
    "unit", max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


def until(condition, what="it"):
    """Wait for a condition, never for a time; what it found."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture(name="until")
def until_fixture():
    return until


@pytest.fixture(scope="session")
def defaults():
    """The settings with no config file."""
    return config.load({"HOME": "/nowhere"})


@pytest.fixture(scope="session")
def claude(defaults):
    return agents.profile(defaults, "claude")


@pytest.fixture(scope="session")
def stub(defaults):
    return agents.profile(defaults, "stub")


@pytest.fixture
def short():
    """A private directory with a short name: the path of a socket has at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="tmo-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def socket(short, monkeypatch):
    """A tmux socket of our own, its server ended afterwards; no user's tmux.conf is read."""
    monkeypatch.setenv("HOME", short)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("TMUX", raising=False)
    path = f"{short}/tmux"
    yield path
    subprocess.run(["tmux", "-S", path, "kill-server"], capture_output=True, timeout=20, check=False)
