"""The traps: how a message gets lost, comes twice, or becomes a keystroke, a shell line or an answer.

Each is played on our stub and on the real program by the same code; what happened is read from the other side.
"""

import json
import subprocess
import threading

import psutil
import pytest
from harness import Claude, Stub, World, until
from tmuxorch import config, store
from tmuxorch.steps import outbox, send

TARGET = "1/developer"
BOTH = pytest.mark.parametrize("tui", ["fullscreen", "classic"])
UNICODE = "ünï → 漢字 🙂 👩‍👩‍👧 👍🏽 ❤️ עברית हिन्दी한국 e\u0301 \u1112\u1161\u11ab “…” ─── end TAG"
# name: what is sent, and what should arrive where that is another text. TAG makes each text unlike all others.
SHAPES = {
    "short": "please go on TAG",
    "62 characters": "TAG".rjust(62, "x"),
    "63 characters": "TAG".rjust(63, "x"),
    "64 characters": "TAG".rjust(64, "x"),
    "500 characters": "TAG" + " word" * 100,
    "3 lines": "TAG one\ntwo\nthree",
    "20 lines": "TAG\n" + "\n".join(f"line {number} of a message with some more words in it" for number in range(20)),
    "20 kB": "TAG" + "".join(f" word{number}" for number in range(2500)),
    "20 kB in one word": "TAG" + "x" * 20000,
    "unicode": UNICODE,
    "unicode, long": "\n".join([UNICODE] * 8),
    "direction marks and zero width": ("a\u202eb\u202c \u200fc\u200bd\u00ade\ufeff TAG", "ab cde TAG"),
    "trailing ;": "TAG and;",
    "trailing \\;": "TAG and\\;",
    "trailing backslash": "TAG and\\",
    "trailing backslashes": "TAG and\\\\",
    "backslash at the end of a line": "TAG and\\\nmore",
    "trailing newlines": "TAG\n\n",
    "leading newlines": "\n\nTAG",
    "blank lines": "TAG\n\n\nmore",
    "leading -": "-n TAG",
    "leading --": "--help TAG",
    "leading #": "# TAG",
    "leading @": "@TAG",
    "leading path": "/tmp/TAG/path is there",
    "leading &": "& TAG",
    "leading ?": "? TAG",
    "a digit": "1 TAG",
    "key names": "Enter C-c Escape TAG",
    "tabs": "TAG\tb\t\tc",
    "quotes and $()": "'TAG' \"b\" $(touch run) `touch run` ${HOME} %s %d",
    "tmux formats": "#{pane_id} #(touch run) #[fg=red] TAG",
    "colours": ("TAG \x1b[31mred\x1b[0m \x1b]0;title\x07end\x07", "TAG red end"),
    "a smuggled end of paste": ("TAG\x1b[201~\r!touch run\r", "TAG\n!touch run"),
    "an end of paste in parts": ("TAG\x1b[20\x1b[31m1~\r!touch run\r\x9b201~", "TAG201~\n!touch run"),
    "carriage returns": ("TAG one\r\ntwo\rthree", "TAG one\ntwo\nthree"),
    "other controls": ("TAG\x00\x03\x04\x15\x1a\x7fend", "TAGend"),
}
LONG = [name for name in SHAPES if name.startswith(("20", "64", "unicode", "trailing", "blank"))]


def shape(world, name):
    """(what to send, what should arrive)."""
    wanted = SHAPES[name]
    tag = world.tag()
    return [text.replace("TAG", tag) for text in (wanted if isinstance(wanted, tuple) else (wanted, wanted))]


def arrives(world, text, wanted):
    done = world.tell(text)
    assert done.row["attempts"] == 1 and done.row["evidence"] in ("hook", "transcript")
    world.program.took(wanted)
    assert not (world.project / "run").exists()


@pytest.mark.parametrize("name", SHAPES)
def test_every_text_arrives_once(calm, name):
    arrives(calm, *shape(calm, name))


