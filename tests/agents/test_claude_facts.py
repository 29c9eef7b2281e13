"""What the programs themselves do, without any command of ours: the facts that our commands are built on.

Each is shown on the real program and on our stub by the same code: a stub that shares our assumptions proves nothing.
"""

import json

import pytest
from harness import until

pytestmark = pytest.mark.only("stub", "claude")
QUEUED = "Press up to edit queued messages"


@pytest.fixture
def pane(world):
    """The agent in a pane of its own."""
    return world.bare_pane()


def submit(pane, text):
    """As a careful sender does: pasted, seen, Enter."""
    pane.paste(text)
    until(lambda: not pane.is_empty(), "the text")
    pane.keys("Enter")


def works(pane, verb="wait"):
    """The agent is at work until the returned file is there."""
    gate = pane.world.dir / pane.world.tag()
    submit(pane, pane.program.does(f"work {gate.name}", (verb, gate)))
    pane.status("busy")
    pane.program.took(f"work {gate.name}")
    return gate


# Enter


@pytest.mark.parametrize("length", [25, 62])
def test_a_short_text_and_enter_in_one_call_is_submitted(pane, length):
    text = "short".ljust(length, "x")
    submit(pane, "the first one")  # right after the launch Enter is not sure yet
    pane.program.took("the first one")
    pane.is_idle()
    pane.keys(text, "Enter")
    pane.program.took(text)


@pytest.mark.parametrize("length", [63, 500])
def test_a_longer_text_and_enter_in_one_call_stays_a_draft(pane, length):
    text = "long".ljust(length, "x")
    pane.keys(text, "Enter")
    until(lambda: "long" in (pane.composer() or ""), "the draft")
    assert pane.registry()["status"] == "idle" and pane.program.taken(text) == 0
    pane.keys("Enter")
    pane.program.took(text)


def test_a_second_enter_adds_nothing(pane):
    submit(pane, "only one")
    pane.keys("Enter")
    pane.keys("Enter")
    pane.program.took("only one")
    pane.is_idle()
    submit(pane, "the next")
    pane.program.took("the next")
    assert len([text for text in pane.program.prompts() if not text.startswith("<")]) == 2


def test_a_last_backslash_turns_enter_into_a_new_line(pane):
    pane.paste("ends with\\")
    until(lambda: (pane.composer() or "").endswith("\\"), "the text")
    pane.keys("Enter")
    until(lambda: pane.composer() == "ends with\n", lambda: repr(pane.composer()))
    assert pane.registry()["status"] == "idle"
    pane.keys("Enter")
    pane.program.took("ends with")
    assert pane.program.taken("ends with\\") == 0


def test_copy_mode_swallows_the_enter_but_not_the_paste(world, pane):
    world.tmux("copy-mode", "-t", pane.id)
    pane.paste("typed and not submitted")
    pane.keys("Enter")
    world.tmux("copy-mode", "-q", "-t", pane.id)
    until(lambda: pane.composer() == "typed and not submitted", "the draft")
    assert pane.program.prompts() == []


def test_send_keys_drops_a_last_semicolon(pane):
    pane.type("first; second;")
    until(lambda: pane.composer() == "first; second", lambda: repr(pane.composer()))


# Pastes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\nthree", "one\ntwo\nthree"),
        ("one\ntwo\nthree\nfour", "[Pasted text #1 +3 lines]"),
        ("\n".join(f"line {number}" for number in range(20)), "[Pasted text #1 +19 lines]"),
        ("x" * 800, None),
        ("x" * 801, "[Pasted text #1]"),
        ("tab\tbed", "tab    bed"),
    ],
)
def test_longer_pastes_fold_to_a_label(pane, text, shown):
    pane.paste(text)
    shown = shown or text
    until(lambda: "".join((pane.composer() or "").split()) == "".join(shown.split()), lambda: repr(pane.composer()))
    pane.keys("Enter")
    pane.program.took(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [("cafe\u0301 \u1112\u1161\u11ab", "caf\xe9 \ud55c"), ("a\u200bb\xadc\u2060d", "abcd"), ("a\u034fb\ufe00c", "abc")],
)
def test_what_is_not_seen_is_composed_or_dropped(pane, text, taken):
    pane.paste(text)
    until(lambda: not pane.is_empty(), "the text")
    pane.keys("Enter")
    until(lambda: [prompt for prompt in pane.program.prompts() if taken in prompt], lambda: ascii(pane.program.prompts()))


