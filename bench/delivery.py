"""Delivery, measured: from the call to the proof, beside what tmux costs at best and beside rivals. Part of `make bench`."""

import contextlib
import os
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "lib"), os.path.join(ROOT, "tests/agents")]

from pathlib import Path  # noqa: E402

from conftest import PROGRAMS, install  # noqa: E402
from harness import World  # noqa: E402
from rivals import Rivals  # noqa: E402
from tmuxorch import config, store  # noqa: E402
from tmuxorch.steps import outbox, send  # noqa: E402

ROUNDS = 20


def p50(values):
    return statistics.median(values)


def p95(values):
    return sorted(values)[int(len(values) * 0.95)]


def timed(act):
    before = time.perf_counter()
    act()
    return time.perf_counter() - before


class Delivery:
    def __init__(self, say) -> None:
        self.say = say

    def run(self) -> None:
        whole = self.agent("stub", 10.0)
        for name in ("claude", "codex"):
            PROGRAMS[name].program = Path(install(name) / "node_modules" / ".bin" / name)
            self.agent(name, 1.0)
        self.rivals(whole)

    def agent(self, name: str, goal_s: float) -> float:
        """One agent at its prompt: the whole command, what it does between paste and Enter, and the floor; p50 in s."""
        with World(PROGRAMS[name]) as world:
            world.start()
            pane = world.pane("1/developer")
            calls = [self.idle(pane, lambda number=number: world.tell(f"message {number}")) for number in range(ROUNDS)]
            self.say(f"{name}: tmo-send from call to proof, p95", p95(calls), "s", f"< {goal_s:g}", p95(calls) < goal_s,
                     f"p50 {p50(calls) * 1000:.0f} ms")  # fmt: skip
            with environment(world.env):
                typed, proof, client = self.inside(pane)
            bare = [self.idle(pane, lambda number=number: self.bare(pane, number)) for number in range(ROUNDS)]
            ratio = p50(typed) / client
            met = name != "stub" or ratio <= 4
            detail = f"{p50(typed) * 1000:.1f} ms / {client * 1000:.1f} ms; then the proof {p50(proof) * 1000:.0f} ms"
            self.say(f"{name}: paste, sight and Enter / one client", ratio, "x", "<= 4 on stub", met, detail)
            self.say(f"{name}: tmo-send / paste and Enter by hand, unproved", p50(calls) / p50(bare), "x", "-", True,
                     f"{p50(bare) * 1000:.1f} ms")  # fmt: skip
            return p50(calls)

    def idle(self, pane, act) -> float:
        pane.is_idle()
        return timed(act)

    def bare(self, pane, number: int) -> None:
        pane.paste(f"by hand {number}")
        pane.keys("Enter")

    def inside(self, pane) -> tuple[list[float], list[float], float]:
        """(from the paste to the Enter, from there to the proof) of each of some messages, and one client; seconds."""
        settings = config.load()
        sender, marks = send.Sender(settings, store.write(settings.db)), {}
        for name in ("paste", "press"):
            self.mark(sender.tmux, name, marks)
        typed, proof = [], []
        for number in range(ROUNDS):
            pane.is_idle()
            message = outbox.commit(sender, "1/developer", f"from inside {number}", None, None, False)
            row = sender.attempt(message, 10)
            end = time.perf_counter()
            assert row["state"] == "submitted", row
            typed.append(marks["press"][1] - marks["paste"][0])
            proof.append(end - marks["press"][1])
        client = [timed(lambda: sender.tmux.call("display-message", "-p", "x")) for _ in range(ROUNDS)]
        return typed, proof, p50(client)

    def mark(self, tmux, name: str, marks: dict) -> None:
        act = getattr(tmux, name)

        def marked(*words, **more):
            before = time.perf_counter()
            done = act(*words, **more)
            marks[name] = before, time.perf_counter()
            return done

        setattr(tmux, name, marked)

    # -- the rivals

    def rivals(self, whole: float) -> None:
        with Rivals() as rivals:
            with rivals.cao(1) as call:
                cao = p50([timed(lambda: call("session", "send", "--async", "cao-bench1", "hello")) for _ in range(5)])
            self.say("stub: tmo-send / cao session send --async, unproved", whole / cao, "x", "<= 1/12", whole <= cao / 12,
                     f"{whole * 1000:.0f} ms / {cao * 1000:.0f} ms")  # fmt: skip
            words = ["tmux-cli", "send", "hello", f"--pane={rivals.echo()}"]
            cli = p50([timed(lambda: rivals.run(*words)) for _ in range(5)])
            self.say("stub: tmo-send / tmux-cli send, unproved", whole / cli, "x", "< 1", whole < cli,
                     f"{whole * 1000:.0f} ms / {cli * 1000:.0f} ms")  # fmt: skip


@contextlib.contextmanager
def environment(values):
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
