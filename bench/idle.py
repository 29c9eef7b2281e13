"""What ten agents cost that have nothing to do: the tmux clients started in a minute by all cron lines, beside those of
cli-agent-orchestrator's server."""

import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "lib"), os.path.join(ROOT, "tests/agents")]

from harness import EACH_MINUTE, Stub, World, until  # noqa: E402
from rivals import Rivals, clients, count_clients  # noqa: E402

AGENTS = 10
ROLES = "orchestrator,project_manager,developer,tester,testrunner,researcher,documentation,devops,code_reviewer,logtracker"
WINDOW_S = 30


def ours() -> float:
    """Clients a minute: every line of the crontab once, by its own clock once a minute."""
    with World(Stub) as world:
        world.enqueue(world.program.does("Be there.", ("say", "I am here.")), "-r", ROLES)
        until(lambda: world.tmo("tmo-start") and world.tmo("tmo-project").row["status"] == "processing", "the project")
        until(lambda: all(row["health"]["state"] == "idle" for row in world.tmo("tmo-health").rows), "all to be idle")
        count_clients(world.dir / "bin")
        world.cron(*EACH_MINUTE)
        return clients(world.dir / "bin")


def cao() -> float:
    with Rivals() as rivals, rivals.cao(AGENTS):
        before = clients(f"{rivals.folder}/bin")
        time.sleep(WINDOW_S)  # the measure is how often it acts by itself
        return (clients(f"{rivals.folder}/bin") - before) * 60 / WINDOW_S


def run(say) -> None:
    mine, theirs = ours(), cao()
    say("idle: tmux clients a minute for 10 agents / those of cao", mine / theirs, "x", "<= 1/100", mine * 100 <= theirs,
        f"{mine:.0f} / {theirs:.0f}")  # fmt: skip


if __name__ == "__main__":
    run(print)
