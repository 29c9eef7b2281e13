"""Many messages to many panes: each arrives once, in its pane's order, also when two deliver at once."""

import json
import subprocess
import time

import pytest
from harness import bare, until

PANES, EACH = 50, 10


@pytest.fixture
def panes(world):
    world.program.trust(world.project)
    made = [world.bare_pane(ready=False, trusted=False) for _ in range(PANES)]
    for pane in made:
        pane.is_idle()
    return made


def rows(panes):
    """A message to each pane, and again."""
    return [
        {"target": pane.id, "text": f"({pane.id}) {number:02}", "key": f"{pane.id}/{number}"}
        for number in range(EACH) for pane in panes
    ]  # fmt: skip


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def open_ones(world):
    world.write("UPDATE message SET next_attempt_at = 0 WHERE state = 'held'")
    return world.sql("SELECT key FROM message WHERE state IN ('queued', 'typing', 'accepted', 'held')")


def check(world, panes):
    prompts = [bare(prompt) for prompt in world.program.prompts()]
    for pane in panes:
        mine = [prompt for prompt in prompts if prompt.startswith(f"({pane.id})")]
        assert mine == [bare(f"({pane.id}) {number:02}") for number in range(EACH)]
    assert {row["state"] for row in world.sql("SELECT state FROM message")} == {"submitted"}


def test_by_rows(world, panes):
    before = time.monotonic()
    done = world.tmo("tmo-send", "-", text=lines(rows(panes)), deadline_s=300)
    took = time.monotonic() - before
    assert done.status == 0 and len(done.rows) == PANES * EACH
    assert {row["send"]["state"] for row in done.rows} <= {"submitted", "accepted", "held"}

    def quiet():
        world.tmo("tmo-deliver", deadline_s=300)
        return not open_ones(world)

    until(quiet, lambda: open_ones(world), 120)
    check(world, panes)
    print(f"{len(done.rows)} messages to {PANES} panes: {len(done.rows) / took:.1f} a second")


def test_by_two_that_deliver_at_once(world, panes):
    world.tmo("tmo-send", "-q", "-", text=lines(rows(panes)), deadline_s=300)

    def quiet():
        both = [subprocess.Popen(["tmo-deliver"], env=world.env, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [one.wait(300) for one in both] == [0, 0]
        return not open_ones(world)

    until(quiet, lambda: open_ones(world), 300)
    check(world, panes)
