"""Senders, agents and the tmux server are killed at random moments; then cron makes the best of it."""

import random
import subprocess
import time

from harness import bare, until

PROJECTS = 5
SENDS = 10  # a round


def up(world):
    """Cron until every agent is back at its prompt."""

    def idle():
        world.cron("start", "watch", "deliver")
        rows = world.tmo("tmo-health").rows
        return len(rows) == PROJECTS and all(row["health"]["state"] == "idle" for row in rows)

    until(idle, lambda: f"the agents: {[(row['target'], row['health']) for row in world.tmo('tmo-health').rows]}", 120)


def begin(world):
    spec = world.dir / "spec.md"
    spec.write_text(world.program.does("Be there.", ("say", "I am here.")))
    for number in range(PROJECTS):
        folder = world.dir / f"p{number}"
        folder.mkdir()
        world.tmo("tmo-enqueue", "-p", folder, spec)
    world.cron("start")
    up(world)


def kill_one(world, chance, senders):
    """kill -9 of a sender, an agent, or the tmux server; what it was."""
    kind = chance.choices(["sender", "agent", "server"], [6, 3, 1])[0]
    if kind == "sender":
        chance.choice(senders).kill()
    elif kind == "agent":
        world.pane(f"{chance.randint(1, PROJECTS)}/developer").kill()
    else:
        subprocess.run(["kill", "-9", world.tmux("display-message", "-p", "#{pid}").strip()], check=False)
    return kind


def test_nothing_is_lost_in_silence_and_nothing_comes_twice(world, request):
    chance = random.Random(request.config.getoption("--seed"))
    begin(world)
    kinds = {}
    for number in range(request.config.getoption("--rounds")):
        senders = []
        for place in range(SENDS):
            words = [
                "tmo-send",
                "-k",
                f"{number}/{place}",
                f"{chance.randint(1, PROJECTS)}/developer",
                f"({number}/{place})",
            ]
            senders.append(subprocess.Popen(words, env=world.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(chance.random() * 1.5)  # this is what is tested: any moment
        kind = kill_one(world, chance, senders)
        kinds[kind] = kinds.get(kind, 0) + 1
        for sender in senders:
            sender.wait(60)
        up(world)
    until(lambda: quiet(world), lambda: f"quiet: {open_messages(world)}", 120)
    check(world, kinds)


def open_messages(world):
    return world.sql("SELECT * FROM message WHERE state IN ('queued', 'typing', 'accepted', 'held')")


def quiet(world):
    world.write("UPDATE message SET typed_at = typed_at - 10 WHERE state = 'typing'")
    up(world)
    return not open_messages(world)


def check(world, kinds):
    """Each message that is called submitted was taken exactly once, none was taken twice, every other one says why."""
    messages = world.sql("SELECT * FROM message WHERE key LIKE '%/%' AND text LIKE '(%'")
    prompts = [bare(prompt) for prompt in world.program.prompts()]
    states = {}
    for message in messages:
        count = prompts.count(bare(message["text"]))
        states[message["state"]] = states.get(message["state"], 0) + 1
        assert count <= 1, message
        assert message["state"] != "submitted" or count == 1, message
        assert message["state"] == "submitted" or message["reason"], message
        assert message["state"] in ("submitted", "unknown") or count == 0, message
    print(f"{len(messages)} messages: {states}; killed: {kinds}")
