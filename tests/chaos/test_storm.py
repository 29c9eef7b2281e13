"""No restart storm: twenty agents lose their login at once, some of them crash on top of it, and later all come back."""

import pytest
from harness import EACH_MINUTE, Stub, World, lines_of, until

AGENTS, CRASHED = 20, 5
BACK = "The login had been lost and is back"


@pytest.fixture
def storm():
    more = "max_running = 20\nrecover_wait_s = 30\nlimit_margin_s = 1"
    with World(Stub, args=["--start-s", "0.1"], more=more) as world:
        gate = world.dir / "gate"
        for number in range(1, AGENTS + 1):
            folder = world.dir / f"p{number}"
            folder.mkdir()
            first = ("login-lost",) if number == 1 else ("say", "Go on.")
            spec = world.dir / f"s{number}.md"
            spec.write_text(world.program.does(f"Project {number}", ("wait", gate), first, ("commit", "a.txt"), ("done",)))
            world.tmo("tmo-enqueue", "-p", folder, spec)
        world.cron("start")
        until(lambda: states(world).count("working") == AGENTS, lambda: states(world), 120)
        gate.touch()
        yield world


def states(world):
    return [row["health"]["state"] for row in world.tmo("tmo-health").rows]


def journal(world, kind):
    return [row for row in lines_of(world.program.journal) if row["kind"] == kind]


def told(world):
    return sum(BACK in row["prompt"] for row in journal(world, "prompt"))


def test_a_lost_login_of_twenty_starts_nothing_and_brings_them_back_in_turn(storm):
    world = storm
    until(lambda: world.cron(*EACH_MINUTE) or world.tmo("tmo-hold").rows, "the hold", 120)
    stopped = until(lambda: [row for row in world.tmo("tmo-health").rows if row["health"]["state"] == "login"], "them", 60)
    for row in stopped[:CRASHED]:
        world.pane(row["target"] if "/" in row["target"] else f"{row['project_id']}/developer").kill()
    launched, before = len(journal(world, "start")), told(world)
    for _ in range(10):
        world.cron(*EACH_MINUTE)
    assert (len(journal(world, "start")), told(world)) == (launched, before), "somebody was launched or told while held"

    world.program.log_in()
    turns = []
    while world.tmo("tmo-project", "-s", "processing").rows:
        before, started = told(world), len(journal(world, "start"))
        world.cron(*EACH_MINUTE)
        turns.append((told(world) - before, len(journal(world, "start")) - started))
        assert len(turns) < 100, states(world)
    assert all(row["status"] == "completed" for row in world.tmo("tmo-project").rows)
    returns = [count for count, _ in turns if count]
    assert returns[0] == 1 and max(returns) <= 4, turns  # one first, then a few in each minute
    print(f"told and launched by minute: {turns}")
    assert sum(count for _, count in turns) == len(stopped[:CRASHED]), turns  # who crashed was launched once
    assert not world.sql("SELECT * FROM event WHERE name = 'needs_human'")
