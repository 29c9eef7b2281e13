"""Probes that fail: a tmux that hangs, fails or is late, processes that cannot be read, registries half-written.

Healthy agents may be called `unknown` then, and nothing worse. The looks are in process, so that /proc can fail.
"""

import errno
import json
import os
import random

import pytest
from harness import until
from tmuxorch import config, proc, store
from tmuxorch.errors import Later
from tmuxorch.steps import look

AGENTS, LOOKS = 6, 500
ROLES = "developer,tester,researcher"
WELL = {"idle", "working", "unknown"}
TMUX = """#!/bin/sh
case $(cat "$0.fault") in
hang) exec sleep 100 ;;
fail) exit 1 ;;
lost) echo "lost server" >&2; exit 1 ;;
odd) echo "something new happened" >&2; exit 1 ;;
cut) REAL "$@" | head -c 300; exit 1 ;;
garbage) echo "%0 what"; exit 0 ;;
late) sleep 0.05 ;;
esac
exec REAL "$@"
"""
FAULTS = ["ok", "ok", "ok", "hang", "fail", "lost", "odd", "cut", "garbage", "late"]


@pytest.fixture
def panes(world, monkeypatch):
    """Agents at their prompts, some of ours and some a person's, and a tmux in front of the real one that can be told to
    fail."""
    world.program.trust(world.project)
    world.enqueue(world.program.does("Be there.", ("say", "I am here.")), "-r", ROLES)
    made = [world.bare_pane(ready=False, trusted=False) for _ in range(AGENTS // 2)]
    until(lambda: world.tmo("tmo-start") and world.tmo("tmo-project").row["status"] == "processing", "the project to start")
    made += [world.pane(f"1/{role}") for role in ROLES.split(",")]
    for pane in made:
        pane.is_idle()
    world.tmo("tmo-health")  # what follows begins with what a look before has seen
    fake = world.dir / "bin" / "tmux"
    real = next(path for path in ("/usr/bin/tmux", "/usr/local/bin/tmux", "/opt/homebrew/bin/tmux") if os.path.exists(path))
    fake.write_text(TMUX.replace("REAL", real))
    fake.chmod(0o755)
    fault(world, "ok")
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    return made


def fault(world, name):
    (world.dir / "bin" / "tmux.fault").write_text(name)


def looks(world, chance, act, clock=store.now):
    """LOOKS looks, each after `act` broke something; how often each state was seen."""
    settings = config.load(world.env)
    settings["tmux_timeout_s"] = 0.1
    db, seen = store.write(settings.db), {}
    for _ in range(LOOKS):
        act(chance)
        try:
            rows = look.Look(settings, db, clock(), every=True).look_at(None)
        except Later:
            rows = [{"health": {"state": "later"}}]
        for row in rows:
            assert row["health"].get("is_stuck") is not True, row
            seen[row["health"]["state"]] = seen.get(row["health"]["state"], 0) + 1
    return seen


def test_a_tmux_that_hangs_fails_or_is_late(world, panes):
    seen = looks(world, random.Random(1), lambda chance: fault(world, chance.choice(FAULTS)))
    assert seen.keys() <= WELL | {"later"} and seen["idle"] > LOOKS and seen["later"] > 10, seen


def test_a_clock_that_is_set(world, panes):
    """It steps by hours both ways, in the middle of work and of waiting; minutes pass between."""
    panes[-1].type(world.program.does("Work on.", ("work", "1000")))
    panes[-1].keys("Enter")
    panes[-1].status("busy")
    chance, at = random.Random(4), [store.now()]

    def clock():
        at.append(at[-1] + chance.choice([60, 60, 60, 60, 60, -7200, 7200, 90_000]))
        return at[-1]

    seen = looks(world, chance, lambda chance: None, clock)
    assert seen.keys() == {"idle", "working"} and seen["working"] == LOOKS, seen


def test_processes_that_cannot_be_read(world, panes, monkeypatch):
    chance, slurp = random.Random(2), proc.slurp
    errors = [PermissionError(errno.EACCES, ""), OSError(errno.EMFILE, ""), FileNotFoundError(errno.ENOENT, "")]

    def broken(path):
        if chance.random() < 0.1 and not path.endswith("/children"):
            raise chance.choice(errors)
        if chance.random() < 0.1:
            raise errors[chance.randrange(2)]
        return slurp(path)

    monkeypatch.setattr(proc, "slurp", broken)
    seen = looks(world, chance, lambda chance: None)
    assert seen.keys() <= WELL and seen["unknown"] > 10, seen


def test_registries_that_are_broken(world, panes):
    paths = [world.program.agent_home() / "sessions" / f"{pane.agent().pid}.json" for pane in panes]
    whole = [path.read_text() for path in paths]

    def break_one(chance):
        place = chance.randrange(AGENTS)
        text = whole[place]
        pieces = [
            text[: chance.randrange(len(text))],
            "",
            "null",
            "[]",
            json.dumps({"status": 5}),
            text.upper(),
            "\0" * 99,
            text,
        ]
        paths[place].write_text(chance.choice(pieces))

    seen = looks(world, random.Random(3), break_one)
    assert seen.keys() <= WELL, seen
    for path, text in zip(paths, whole, strict=True):
        path.write_text(text)
    until(lambda: all(row["health"]["state"] == "idle" for row in world.tmo("tmo-health").rows), "all to be idle")
