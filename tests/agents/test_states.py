"""Every state that a model server and a keyboard can cause, in each renderer and size: told right within one look.

With --record the screens are kept in tests/screens, for tests that need no program.
"""

import pytest
from harness import PACKAGES, ROOT, SIZES, Claude, World, until

DRAFT = "half a thought"
TWENTY = "\n".join(f"line {number} of a draft that somebody has pasted here" for number in range(20))
SCENES = {}


def scene(state, dialog=None, programs=("stub", "claude", "codex")):
    """A function that brings an agent into a state, yields there, and brings it back to its prompt."""

    def keep(act):
        SCENES[act.__name__] = (act, state, dialog, programs)
        return act

    return keep


class Stage:
    """An agent at its prompt in a pane of a person's."""

    def __init__(self, world, pane):
        self.world, self.pane, self.program = world, pane, world.program

    def submit(self, *steps):
        """Submit a prompt that makes the agent do these steps."""
        tag = self.world.tag()
        self.pane.is_idle()
        self.pane.paste(self.program.does(f"do it {tag}", *steps))
        until(lambda: not self.pane.is_empty(), "the text")
        self.pane.keys("Enter")
        self.program.took(f"do it {tag}")
        return tag

    def busy(self):
        """At work with a tool; it ends when the file is there that this returns."""
        gate = self.world.dir / self.world.tag()
        self.submit(("wait", gate))
        self.pane.status("busy")
        return gate

    def interrupt(self):
        self.pane.insist("Escape", lambda: self.pane.registry().get("status") == "idle", "the agent to stop")
        self.clear()

    def clear(self):
        self.pane.insist("C-c" if self.program.name == "codex" else "C-u", self.pane.is_empty, "an empty composer")

    def failed(self, *step):
        """A turn that fails, up to its last word: an agent calls itself idle a moment before it writes that word down."""
        before = self.errors()
        self.submit(step)
        if self.program.name != "codex":  # it is idle by what it wrote down
            until(lambda: self.errors() > before, "the error to be written down")
        self.pane.is_idle()

    def errors(self):
        return sum(bool(record.get("isApiErrorMessage")) for record in self.pane.transcript())


# Scenes


@scene("idle")
def idle_empty(stage):
    yield


@scene("idle")
def idle_after_answer(stage):
    stage.submit(("say", "It is done.\nThere is nothing more to say."))
    stage.pane.is_idle()
    yield


@scene("working")
def working_words(stage):
    stage.submit(("work", 30))
    stage.pane.status("busy")
    stage.pane.shows("word word" if stage.program.name != "stub" else "esc to interrupt")
    yield
    stage.interrupt()


@scene("working")
def working_tool(stage):
    gate = stage.busy()
    yield
    gate.touch()
    stage.pane.is_idle()


@scene("working", programs=("stub", "claude"))
def working_queued(stage):
    gate = stage.busy()
    stage.pane.paste("and then this")
    until(lambda: not stage.pane.is_empty(), "the text")
    stage.pane.keys("Enter")
    stage.pane.shows("Press up to edit queued messages")
    yield
    gate.touch()
    stage.pane.is_idle()


@scene("working", programs=("stub", "claude"))
def working_draft(stage):
    gate = stage.busy()
    stage.pane.type(DRAFT)
    stage.pane.shows(DRAFT)
    yield
    gate.touch()
    stage.pane.is_idle()
    stage.clear()


@scene("working", programs=("claude",))
def working_retry(stage):
    stage.program.answer({"status": 529, "type": "overloaded_error", "message": "Overloaded"})
    stage.pane.paste("try and try again")
    until(lambda: not stage.pane.is_empty(), "the text")
    stage.pane.keys("Enter")
    stage.pane.shows("retrying")
    yield
    stage.program.answer()
    stage.interrupt()


@scene("draft")
def draft_typed(stage):
    stage.pane.type(DRAFT)
    stage.pane.shows(DRAFT)
    yield
    stage.clear()


@scene("draft")
def draft_pasted(stage):
    stage.pane.paste(TWENTY)
    until(lambda: not stage.pane.is_empty(), "the paste")
    yield
    stage.clear()


@scene("draft")
def draft_shell(stage):
    stage.pane.type("!ls")
    stage.pane.shows("ls")
    yield
    stage.pane.keys("BSpace", "BSpace", "BSpace")
    until(stage.pane.is_empty, "an empty composer")


@scene("dialog", "permission")
def dialog_permission(stage):
    stage.submit(("ask", f"touch {stage.world.project}/{stage.world.tag()}"))
    stage.pane.shows(stage.program.asks)
    stage.pane.status("waiting")
    yield
    stage.interrupt()


@scene("login")
def login_401(stage):
    stage.failed("login-lost")
    yield
    stage.program.log_in()


@scene("login", programs=("claude", "codex"))
def login_403(stage):
    stage.failed("error", 403)
    yield


