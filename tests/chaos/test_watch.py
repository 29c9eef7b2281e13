"""The watch pipeline is killed at random moments, again and again, while agents crash: no recovery is left half done, and
there are never two agents in one pane or in one conversation."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter

import psutil
from test_random import PROJECTS, begin, up


def agents(world):
    """The agents in a conversation, by their project's directory. What one has just forked still looks like it."""
    found = Counter()
    for process in world.processes():
        try:
            if is_agent(process) and not is_agent(process.parent()):
                found[process.cwd()] += 1
        except (psutil.Error, AttributeError):
            continue
    return found


def is_agent(process):
    return {"--session-id", "--resume"} & set(process.cmdline()) and process.status() != "zombie"


def test_a_watch_that_is_killed_leaves_nothing_half_done(world, request):
    chance, killed = random.Random(request.config.getoption("--seed")), 0
    begin(world)
    for _ in range(request.config.getoption("--watches")):
        for number in chance.sample(range(1, PROJECTS + 1), 2):
            row = world.tmo("tmo-ls", f"{number}/developer").row
            with contextlib.suppress(psutil.Error):
                if row["pane_pid"] and chance.random() < 0.7:
                    for process in psutil.Process(row["pane_pid"]).children():
                        process.kill()
        watch = subprocess.Popen(["tmo-crontab", "--run", "watch"], env=world.env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        time.sleep(chance.random() * 2)  # this is what is tested: any moment
        if watch.poll() is None:
            os.killpg(watch.pid, signal.SIGKILL)
            killed += 1
        watch.wait(60)
        assert max(agents(world).values(), default=0) <= 1, agents(world)
    up(world)
    assert agents(world) == {os.path.realpath(world.dir / f"p{number}"): 1 for number in range(PROJECTS)}
    open_ones = world.sql("SELECT key, state, reason FROM message WHERE state IN ('queued', 'typing', 'held', 'accepted')")
    unproved = world.sql("SELECT key, state, reason FROM message WHERE state NOT IN ('submitted', 'expired')")
    assert not open_ones and all(row["reason"] for row in unproved), unproved
    print(f"{len(unproved)} briefings without proof: {Counter(row['reason'] for row in unproved)}")
    print(f"{killed} watches killed")