@pytest.mark.parametrize("tui", ["classic"])
@pytest.mark.parametrize("name", LONG)
def test_long_and_odd_texts_arrive_in_the_classic_renderer(calm, tui, name):
    arrives(calm, *shape(calm, name))


@pytest.mark.parametrize(
    "text", ["/unknown TAG", "!touch run", " \n!touch run", "/clear", "", " \n\t", "\x1b[31m\x1b[0m", "\u200b"]
)
def test_what_is_no_message_is_refused(calm, text):
    before = len(calm.program.prompts())
    done = calm.send(TARGET, text.replace("TAG", calm.tag()))
    assert (done.status, done.row["state"], done.row["attempts"]) == (1, "refused", 0)
    pane = calm.pane(TARGET)
    assert pane.is_empty() and len(calm.program.prompts()) == before
    assert not (calm.project / "run").exists()


@pytest.mark.only("stub", "claude")  # test_codex.py
def test_a_command_is_sent_when_asked_for(world, pane):
    assert world.tell("!touch run", "--command").row["evidence"] == "transcript"
    until((world.project / "run").exists, "the shell line to run")
    pane.is_idle()
    done = world.send(TARGET, "/no-such-command at all", "--command", "-t", "2")
    assert (done.status, done.row["state"]) == (1, "unknown")  # it left the composer, and nothing took it up
    pane.shows("Unknown command: /no-such-command")
    # A new conversation: the record stands in another transcript than the one that was watched.
    assert world.send(TARGET, "/clear", "--command", "-t", "2").row["state"] in ("submitted", "unknown")
    assert world.program.taken("no-such-command") == 0
    pane.is_idle()
    world.tell("hello again")
    world.program.took("hello again")


def test_the_same_key_is_sent_once(calm):
    text = f"only once {calm.tag()}"
    first = calm.tell(text, "-k", text)
    again = calm.send(TARGET, text, "-k", text)
    assert (again.status, again.row) == (0, first.row)
    other = calm.send(TARGET, "another text", "-k", text)
    assert other.status == 2 and not other.rows
    calm.pane(TARGET).is_idle()
    calm.tmo("tmo-deliver")
    calm.program.took(text)
    assert calm.program.taken("another text") == 0


def test_words_of_the_message_before_are_no_proof(calm):
    """What was sent a moment ago is written down late: that must not prove what is sent now."""
    tag = calm.tag()
    texts = [f"{tag} once more, please", f"{tag} once", tag, tag]
    for number, text in enumerate(texts):  # the one before may still be at work: then it is accepted
        assert calm.send(TARGET, text, "-k", f"{tag} {number}").row["state"] in ("submitted", "accepted")
    for number in range(len(texts)):
        calm.delivered(f"{tag} {number}")
    calm.pane(TARGET).is_idle()
    assert calm.pane(TARGET).is_empty()
    calm.program.took(tag, 4)
    calm.program.took(f"{tag} once", 2)


