"""What became of messages, by what an agent wrote down before it ended."""

import json

import pytest
from tmuxorch import config, store
from tmuxorch.errors import Later
from tmuxorch.steps import send
from tmuxorch.steps.send import Sender, out_of_sight, pane_lock

PROMPT = json.dumps({"type": "user", "message": {"role": "user", "content": "go on"}}) + "\n"
DEADLINE_S = 30.0


@pytest.fixture
def sender(tmp_path):
    settings = config.load({"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "q.db"), "TMO_SOCKET": str(tmp_path / "tmux")})
    return Sender(settings, store.write(settings.db))


@pytest.fixture
def accepted(sender, tmp_path):
    """A message with the text of PROMPT that was accepted when the transcript was so long."""

    def add(key, transcript_at):
        sender.db.add_message({
            "key": key, "text": "go on", "target": "%1", "pane_id": "%1", "pane_pid": 1, "server": "1@1", "actor": "me",
            "state": "accepted", "created_at": 1, "due_at": 1, "next_attempt_at": 1, "expires_at": 9e9, "typed_at": 1,
            "transcript": str(tmp_path / "transcript.jsonl"), "transcript_at": transcript_at,
        })  # fmt: skip

    return add


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_same_text_twice_is_settled_in_any_order(order, sender, accepted, tmp_path):
    (tmp_path / "transcript.jsonl").write_text(PROMPT * 2)
    accepted("a", 0)
    accepted("b", len(PROMPT))  # it was typed when the first prompt was there already
    for key in order:
        assert sender.settle(sender.db.message(key))["state"] == "submitted"
    assert [sender.db.message(key)["taken_at"] for key in ("a", "b")] == [0, len(PROMPT)]


def test_one_prompt_is_no_proof_of_two_messages(sender, accepted, tmp_path):
    (tmp_path / "transcript.jsonl").write_text(PROMPT)
    accepted("a", 0)
    accepted("b", 0)
    assert [sender.settle(sender.db.message(key))["state"] for key in ("a", "b")] == ["submitted", "queued"]


def test_one_pane_has_one_lock_however_its_server_is_named(tmp_path):
    environ = {"HOME": str(tmp_path), "TMO_DB": str(tmp_path / "q.db")}
    one, other = (config.load({**environ, "TMO_SOCKET": socket}) for socket in ("work", "/tmp/tmux-0/work"))
    pane = {"pane_id": "%1", "socket_path": "/tmp/tmux-0/work"}
    with pane_lock(one, pane, 1), pytest.raises(Later), pane_lock(other, pane, 0.05):
        pass
    with pane_lock(one, pane, 1), pane_lock(other, {**pane, "pane_id": "%2"}, 1):
        pass


@pytest.mark.parametrize(("processes", "dead", "unseen"), [([], False, True), ([], True, False), ([{}], False, False)])
def test_a_process_table_that_cannot_be_read_ends_no_agent(processes, dead, unseen):
    assert out_of_sight({}, {"processes": processes, "pane": {"pane_dead": dead}}, None) == unseen


@pytest.mark.parametrize("least_s", [DEADLINE_S, 0.0])  # 0: as when tmux was slow to press it
def test_an_enter_is_never_left_without_a_look_for_its_proof(least_s, sender, accepted, stub, tmp_path, monkeypatch):
    accepted("a", 0)
    message = {**sender.db.message("a"), "hook_at": 0}
    facts = {"pane": {"pane_id": "%1", "pane_pid": 1, "@tmo_run": ""}, "profile": stub, "hooks_path": None}

    def press(*_):
        (tmp_path / "transcript.jsonl").write_text(PROMPT)
        return True

    monkeypatch.setattr(send, "LEAST_S", least_s)
    monkeypatch.setattr(sender.tmux, "press", press)
    monkeypatch.setattr(sender, "busy", lambda _: False)
    monkeypatch.setattr(sender, "unproved", lambda *_: {"state": "unknown"})
    assert sender.submit(message, facts, 0.0)["state"] == "submitted"
