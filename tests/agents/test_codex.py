"""What is different with Codex: it steers, its conversation has no name before it runs, and its dialogs."""

import pytest
from harness import until

pytestmark = pytest.mark.only("codex")
TARGET = "1/developer"


def tool_runs(pane, tag):
    """Until then a message would go into the turn that is about to call it."""
    until(
        lambda: any(row["payload"].get("type") == "function_call" and tag in str(row) for row in pane.transcript()),
        "the tool to be called",
    )


def test_words_go_into_the_running_turn_at_once(calm):
    tag = calm.tag()
    calm.tell(calm.program.does(f"talk {tag}", ("work", 8)))
    calm.pane(TARGET).status("busy")
    calm.pane(TARGET).shows("word word")
    calm.tell(f"steer {tag}")
    calm.program.took(f"steer {tag}")
    calm.pane(TARGET).is_idle()


def test_behind_a_tool_it_is_accepted_and_taken_up_after_it(calm):
    tag, program, pane = calm.tag(), calm.program, calm.pane(TARGET)
    gate = calm.dir / tag
    calm.tell(program.does(f"wait {tag}", ("wait", gate)))
    tool_runs(pane, tag)
    texts = [f"behind it {tag} a", f"behind it {tag} b\nwith two lines"]
    for text in texts:
        done = calm.send(TARGET, text, "-k", text)
        assert (done.status, done.row["state"], done.row["evidence"]) == (0, "accepted", "history"), done
    calm.tmo("tmo-deliver")
    assert [calm.message(text)["state"] for text in texts] == ["accepted"] * 2
    assert [program.taken(text) for text in texts] == [0, 0]
    gate.touch()
    for text in texts:
        assert calm.delivered(text)["attempts"] == 1
        program.took(text)
    pane.is_idle()


def test_what_waited_behind_a_tool_comes_again_when_the_agent_was_killed(world, pane):
    world.tell(world.program.does("wait for ever", ("wait", world.dir / "never")))
    tool_runs(pane, "never")
    assert world.send(TARGET, "not lost", "-k", "kept").row["state"] == "accepted"
    pane.kill()
    until(lambda: world.health(TARGET)["state"] == "shell", "the shell")

    def back():
        world.cron("watch", "deliver")
        return world.message("kept")["state"] == "submitted"

    until(back, lambda: f"the message: {world.message('kept')} {world.tmo('tmo-log').rows[-5:]}")
    world.pane(TARGET).is_idle()
    world.account()


def test_the_conversation_is_known_and_resumed(world, pane):
    conversation = pane.registry()["sessionId"]
    world.cron("watch")
    assert world.sql("SELECT conversation_id FROM agent_health")[0]["conversation_id"] == conversation
    pane.kill()

    def back():
        world.cron("watch")
        return pane.registry().get("sessionId") == conversation and world.health(TARGET)["state"] == "idle"

    until(back, lambda: f"the conversation: {pane.registry()} {world.tmo('tmo-log').rows[-5:]}")
    world.account()


def test_a_trust_dialog_gets_no_answer(world):
    pane = world.bare_pane(ready=False, trusted=False)
    pane.shows("› 1. Trust and continue")
    before = pane.screen()
    done = world.send(pane.id, "hello", "-k", "hello")
    assert (done.status, done.row["state"], done.row["attempts"]) == (75, "held", 0)
    assert "dialog trust" in done.row["reason"]
    world.tmo("tmo-deliver")
    assert pane.screen() == before and world.program.prompts() == []
    assert str(world.project) not in world.program.config_file.read_text()
    pane.keys("Enter")
    pane.is_idle()
    world.delivered("hello")
    world.program.took("hello")


def test_an_open_list_of_files_takes_no_enter(calm):
    """At the end of a text that ends in @WORD or $WORD Enter would choose from a list."""
    for words in ("look at @{}", "@{}", "use ${}", "/tmp/{}"):
        tag = calm.tag()
        (calm.project / f"{tag}.txt").touch()
        text = words.format(tag)
        calm.tell(text)
        calm.program.took(text)


def test_trust_is_written_before_the_launch_and_nothing_else(world):
    before = world.program.config_file.read_text()
    world.start()
    after = world.program.config_file.read_text()
    assert after.startswith(before.rstrip()) and f'[projects."{world.project}"]\ntrust_level = "trusted"' in after


def test_the_login_is_that_of_its_provider_or_its_own(world):
    auth = world.tmo("tmo-authcheck", "-a", "codex", "-C", world.project).row["auth"]
    assert (auth["ok"], auth["logged_in"], auth["method"], auth["trusted"]) == (False, True, "OWN_KEY", False)
    assert auth["missing"] == ["trust_level"] and auth["version"] == "0.169.0"
    auth = world.tmo("tmo-authcheck", "-a", "codex", "-C", world.project, env={"OWN_KEY": "", "TMO_DB": ":x"}).row["auth"]
    assert auth["logged_in"] is False and "login" in auth["missing"]


def test_a_command_is_sent_when_asked_for(world, pane):
    assert world.tell("!touch run", "--command").row["evidence"] == "transcript"
    until((world.project / "run").exists, "the shell line to run")
    pane.is_idle()
    done = world.send(TARGET, "/no-such-command at all", "--command", "-t", "2")
    assert (done.status, done.row["state"]) == (1, "typed")  # it stays in the composer
    pane.shows("Unrecognized command '/no-such-command'")
    assert world.program.taken("no-such-command") == 0