def test_two_senders_at_once_do_not_mix(calm):
    texts = [f"sender {number} {calm.tag()} " + str(number) * 300 for number in range(4)]
    found = []
    threads = [
        threading.Thread(target=lambda text=text: found.append(calm.send(TARGET, text, "-k", text))) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {done.row["state"] for done in found} <= {"submitted", "accepted", "held"}
    for text in texts:
        calm.delivered(text)
        calm.program.took(text)
        assert sum(text in prompt for prompt in calm.program.prompts()) == 1  # white space and all


@BOTH
def test_copy_mode_is_left(calm, tui):
    pane, text = calm.pane(TARGET), f"out of copy mode {calm.tag()}"
    calm.tmux("copy-mode", "-t", pane.id)
    calm.tmux("send-keys", "-t", pane.id, "-X", "cursor-up")
    assert pane.get("pane_in_mode") == "1"
    calm.tell(text)
    assert pane.get("pane_in_mode") == "0"
    calm.program.took(text)


@BOTH
@pytest.mark.parametrize("draft", ["half a thought", "!rm -r half", "/comp"])
def test_a_persons_draft_survives(calm, tui, draft):
    pane, text = calm.pane(TARGET), f"not over the draft {calm.tag()}"
    pane.type(draft)
    until(lambda: "half" in pane.screen() or f"{pane.program.sign} /comp" in pane.screen().replace("\xa0", " "), "the draft")
    done = calm.send(TARGET, text, "-k", text)
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert "draft" in done.row["reason"]
    health = calm.health(TARGET)
    assert (health["state"], health["detail"]) == ("draft", "not ours")
    calm.tmo("tmo-deliver")
    assert calm.program.taken(text) == 0
    shown = (pane.composer() or "").split("\n")[0]
    assert shown == draft.removeprefix("!")
    for _ in range(len(draft)):
        pane.keys("BSpace")
    until(pane.is_empty, "an empty composer")
    calm.delivered(text)
    calm.program.took(text)


@BOTH
@pytest.mark.only("stub", "claude")  # Codex takes it into the running turn: test_codex.py
@pytest.mark.parametrize("how", ["wait", "work"])
def test_a_busy_agent_takes_it_up_later(calm, tui, how):
    """Behind a running tool it goes into the running turn, behind plain words it becomes the next one."""
    pane, program, tag = calm.pane(TARGET), calm.program, calm.tag()
    gate = calm.dir / tag
    steps = [("wait", gate)] if how == "wait" else [("work", 3)]
    calm.tell(program.does(f"be busy {tag}", *steps))
    pane.status("busy")
    texts = [f"behind it {tag} a", f"behind it {tag} b\nwith two lines"]
    for text in texts:
        done = calm.send(TARGET, text, "-k", text)
        assert (done.status, done.row["state"]) == (0, "accepted"), done
    assert [program.taken(text) for text in texts] == [0, 0]
    calm.tmo("tmo-deliver")
    assert [calm.message(text)["state"] for text in texts] == ["accepted", "accepted"] or how == "work"
    gate.touch()
    for text in texts:
        assert calm.delivered(text)["attempts"] == 1
        program.took(text)
    pane.is_idle()
    calm.tmo("tmo-deliver")
    for text in texts:
        program.took(text)
    whole = "\n".join(program.prompts())
    assert whole.index(texts[0]) < whole.index(texts[1])


@BOTH
def test_a_permission_dialog_gets_no_answer(calm, tui):
    pane, program, tag = calm.pane(TARGET), calm.program, calm.tag()
    made, text = calm.project / tag, f"y 1 not an answer {tag}"
    calm.tell(program.does(f"ask me {tag}", ("ask", f"touch {made}")))
    pane.status("waiting")
    pane.shows(program.asks)
    before = pane.still()
    done = calm.send(TARGET, text, "-k", text)
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert "dialog permission" in done.row["reason"]
    health = calm.health(TARGET)
    assert (health["state"], health["dialog"], health["is_stuck"]) == ("dialog", "permission", True)
    calm.cron("deliver", "watch")
    assert pane.still() == before and pane.registry()["status"] == "waiting" and not made.exists()
    pane.insist("Escape", lambda: pane.registry()["status"] == "idle", "the agent to be idle")
    calm.delivered(text)
    program.took(text)
    assert not made.exists()


@BOTH
@pytest.mark.only("stub", "claude")  # that of Codex is another one: test_codex.py
def test_a_trust_dialog_gets_no_answer(world, tui):
    pane = world.bare_pane(ready=False, trusted=False)
    pane.shows("❯ No, exit")
    before, process = pane.screen(), pane.agent()
    assert pane.registry() == {}
    done = world.send(pane.id, "hello", "-k", "hello")
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert "dialog trust" in done.row["reason"]
    health = world.health(pane.id)
    assert (health["state"], health["dialog"]) == ("dialog", "trust")
    world.tmo("tmo-deliver")
    assert pane.still() == before and process.is_running() and world.program.prompts() == []
    pane.insist("Down", lambda: "❯ Yes, I trust" in pane.screen(), "the other item")
    pane.keys("Enter")
    pane.is_idle()
    world.delivered("hello")
    world.program.took("hello")


def test_right_after_the_launch_nothing_is_lost(world):
    """While tmo-start still waits for the composer, and before the agent runs at all."""
    world.enqueue(world.program.does("Be there.", ("say", "I am here.")))
    with subprocess.Popen(["tmo-start"], env=world.env, stdout=subprocess.DEVNULL) as start:
        until(lambda: (world.dir / "tmux").exists() and world.tmo("tmo-ls").rows, "the pane")
        sent = [world.send(TARGET, f"early {number}", "-k", f"early {number}") for number in range(4)]
        assert start.wait(60) == 0
    for done in sent:
        assert done.row["state"] in ("held", "queued", "submitted", "accepted"), done
    for number in range(4):
        world.delivered(f"early {number}")
    world.pane(TARGET).is_idle()
    world.account()


def test_a_pane_of_a_person_right_after_its_launch(world):
    pane = world.bare_pane(ready=False)
    texts = []

    def sent():
        texts.append(f"early {world.tag()}")
        done = world.send(pane.id, texts[-1], "-k", texts[-1])
        assert done.row["state"] in ("refused", "held", "submitted", "accepted"), done
        return done.row["state"] != "refused"

    until(sent, "the agent to be seen")
    world.delivered(texts[-1])
    pane.is_idle()
    world.program.took(texts[-1])
    assert [world.program.taken(text) for text in texts[:-1]] == [0] * (len(texts) - 1)


def test_after_kill_9_the_shell_gets_nothing(world):
    """The pane of a person still shows the agent; only its processes tell."""
    pane = world.agent_in_a_shell()
    shots = [pane.still()]  # in the midst of drawing it would leave half a screen
    until(lambda: shots.append(pane.still()) or shots[-1] == shots[-2], "it to have drawn")
    pid = pane.kill()
    assert world.program.registry(pid, pane).get("status", "idle") == "idle"  # stale, where there is one
    assert world.program.sign in pane.screen()  # what is left of its composer: the shell's prompt is drawn over the rest
    for text in ("touch run", "touch run\n", "; touch run"):
        done = world.send(pane.id, text)
        assert (done.status, done.row["state"], done.row["attempts"]) == (1, "refused", 0)
        assert "shell" in done.row["reason"]
    health = world.health(pane.id)
    assert (health["state"], health["detail"], health["has_agent"]) == ("shell", "bare", False)
    world.tmo("tmo-deliver")
    pane.keys("Enter")  # whatever had been typed would run now
    pane.type("echo over-$((1+1))")
    pane.keys("Enter")
    pane.shows("over-2")
    assert not (world.project / "run").exists()


def test_after_kill_9_a_project_keeps_the_message(world, pane):
    pane.kill()
    until(lambda: world.health(TARGET)["state"] == "shell", "the shell")
    done = world.send(TARGET, "touch run", "-k", "refused")
    assert (done.status, done.row["state"]) == (1, "refused")
    world.send(TARGET, "please read this", "-k", "kept", "-q")
    world.tmo("tmo-deliver")
    assert world.message("kept")["state"] == "held"

    def back():
        world.cron("watch", "deliver")
        return world.message("kept")["state"] == "submitted"

    until(back, lambda: f"the agent to be back: {world.tmo('tmo-log').rows[-5:]}")
    world.pane(TARGET).is_idle()
    assert not (world.project / "run").exists()
    world.account()
    recovery = world.sql("SELECT text FROM message WHERE key LIKE 'briefing/%' ORDER BY id DESC LIMIT 1")[0]["text"]
    world.program.took(recovery)


def test_a_suspended_agent_gets_nothing(world):
    pane = world.agent_in_a_shell()
    process = pane.agent()
    pane.keys("C-z")
    until(lambda: process.status() == psutil.STATUS_STOPPED, "the agent to be stopped")
    pane.shows(world.program.stopped)
    done = world.send(pane.id, "touch run")
    assert (done.status, done.row["state"]) == (1, "refused") and "stopped" in done.row["reason"]
    assert (world.health(pane.id)["state"], world.health(pane.id)["detail"]) == ("shell", "stopped")
    pane.type("fg")
    pane.keys("Enter")
    until(lambda: process.status() != psutil.STATUS_STOPPED, "the agent to go on")
    pane.is_idle()
    until(pane.is_empty, "an empty composer")
    done = until(lambda: (sent := world.send(pane.id, "hello again")).status == 0 and sent, "a message after fg")
    assert done.row["state"] == "submitted"
    world.program.took("hello again")
    assert not (world.project / "run").exists() and world.program.taken("touch run") == 0


@BOTH
def test_a_lost_login_holds_messages(world, pane, tui):
    program, text = world.program, "after the login"
    world.tell(program.does("go on and fail", ("login-lost",)))
    until(lambda: world.health(TARGET)["state"] == "login", lambda: f"login: {world.health(TARGET)}\n{pane.screen()}")
    pane.is_idle()
    assert pane.is_empty()  # the words in the composer are no draft
    done = world.send(TARGET, text, "-k", text)
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert "login" in done.row["reason"]

    def held():
        world.cron("watch", "deliver")
        return [hold for hold in world.tmo("tmo-hold").rows if hold["cause"] == "login"]

    until(held, "a hold")
    assert program.taken(text) == 0
    program.log_in()

    def back():
        world.cron("watch", "deliver")
        return world.message(text)["state"] == "submitted"

    until(back, lambda: f"the agent to come back: {world.tmo('tmo-hold').rows} {world.tmo('tmo-log').rows[-5:]}")
    assert world.tmo("tmo-hold").rows == []
    pane.is_idle()
    world.account()


@pytest.mark.only("claude", "codex")
@pytest.mark.parametrize(
    ("error", "status", "probed"),
    [(None, 0, True), (("login-lost",), 1, False), (("error", 500), 75, None), (("error", 429), 75, None)],
)
def test_a_probe_is_answered_rejected_or_tells_nothing(world, error, status, probed):
    """Which the login check of the program itself cannot tell: it is local."""
    world.program.trust(world.project)
    world.program.answer(error and world.program.step(*error))
    done = world.tmo("tmo-authcheck", "--probe", "-a", world.program.name)
    auth = done.row["auth"]
    assert (done.status, auth["probed"], auth["logged_in"]) == (status, probed, probed is not False)
    assert bool(auth["error"]) is (probed is None)


class Subscriber(Claude):
    """Logged in by a made-up token of a subscription: only that has usage limits."""

    def environment(self):
        environment = super().environment()
        del environment["ANTHROPIC_API_KEY"]
        return {**environment, "CLAUDE_CODE_OAUTH_TOKEN": "made-up-for-the-tests-" + "0" * 40}


def test_a_usage_limit_holds_messages(program):
    with World(Subscriber if program is Claude else Stub) as world:
        world.start()
        pane = world.pane(TARGET)
        world.tell(world.program.does("go on and fail", ("limit", 7000)))
        until(
            lambda: world.health(TARGET)["state"] == "limited", lambda: f"limited: {world.health(TARGET)}\n{pane.screen()}"
        )
        health = world.health(TARGET)
        assert health["detail"].startswith("You've hit your") and "resets" in health["detail"]
        assert 6900 < health["reset_at"] - world.born < 7200
        done = world.send(TARGET, "after the limit", "-k", "after")
        assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)

        def held():
            world.cron("watch", "deliver")
            return [hold for hold in world.tmo("tmo-hold").rows if hold["cause"] == "limit"]

        hold = until(held, "a hold")[0]
        assert hold["name"] == f"agent/{world.program.name}"
        assert world.program.taken("after the limit") == 0 and world.message("after")["state"] == "held"
        assert pane.is_empty()


