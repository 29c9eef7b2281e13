"""The real programs are installed once into .cache/agents, and the tests are run against them and against our stub."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import PACKAGES, ROOT, Claude, Codex, Stub, World

CACHE = ROOT / ".cache" / "agents"
PROGRAMS = {"stub": Stub, "claude": Claude, "codex": Codex}
# What npm says when the registry cannot be reached, or lets nobody in. Anything else is our failure.
REFUSED = re.compile(
    r"code (E401|E403|E429|E5\d\d|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"
    r"|ERR_SOCKET_TIMEOUT|EPROTO|UNABLE_TO_\w+|SELF_SIGNED_\w+)"
)


def pytest_addoption(parser):
    parser.addoption(
        "--times",
        type=int,
        default=1,
        help="how often each situation is played on the real programs; on the stub four times as often",
    )
    parser.addoption("--record", action="store_true", help="record the screens of known states into tests/screens")


def pytest_generate_tests(metafunc):
    if "program" in metafunc.fixturenames:
        times = metafunc.config.getoption("--times")
        only = metafunc.definition.get_closest_marker("only")
        names = only.args if only else PROGRAMS
        often = {"stub": 4 * times if times > 1 else 1}
        rounds = [(name, number) for name in names for number in range(often.get(name, times))]
        ids = [name if times == 1 else f"{name}{number + 1}" for name, number in rounds]
        metafunc.parametrize("program", [name for name, _ in rounds], ids=ids, indirect=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "only(names): the programs that a test is about")


@contextlib.contextmanager
def locked(path):
    """One installation at a time; the others wait for it and find it done."""
    with open(path, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def works(folder, name):
    program = folder / "node_modules" / ".bin" / name
    if not os.access(program, os.X_OK):
        return False
    env = {"PATH": f"{os.path.dirname(shutil.which('node') or '/')}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run([program, "--version"], env=env, capture_output=True, text=True, timeout=120, check=False)
    return PACKAGES[name][1] in done.stdout.split()


def install(name):
    """The folder of an installed program; skips the test where the registry refuses."""
    package, version = PACKAGES[name]
    folder = CACHE / f"{package.rpartition('/')[2]}-{version}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "lock"):
        if works(folder, name):
            return folder
        for tool in ("node", "npm"):
            if not shutil.which(tool):
                pytest.fail(f"'{tool}' is not on PATH: install Node.js to test the real program", pytrace=False)
        shutil.rmtree(folder, ignore_errors=True)
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        words = ["npm", "install", "--prefix", new, "--no-audit", "--no-fund", f"{package}@{version}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode and REFUSED.search(done.stderr):
            pytest.skip(f"the registry refused: {REFUSED.search(done.stderr)[0]}")
        if done.returncode:
            pytest.fail(f"npm install: {done.stderr[-2000:]}", pytrace=False)
        script = new / "node_modules" / package / "install.cjs"
        if not works(new, name) and script.exists():  # npm may be told not to run it: it puts the binary in its place
            subprocess.run(["node", script], cwd=script.parent, capture_output=True, timeout=300, check=False)
        if not works(new, name):
            pytest.fail(f"the installed program does not say that it is {version}: {done.stdout[-1000:]}", pytrace=False)
        os.rename(new, folder)
        return folder


@pytest.fixture(scope="session")
def real():
    """A real program with its path, by its name; installed when it is first asked for."""

    def get(name):
        if not hasattr(PROGRAMS[name], "program"):
            PROGRAMS[name].program = Path(install(name) / "node_modules" / ".bin" / name)
        return PROGRAMS[name]

    return get


@pytest.fixture
def program(request, real):
    return Stub if request.param == "stub" else real(request.param)


@pytest.fixture
def tui():
    """The renderer; tests that play in both are parametrised over it."""
    return "fullscreen"


@pytest.fixture
def world(program, tui):
    with World(program, tui) as world:
        yield world
        nothing_outside(world)


@pytest.fixture
def pane(world):
    """The developer of a running project, briefed and at its prompt."""
    world.start()
    return world.pane("1/developer")


def nothing_outside(world):
    assert not world.program.elsewhere(), "somebody tried to reach another host"


class Calm:
    """Started worlds that many tests share, by program and renderer, as long as each leaves its agent at its prompt."""

    def __init__(self):
        self.worlds = {}

    def get(self, program, tui):
        world = self.worlds.get((program, tui))
        if world and not self.at_rest(world):
            self.worlds.pop((program, tui)).close()
            world = None
        if not world:
            world = self.worlds[program, tui] = World(program, tui)
            world.start()
        return world

    def at_rest(self, world):
        pane = world.pane("1/developer")
        try:
            pane.is_idle()
        except AssertionError:
            return False
        return pane.is_empty()

    def close(self):
        for world in self.worlds.values():
            world.close()


@pytest.fixture(scope="session")
def calm_worlds():
    worlds = Calm()
    yield worlds
    for world in worlds.worlds.values():
        nothing_outside(world)
    worlds.close()


@pytest.fixture
def calm(program, tui, calm_worlds):
    """A world that other tests used before: its agent 1/developer is at its prompt."""
    return calm_worlds.get(program, tui)