@scene("api_error")
def api_error_429(stage):
    stage.failed("error", 429)
    yield


@scene("api_error")
def api_error_500(stage):
    stage.failed("error", 500)
    yield


@scene("api_error", programs=("stub", "claude"))
def api_error_529(stage):
    stage.failed("error", 529)
    yield


@scene("limited", programs=("codex",))  # the stub's limit stays, and Claude Code has one only for subscribers
def limited(stage):
    stage.failed("limit", 7000)
    yield


@scene("context_full")
def context_full(stage):
    stage.failed("context-full")
    yield


@pytest.fixture(params=SIZES, ids=[f"{columns}x{rows}" for columns, rows in SIZES])
def size(request):
    return request.param


@pytest.fixture
def keep(request, program, tui, size):
    """Record a screen, if that is asked for."""

    def record(name, pane):
        if request.config.getoption("--record") and program.name in PACKAGES:
            folder = ROOT / "tests" / "screens" / f"{program.name}-{PACKAGES[program.name][1]}-live"
            folder.mkdir(exist_ok=True)
            text = pane.screen("-e").replace(str(pane.world.dir), "/tmp/world")
            path = folder / f"{name.replace('_', '-')}.{tui}.{size[0]}x{size[1]}.ansi"
            path.write_text(text)

    return record


def look(world, pane):
    return world.tmo("tmo-health", pane.id).row["health"]


@pytest.mark.parametrize("tui", ["fullscreen", "classic"])
def test_each_state_is_told_within_one_look(world, tui, size, keep):
    pane = world.bare_pane(size=size)
    stage, wrong = Stage(world, pane), []
    for name, (act, state, dialog, programs) in SCENES.items():
        if world.program.name not in programs:
            continue
        playing = act(stage)
        next(playing)
        health = look(world, pane)
        if (health["state"], health["dialog"]) != (state, dialog):
            wrong.append((name, health, pane.screen()))
        keep(name, pane)
        for _ in playing:
            pass
    assert not wrong, "\n".join(f"{name}: {health}\n{shown}" for name, health, shown in wrong)


@pytest.mark.parametrize("tui", ["fullscreen", "classic"])
def test_without_an_agent_it_is_a_shell_and_in_its_dialogs_a_dialog(world, tui, size, keep):
    other = world.dir / "other"
    other.mkdir()
    world.git("init", "-q", str(other))
    pane = world.bare_pane(size=size, directory=other, ready=False, trusted=False)
    pane.shows("rust")
    until(lambda: look(world, pane)["state"] == "dialog", lambda: f"{look(world, pane)}\n{pane.screen()}")
    assert look(world, pane)["dialog"] == "trust"
    keep("dialog_trust", pane)

    pane = world.agent_in_a_shell(size)
    pane.keys("C-z")
    pane.shows(world.program.stopped)
    until(lambda: look(world, pane)["detail"] == "stopped", lambda: look(world, pane))
    assert look(world, pane)["state"] == "shell"
    keep("shell_stopped", pane)
    pane.type("fg")
    pane.keys("Enter")
    until(lambda: look(world, pane)["state"] == "idle", lambda: look(world, pane))
    pane.kill()
    until(lambda: look(world, pane)["state"] == "shell", lambda: look(world, pane))
    assert look(world, pane)["detail"] == "bare"
    keep("shell_killed", pane)


class Subscriber(Claude):
    """Logged in by a made-up token of a subscription: only that has usage limits."""

    def environment(self):
        environment = super().environment()
        del environment["ANTHROPIC_API_KEY"]
        return {**environment, "CLAUDE_CODE_OAUTH_TOKEN": "made-up-for-the-tests-" + "0" * 40}


@pytest.mark.only("claude")
@pytest.mark.parametrize("tui", ["fullscreen", "classic"])
def test_a_usage_limit_of_a_subscription(program, tui, size, keep):
    with World(Subscriber, tui) as world:
        pane = world.bare_pane(size=size)
        Stage(world, pane).failed("limit", 7000)
        health = look(world, pane)
        assert health["state"] == "limited" and 6900 < health["reset_at"] - world.born < 7300
        keep("limited", pane)


def test_what_lasts_too_long_is_told(program):
    """Idle with its work undone, and at work with nothing that moves."""
    with World(program, more="stuck_s = 3") as world:
        world.start()
        stage = Stage(world, world.pane("1/developer"))
        idle = until(lambda: (found := world.health("1/developer"))["is_stuck"] and found, "it to be idle for too long")
        assert idle["state"] == "idle"
        gate = stage.busy()
        assert world.health("1/developer")["state"] == "working"
        hung = until(lambda: (found := world.health("1/developer"))["is_stuck"] and found, "it to hang")
        assert hung["state"] == "hung"
        gate.touch()
        stage.pane.is_idle()
        assert (world.health("1/developer")["state"], world.health("1/developer")["is_stuck"]) == ("idle", False)
