"""Recovery of the real programs: killed in the middle of a turn, logged out, at a limit. Cron's lines do it all."""

import pytest
from harness import World, until
from test_states import Subscriber

TARGET, ROLES = "1/developer", "developer,tester"
REJECTED = {"status": 401, "type": "authentication_error", "message": "invalid x-api-key"}


def minutes(world, done, what, deadline_s=120):
    """Run what cron runs until it is done."""

    def passes():
        world.cron("watch", "deliver")
        return done()

    until(passes, lambda: f"{what}: {[(r['target'], r['health']) for r in world.tmo('tmo-health').rows]}", deadline_s)


def briefings(world):
    return [row for row in world.sql("SELECT * FROM message WHERE key GLOB 'briefing/*'") if row["state"] == "submitted"]


def launches(world, actor):
    return world.sql("SELECT * FROM event WHERE kind = 'launch' AND actor = ?", actor)


def test_killed_in_the_middle_of_a_turn_it_is_back_with_its_history(world, pane):
    """And with the prompt that the kill cut off, where need be by our briefing: Claude Code may not have written it down."""
    tag = world.tag()
    world.tell(f"remember {tag}")
    pane.is_idle()
    world.tell(world.program.does(f"a long one {tag}", ("wait", world.dir / "never")))
    pane.status("busy")
    before = len(briefings(world))
    pane.kill()
    if world.program.name != "stub":  # told again, it would do it again
        world.program.rules.clear()
        world.program.answer()
    minutes(world, lambda: world.health(TARGET)["state"] == "idle" and len(briefings(world)) > before, "it to be back")
    import shutil

    shutil.rmtree("/tmp/dbg/cl", ignore_errors=True)
    shutil.copytree(
        world.dir,
        "/tmp/dbg/cl",
        ignore=lambda d, n: [x for x in n if x == "tmux" or x.endswith(".sock")],
        ignore_dangling_symlinks=True,
    )
    assert len(briefings(world)) == before + 1 and len(launches(world, "tmo-recover")) == 1
    world.program.took(briefings(world)[-1]["text"])
    if world.program.name != "stub":  # the model was sent what was said before the kill, and the briefing behind it
        texts = world.program.requests()[-1]["texts"]
        assert any(f"remember {tag}" in text for text in texts[:-1]), [text[:150] for text in texts]
        assert "You were brought back" in texts[-1], texts
        assert sum(f"a long one {tag}" in text for text in texts) == 1, [text[:300] for text in texts]
    world.tell(f"and go on {tag}")


@pytest.mark.only("claude")
def test_a_login_that_the_server_rejects_holds_all_and_later_brings_all_back(world):
    world.enqueue(world.program.does("Be there.", ("say", "I am here.")), "-r", ROLES)
    minutes(world, lambda: world.tmo("tmo-start") and both(world, "idle"), "both to be up")
    for role in ROLES.split(","):
        world.send(f"1/{role}", world.program.does(f"work {role}", ("login-lost",)))
    until(lambda: both(world, "login"), "both to have failed")
    world.program.answer(REJECTED)  # whatever else asks, a probe of ours too
    minutes(world, lambda: world.tmo("tmo-hold").rows and both(world, "login"), "the hold")
    world.pane("1/tester").kill()
    for _ in range(4):
        world.cron("watch", "deliver")
    assert not launches(world, "tmo-recover"), "launched while the login was lost"
    world.program.log_in()
    minutes(world, lambda: both(world, "idle") and not world.tmo("tmo-hold").rows, "both to be back")
    assert [row["role"] for row in launches(world, "tmo-recover")] == ["tester"]
    told = world.sql("SELECT role FROM message WHERE key GLOB 'return/*' AND state = 'submitted'")
    assert [row["role"] for row in told] == ["developer"]


def both(world, state):
    rows = world.tmo("tmo-health").rows
    return len(rows) == 2 and all(row["health"]["state"] == state for row in rows)


@pytest.mark.only("claude")
def test_a_limit_with_its_end_is_waited_for_and_then_it_goes_on(program):
    with World(Subscriber, more="limit_margin_s = 1") as world:
        world.start()
        world.send(TARGET, world.program.does("the last straw", ("limit", 60)))
        minutes(world, lambda: world.tmo("tmo-hold").rows, "the hold")
        health = world.health(TARGET)
        assert health["state"] == "limited"
        assert world.tmo("tmo-hold").row["next_probe_at"] == health["reset_at"] + 1
        world.program.rules.clear()  # by then the server serves again
        world.program.answer()
        minutes(world, lambda: not world.tmo("tmo-hold").rows, "the end of the hold", 200)
        told = world.sql("SELECT * FROM message WHERE key GLOB 'return/*'")
        assert len(told) <= 1 and world.health(TARGET)["state"] in ("idle", "working"), told
        assert not launches(world, "tmo-recover")
