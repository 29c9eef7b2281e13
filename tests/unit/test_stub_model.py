"""The stub agent's conversation without a terminal: the clock is moved on by hand."""

import math

import pytest
from tmuxorch.stub.disk import Home, Journal, Session
from tmuxorch.stub.model import Model
from tmuxorch.stub.turns import NOTIFY_S, Prompt


class Ears:
    """Stands where the hooks are."""

    def __init__(self):
        self.heard = []

    def fire(self, session, event, **fields):
        self.heard.append((event, fields))


class Conversation:
    def __init__(self, path, steps=(), mode="auto", seed=0):
        self.ears = Ears()
        home = Home(str(path))
        session = Session(home, str(path), "11111111-2222-4333-8444-555555555555")
        self.model = Model(home, session, Journal(None), self.ears, mode, seed)
        self.model.start(list(steps), "startup")

    def send(self, text, steps=math.inf):
        """Submits, and lets time run until nothing is due; what stands on the screen then."""
        self.model.submit(Prompt(text, text))
        while self.model.due < math.inf and not self.model.dialog and steps:
            steps -= 1
            self.model.tick(self.model.due)
        return [block.text for block in self.model.blocks if block.kind != "note"]


@pytest.fixture
def conversation(tmp_path):
    return lambda *steps, **options: Conversation(tmp_path, steps, **options)


def test_a_prompt_without_a_script_is_answered(conversation):
    assert conversation().send("one two three four five six seven") == [
        "one two three four five six seven", "ok: one two three four five six",
    ]  # fmt: skip


def test_a_script_goes_on_with_each_prompt_and_then_there_is_only_talk(conversation):
    talk = conversation("say a", "finish", "say b")
    assert talk.send("one")[1:] == ["a"]
    assert talk.send("two")[3:] == ["b"]
    assert talk.send("three")[5:] == ["ok: three"]


def test_a_given_script_starts_anew_with_a_new_conversation_only(conversation, tmp_path):
    talk = conversation("say a", "finish", "say b")
    talk.send("one")
    old = talk.model.session
    again = Conversation(tmp_path, ["say a", "finish", "say b"])
    assert again.send("two")[1:] == ["b"]
    assert talk.send("/clear") == ["/clear"]
    assert talk.model.session.id != old.id
    assert talk.send("three")[2:] == ["a"]
    assert [event for event, _ in talk.ears.heard] == [
        "SessionStart", "UserPromptSubmit", "Stop", "SessionEnd", "SessionStart", "UserPromptSubmit", "Stop",
    ]  # fmt: skip
    assert [fields.get("source") or fields.get("reason") for _, fields in talk.ears.heard[3:5]] == ["clear", "clear"]


def test_the_same_seed_lives_the_same_life(conversation, tmp_path):
    steps = ["maybe 0.5 say yes", "say then"] * 8

    def life(seed):
        folder = tmp_path / f"{seed}"
        folder.mkdir(exist_ok=True)
        talk = Conversation(folder / str(len(list(folder.iterdir()))), steps, seed=seed)
        return talk.send("go")[1:]

    assert life(1) == life(1)
    assert len({tuple(life(seed)) for seed in range(8)}) > 1
    assert life(1).count("then") == 8


def test_a_loop_starts_over(conversation):
    said = conversation("say a", "loop").send("go", steps=9)
    assert said[1:5] == ["a"] * 4


def test_a_permission_dialog_that_stands_is_notified_once(conversation):
    talk = conversation("ask true")
    talk.send("go")
    dialog_at = talk.model.due
    talk.model.tick(dialog_at - NOTIFY_S / 2)
    assert talk.ears.heard[-1][0] == "PermissionRequest"
    talk.model.tick(dialog_at)
    talk.model.tick(dialog_at + NOTIFY_S)
    assert [event for event, _ in talk.ears.heard[-2:]] == ["PermissionRequest", "Notification"]
    assert talk.ears.heard[-1][1]["notification_type"] == "permission_prompt"


@pytest.mark.parametrize(("mode", "asks"), [("manual", True), ("auto", False), ("bypassPermissions", False)])
def test_commands_ask_in_manual_mode_only_but_ask_asks_always(conversation, mode, asks):
    talk = conversation("run true", mode=mode)
    talk.send("go")
    assert (talk.model.dialog is not None) == asks
    talk.model.stop()


def test_always_allow_and_auto_mode_end_the_asking(tmp_path, until):
    for digit, mode in (("2", "manual"), ("3", "auto")):
        talk = Conversation(tmp_path / digit, ["run true", "run true"], mode="manual")
        talk.send("go")
        talk.model.press(("text", digit))
        assert talk.model.mode == mode
        until(lambda talk=talk: talk.model.tick(0) or not talk.model.running, "the first command")
        talk.model.tick(talk.model.due)
        assert talk.model.dialog is None
        assert talk.model.running
        talk.model.stop()