def test_marks_of_direction_cost_a_second_enter(pane):
    pane.paste("to the left\u202e or right")
    until(lambda: not pane.is_empty(), "the text")
    pane.keys("Enter")
    pane.shows("Removed 1 invisible character")
    assert pane.program.prompts() == [] and pane.composer() == "to the left or right"
    pane.insist("Enter", pane.is_empty, "the text to go")
    pane.program.took("to the left or right")


# Dialogs


def asked(pane):
    """The agent asks whether it may make a file; the file."""
    made = pane.world.project / pane.world.tag()
    submit(pane, pane.program.does(f"ask {made.name}", ("ask", f"touch {made}")))
    pane.status("waiting")
    pane.shows("❯ 1. Yes")
    assert pane.registry()["waitingFor"] == "permission prompt"
    return made


@pytest.mark.parametrize("key", ["Enter", "1"])
def test_one_key_approves_a_permission_dialog(pane, key):
    made = asked(pane)
    pane.insist(key, made.exists, "the command to run")


def test_a_permission_dialog_takes_no_paste_and_escape_says_no(pane):
    made = asked(pane)
    before = pane.still()
    pane.paste("y\n1\nyes\n")
    pane.keys("x")
    assert pane.still() == before and pane.registry()["status"] == "waiting"
    pane.insist("Escape", lambda: pane.registry()["status"] == "idle", "the agent to be idle")
    assert not made.exists()


@pytest.mark.parametrize(("key", "status"), [("Enter", 1), ("Escape", 0), ("C-c", 1)])
def test_a_blind_key_into_the_trust_dialog_ends_the_program(world, key, status):
    pane = world.bare_pane(
        "sh", "-c", '"$@"; echo "status $?"; exec cat', "sh", *world.program.argv(), ready=False, trusted=False
    )
    pane.shows("❯ No, exit")
    assert pane.registry() == {}
    pane.paste("hello\n")
    pane.insist(key, lambda: "status " in pane.screen(), "the program to end")
    pane.shows(f"status {status}")
    pane.shows("didn't start because this folder isn't trusted")


# At work


def test_escape_before_any_answer_puts_the_prompt_back(pane):
    gate = pane.world.dir / "gate"
    text = pane.program.does("take this back", ("silent", gate))
    submit(pane, text)
    pane.status("busy")
    pane.keys("Escape")
    pane.is_idle()
    until(lambda: (pane.composer() or "").startswith("take this back"), "the draft")
    gate.touch()


def test_a_message_behind_a_turn_waits_and_its_hook_has_fired(world):
    world.start()
    pane = world.pane("1/developer")
    gate = works(pane)
    submit(pane, "behind it")
    until(lambda: any(r["type"] == "queue-operation" for r in pane.transcript()), "the record")
    record = [r for r in pane.transcript() if r["type"] == "queue-operation"][0]
    assert (record["operation"], record["content"]) == ("enqueue", "behind it")
    until(lambda: hooks(world, "UserPromptSubmit")[-1]["prompt"] == "behind it", "the hook")
    assert pane.program.taken("behind it") == 0
    pane.shows(QUEUED)
    assert pane.is_empty()  # those words are dim
    gate.touch()
    pane.program.took("behind it")


def test_a_message_that_is_taken_back_out_of_the_queue_is_recorded_so(world):
    world.start()
    pane = world.pane("1/developer")
    gate = works(pane)
    submit(pane, "behind it")
    pane.shows(QUEUED)
    pane.keys("Up")
    until(lambda: pane.composer() == "behind it", "the draft")
    until(lambda: [r for r in pane.transcript() if r["type"] == "queue-operation"][1:], "the record")
    record = [r for r in pane.transcript() if r["type"] == "queue-operation"][1]
    assert (record["operation"], record["content"]) == ("popAll", "behind it")
    gate.touch()


def hooks(world, name):
    """What the hooks of this name told."""
    rows = [row["hook"] for path in (world.state / "hooks").iterdir() for row in objects(path.read_text())]
    return [row for row in rows if row["hook_event_name"] == name]


def objects(text):
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        value, place = decoder.raw_decode(text, place)
        yield value