@pytest.mark.parametrize("status", [429, 500, 529])
def test_an_error_of_the_api_holds_messages(calm, status):
    pane, program, tag = calm.pane(TARGET), calm.program, calm.tag()
    calm.cron("watch")  # it is well again, whatever was reported of it before
    calm.tell(program.does(f"fail {tag}", ("error", status)))
    until(lambda: calm.health(TARGET)["state"] == "api_error", lambda: f"api_error: {calm.health(TARGET)}\n{pane.screen()}")
    done = calm.send(TARGET, f"after it {tag}", "-k", tag)
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert pane.is_empty()

    def back():
        calm.cron("watch", "deliver")
        return calm.message(tag)["state"] == "submitted"

    until(back, lambda: f"a nudge: {calm.tmo('tmo-log').rows[-5:]}")
    program.took(f"after it {tag}")


def test_dead_and_missing_panes_are_refused(world, pane):
    bare = world.bare_pane()
    bare.kill()
    until(lambda: bare.get("pane_dead") == "1", "the dead pane")
    for target, words in (
        (bare.id, "dead"), ("%999", "no such pane"), ("nowhere:1", "no such pane"), ("1/tester", "no role"),
        ("9/developer", "no project"),
    ):  # fmt: skip
        done = world.send(target, "hello?")
        assert (done.status, done.row["state"]) == (1, "refused")
        assert words in done.row["reason"]
        assert done.row["pane_id"] == (bare.id if target == bare.id else None)
    world.tmux("kill-session", "-t", pane.get("session_name"))
    done = world.send(TARGET, "hello?")
    assert (done.status, done.row["state"]) == (1, "refused")
    assert world.program.taken("hello?") == 0