@pytest.mark.parametrize("verb", ["wait", "work"])
def test_how_the_transcript_tells_that_it_was_taken_up(pane, verb):
    """Behind a tool as an attachment of the running turn, behind plain words as a prompt of its own."""
    gate = works(pane) if verb == "wait" else None
    if verb == "work":
        submit(pane, pane.program.does("work a while", ("work", 2)))
        pane.status("busy")
    submit(pane, "behind it")
    until(lambda: any(r["type"] == "queue-operation" for r in pane.transcript()), "the record")
    if gate:
        gate.touch()
    pane.program.took("behind it")
    pane.is_idle()

    def told():
        found = []
        for record in pane.transcript():
            if record["type"] == "queue-operation":
                found.append((record["operation"], record.get("reason")))
            elif record["type"] == "attachment" and record["attachment"]["type"] == "queued_command":
                found.append(("attachment", record["attachment"]["prompt"]))
            elif record["type"] == "user" and record["message"]["content"] == "behind it":
                found.append(("user", None))
        return found

    wanted = [("enqueue", None), ("remove", "absorbed_mid_turn"), ("attachment", "behind it")]
    if verb == "work":
        wanted = [("enqueue", None), ("dequeue", None), ("user", None)]
    until(lambda: sorted(map(str, told())) == sorted(map(str, wanted)), told)


def test_a_queued_message_dies_with_its_agent(world):
    pane = world.bare_pane()
    gate = works(pane)
    submit(pane, "behind it")
    # Both, in whatever order: without the first prompt there is no conversation to come back to.
    until(lambda: {"user", "queue-operation"} <= {r["type"] for r in pane.transcript()}, "the records")
    conversation = pane.registry()["sessionId"]
    pid = pane.kill()
    stale = world.program.registry(pid)
    assert stale["status"] == "busy" and stale["sessionId"] == conversation  # the file of the dead one stays
    gate.touch()
    again = world.bare_pane(*world.program.argv("--resume", conversation))
    submit(again, "and now")
    world.program.took("and now")
    again.is_idle()
    assert world.program.taken("behind it") == 0
    assert any(r.get("content") == "behind it" for r in again.transcript())


# Ends


def test_one_ctrl_c_does_not_end_it_and_two_do(pane):
    process = pane.agent()
    pane.keys("C-c")
    pane.shows("again to exit")
    assert process.is_running()
    pane.keys("C-c")
    until(lambda: pane.get("pane_dead") == "1", "the end")
    assert pane.program.registry(process.pid) == {}


def test_suspended_without_a_shell_it_is_deaf_until_it_is_continued(world):
    """In a pane of ours no shell waits for it: the kernel does not stop it, it only believes so."""
    world.start()
    pane = world.pane("1/developer")
    process = pane.agent()
    pane.keys("C-z")
    pane.shows("suspended")
    done = world.send("1/developer", "are you there", "-k", "there")
    assert done.row["state"] in ("held", "refused")
    world.send("1/developer", "are you there", "-k", "later", "-q")
    process.resume()
    pane.is_idle()
    world.delivered("later")
    pane.program.took("are you there", 1 + (done.row["state"] == "held"))


# Errors


@pytest.mark.parametrize(
    ("step", "error", "ghost"),
    [
        (("login-lost",), "authentication_failed", "Once fixed, resend your message"),
        (("error", 500), "server_error", "Resend your message to try again"),
        (("error", 529), "server_error", "Resend your message to try again"),
        (("error", 429), "rate_limit", ""),
        (("context-full",), "invalid_request", "Once fixed, resend your message"),
    ],
)
def test_a_failed_turn_in_transcript_hook_and_composer(world, step, error, ghost):
    world.start()
    pane = world.pane("1/developer")
    submit(pane, world.program.does("go on and fail", step))
    until(lambda: [r for r in pane.transcript() if r.get("isApiErrorMessage")], "the record")
    record = [r for r in pane.transcript() if r.get("isApiErrorMessage")][0]
    assert record["error"] == error
    pane.is_idle()
    assert pane.is_empty() and ghost in pane.composer()
    until(lambda: [hook["error"] for hook in hooks(world, "StopFailure")] == [error], lambda: hooks(world, "StopFailure"))
    submit(pane, "once more")
    world.program.took("once more")


def test_a_shell_line_is_told_to_the_model(pane):
    submit(pane, "!touch run")
    until((pane.world.project / "run").exists, "the shell line to run")

    def told():
        found = []
        for record in pane.transcript():
            text = str(record["message"]["content"]) if record["type"] == "user" else ""
            found += [name for name in ("<bash-input>touch run<", "<bash-stdout>") if name in text]
            found += ["answer"] if record["type"] == "assistant" else []
            found += ["end"] if record.get("subtype") == "turn_duration" else []
        return found

    until(lambda: told() == ["<bash-input>touch run<", "<bash-stdout>", "answer", "end"], told)