def test_a_prefix_of_a_session_name_is_no_target(world):
    pane = world.bare_pane(session="web-2")
    for target in ("web:0", "web:", "web", "we*:0", "=web:0"):
        done = world.send(target, "not for you")
        assert (done.status, done.row["state"], done.row["pane_id"]) == (1, "refused", None), target
    done = world.send("web-2:0", "for you")
    assert (done.status, done.row["state"], done.row["pane_id"]) == (0, "submitted", pane.id)
    world.program.took("for you")
    assert world.program.taken("not for you") == 0


def test_a_message_waits_for_its_own_pane_only(world):
    """A person's pane: when another agent stands in its place, the message is not for that one."""
    pane = world.bare_pane()
    pane.type("a draft")
    until(lambda: pane.composer() == "a draft", "the draft")
    assert world.send(pane.id, "for the first", "-k", "first").row["state"] == "held"
    world.tmux("respawn-pane", "-k", "-t", pane.id, "--", *world.program.argv())
    until(lambda: pane.agent() and pane.registry().get("status") == "idle", "the other agent")
    world.tmo("tmo-deliver")
    assert world.message("first")["state"] == "expired"
    assert json.dumps(world.program.prompts()).count("for the first") == 0


@pytest.mark.only("stub")
def test_a_screen_that_draws_late_is_waited_for(world, pane, monkeypatch):
    """The composer still shows the last message, which was taken up: it is cleared only after the first look."""
    world.tell("the last message")
    pane.is_idle()
    pane.type("the last message")
    pane.shows("❯ the last message".replace(" ", "\N{NO-BREAK SPACE}", 1))
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    settings = config.load(world.env)
    sender = send.Sender(settings, store.write(settings.db))
    look, looks = sender.facts, []

    def facts(*words):
        looks.append(look(*words))
        if len(looks) == 1:
            pane.keys("C-u")
        return looks[-1]

    monkeypatch.setattr(sender, "facts", facts)
    message = outbox.commit(sender, TARGET, "the next one", None, None, False)
    assert sender.attempt(message, 10)["state"] == "submitted"
    assert looks[0]["screen"]["draft"] == "the last message" and len(looks) > 1
    assert [world.program.taken(text) for text in ("the last message", "the next one")] == [1, 1]
