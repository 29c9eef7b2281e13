"""The stub agent as it is met: a program in a pane of a real tmux, judged by its journal and its files."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

AGENT = str(Path(__file__).parents[2] / "bin" / "tmo-stub-agent")
SID = "11111111-2222-4333-8444-555555555555"

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class World:
    """A tmux server, a home and a project directory of our own."""

    def __init__(self, path, until):
        self.path, self.home, self.cwd, self.until = path, path / "home", path / "proj", until
        self.cwd.mkdir()
        self.journal_file = path / "journal"
        (path / "bin").mkdir()
        self.env = {
            "PATH": f"{path / 'bin'}:{os.environ['PATH']}", "HOME": str(path), "LANG": "C.UTF-8", "TERM": "xterm-256color",
            "TMO_STUB_HOME": str(self.home), "TMO_STUB_JOURNAL": str(self.journal_file), "TMUX_TMPDIR": str(path),
            "PYTHONDONTWRITEBYTECODE": "1", "TZ": "Europe/Warsaw",
        }  # fmt: skip
        self.panes = 0
        self.tmux("new-session", "-d", "-s", "keep", "-x", "80", "-y", "24", "cat")
        self.tmux("set", "-g", "remain-on-exit", "on")
        self.trust(self.cwd)

    def tmux(self, *argv, stdin=None):
        argv = ["tmux", "-L", "stub-test", "-f", "/dev/null", "-u", *argv]
        return subprocess.run(argv, env=self.env, input=stdin, capture_output=True, text=True, timeout=20, check=True).stdout

    def trust(self, path):
        self.home.mkdir(exist_ok=True)
        config = {"projects": {str(path): {"hasTrustDialogAccepted": True}}}
        (self.home / "config.json").write_text(json.dumps(config))

    def agent(self, *argv, ready=True, size=(100, 30), env=(), under=()):
        """A new pane with an agent in it."""
        self.panes += 1
        name = f"a{self.panes}"
        extra = [part for pair in env for part in ("-e", pair)]
        start = ["new-session", "-d", "-s", name, "-x", str(size[0]), "-y", str(size[1]), *extra, "-c", str(self.cwd)]
        self.tmux(*start, "--", *(under or (AGENT, "--start-s", "0", *argv)))
        pane = Pane(self, self.tmux("display", "-p", "-t", f"={name}:", "#{pane_id}").strip())
        if ready:
            self.until(pane.is_ready, "the composer")
        return pane

    def refused(self, words, *argv, env=()):
        """Below a shell: of a program that ends at once tmux may lose the words."""
        command = shlex.join([AGENT, *argv])
        pane = self.agent(ready=False, env=env, under=("sh", "-c", f"{command}; echo status $?; exec cat"))
        pane.shows("status 1")
        assert words in pane.screen()

    def auth(self, *argv):
        return subprocess.run([AGENT, "auth", *argv], env=self.env, capture_output=True, text=True, timeout=20, check=False)

    def journal(self, kind=None):
        return [row for row in lines_of(self.journal_file) if kind in (None, row["kind"])]

    def prompts(self):
        return [row["prompt"] for row in self.journal("prompt")]

    def transcript(self, session_id=SID):
        return lines_of(
            self.home / "projects" / "".join(c if c.isalnum() else "-" for c in str(self.cwd)) / f"{session_id}.jsonl"
        )

    def state(self):
        path = self.home / "state" / f"{SID}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def errors(self):
        path = self.home / "stub-errors.log"
        return path.read_text() if path.exists() else ""


class Pane:
    def __init__(self, world, pane):
        self.world, self.id = world, pane

    def keys(self, *keys):
        self.world.tmux("send-keys", "-t", self.id, *keys)

    def type(self, text):
        self.world.tmux("send-keys", "-l", "-t", self.id, "--", text)

    def paste(self, text):
        self.world.tmux(
            "load-buffer", "-b", "x", "-", ";", "paste-buffer", "-p", "-r", "-d", "-b", "x", "-t", self.id, stdin=text
        )

    def send(self, text):
        """As a careful sender does: pasted, seen, Enter."""
        self.paste(text)
        self.world.until(lambda: self.composer().strip(), "the pasted text")
        self.keys("Enter")

    def screen(self, *options):
        return self.world.tmux("capture-pane", "-p", *options, "-t", self.id)

    def get(self, name):
        return self.world.tmux("display", "-p", "-t", self.id, f"#{{{name}}}").strip()

    def composer(self):
        """What stands between the last two rules, None if there are none."""
        lines = self.screen().split("\n")
        rules = [index for index, line in enumerate(lines) if line.startswith("───")]
        if len(rules) < 2 or not lines[rules[-2] + 1].startswith(("❯\xa0", "!\xa0")):
            return None
        return "\n".join(line[2:].rstrip() for line in lines[rules[-2] + 1 : rules[-1]])

    def is_ready(self):
        return self.composer() is not None and self.registry().get("status")

    def shows(self, text):
        self.world.until(lambda: text in self.screen(), f"'{text}' on the screen")

    @property
    def pid(self):
        return int(self.get("pane_pid"))

    def registry(self):
        path = self.world.home / "sessions" / f"{self.pid}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def status(self, wanted):
        self.world.until(lambda: self.registry().get("status") == wanted, f"the registry to say {wanted}")

    def dead(self):
        """How its process ended, once it has."""
        self.world.until(lambda: self.get("pane_dead") == "1", "the pane to die")

        def ended():
            self.world.tmux("run-shell", "true")  # tmux 3.3a may overlook a child's end until another child ends
            return self.get("pane_dead_status") or self.get("pane_dead_signal")

        return self.world.until(ended, "the exit status")


@pytest.fixture
def world(tmp_path, until):
    world = World(tmp_path, until)
    yield world
    errors = world.errors()
    world.tmux("kill-server")
    assert not errors


def script(*steps):
    return "please\n```stub\n" + "\n".join(steps) + "\n```"


# Starting


def test_a_new_user_needs_only_to_trust_the_directory(world):
    shutil.rmtree(world.home)
    pane = world.agent("hello there", ready=False)
    pane.shows("❯ No, exit")
    assert pane.registry() == {}
    assert (pane.get("alternate_on"), pane.get("cursor_x"), pane.get("cursor_flag")) == ("0", "1", "0")
    pane.paste("swallowed\n")
    pane.keys("Down")
    pane.shows("❯ Yes, I trust this folder")
    pane.keys("Enter")
    pane.shows("ok: hello there")
    assert world.prompts() == ["hello there"]
    assert world.journal("dialog")[0]["keys"] == ["paste", "down", "enter"]
    pane.status("idle")
    row = pane.registry()
    stat = Path(f"/proc/{pane.pid}/stat").read_text().rpartition(")")[2].split()
    assert (row["pid"], row["procStart"], row["cwd"]) == (pane.pid, stat[19], str(world.cwd))
    assert row["tmux"] == f"{pane.get('session_name')}:{pane.get('window_id')}.{pane.id}"


@pytest.mark.parametrize(("keys", "status"), [(["Enter"], "1"), (["Escape"], "0"), (["C-c", "C-c"], "1")])
def test_a_blind_enter_into_the_trust_dialog_ends_the_agent(world, keys, status):
    world.trust("/nowhere")
    pane = world.agent(ready=False)
    pane.shows("❯ No, exit")
    for key in keys:
        pane.keys(key)
    assert pane.dead() == status
    assert "didn't start because this folder isn't trusted" in pane.screen()


def test_bypass_is_refused_to_root_and_asked_of_others(world):
    if os.geteuid() == 0:
        words = "cannot be used with root/sudo privileges"
        world.refused(words, "--dangerously-skip-permissions", env=["IS_SANDBOX=yes"])
    pane = world.agent("--dangerously-skip-permissions", ready=False, env=["IS_SANDBOX=1"])
    pane.shows("❯ No, exit")
    pane.keys("Down", "Enter")
    world.until(pane.is_ready)
    pane.shows("bypass permissions on")
    assert world.agent("--dangerously-skip-permissions", env=["IS_SANDBOX=1"]).registry()


def test_what_is_typed_too_early_is_a_draft_and_its_enter_is_lost(world):
    gate = world.path / "gate"
    os.mkfifo(gate)
    wait = f"read x <{gate}; exec {AGENT} --start-s 1"
    pane = world.agent(ready=False, under=("sh", "-c", wait))
    pane.type("too early")
    pane.keys("Enter")
    pane.shows("too early")
    gate.write_text("go\n")
    world.until(pane.is_ready)
    assert pane.composer() == "too early"
    assert world.prompts() == []
    pane.keys("Enter")
    world.until(lambda: world.prompts() == ["too early"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resume", SID], "No conversation found with session ID"),
        (["--continue"], "No conversation found to continue"),
        (["--session-id", "x"], "Invalid session ID"),
        (["--settings", "{"], "Invalid JSON"),
        (["--script", "/missing"], "cannot read '/missing'"),
    ],
)
def test_calls_that_cannot_start(world, argv, words):
    world.refused(words, *argv)


def test_auth_is_local_and_logout_is_remembered(world):
    status = world.auth("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["loggedIn"]) == (0, True)
    (world.home / "server.json").write_text(
        json.dumps({"reject": [json.loads((world.home / "credentials.json").read_text())["token"]]})
    )
    assert world.auth("status").returncode == 0
    assert world.auth("logout").returncode == 0
    status = world.auth("status")
    assert (status.returncode, json.loads(status.stdout)["authMethod"]) == (1, "none")
    pane = world.agent()
    pane.send("hello")
    pane.shows("Not logged in · Please run /login")
    assert world.auth("login").returncode == 0
    pane.send("again")
    pane.shows("ok: again")


# Delivery


@pytest.mark.parametrize("tui", ["fullscreen", "classic"])
@pytest.mark.parametrize(
    "text",
    [
        "one;",
        "-x",
        "żółć 日本語 🙂",
        "two\nlines",
        "\n".join(f"line {n} of a long text" for n in range(300)),
        "/tmp/path is text",
        "#1",
        "@x",
    ],
    ids=["semicolon", "dash", "unicode", "lines", "long", "path", "hash", "at"],
)
def test_pasted_and_entered_it_is_submitted_exactly_once(world, text, tui):
    pane = world.agent("--session-id", SID, "--tui", tui)
    assert pane.get("alternate_on") == str(int(tui == "fullscreen"))
    pane.send(text)
    world.until(lambda: world.journal("turn_end"))
    assert world.prompts() == [text]
    record = next(record for record in world.transcript() if record["type"] == "user")
    assert text in record["message"]["content"]
    assert record["message"]["content"].startswith("<pasted_content id=") == (len(text) > 1000)
    world.until(lambda: pane.composer() == "", "an empty composer")
    assert world.transcript()[-1]["subtype"] == "turn_duration"


@pytest.mark.parametrize(("size", "submitted"), [(62, True), (63, False)])
def test_text_and_enter_in_one_call_from_64_bytes_on_is_not_submitted(world, size, submitted):
    pane = world.agent()
    pane.keys("x" * size, "Enter")
    if submitted:
        world.until(world.prompts)
    else:
        world.until(lambda: pane.composer() == "x" * size)
        pane.keys("Enter")
    world.until(lambda: world.prompts() == ["x" * size])


def test_a_spare_enter_does_nothing(world):
    pane = world.agent()
    pane.send("hello")
    pane.keys("Enter")
    world.until(lambda: world.journal("turn_end"))
    pane.keys("Enter")
    pane.send("more")
    world.until(lambda: len(world.journal("turn_end")) == 2)
    assert world.prompts() == ["hello", "more"]


def test_an_absorbed_enter_leaves_the_text_as_a_draft(world):
    pane = world.agent()
    pane.send(script("swallow-enter"))
    world.until(lambda: world.journal("turn_end"))
    pane.send("\n".join("abcdefghijklmnopqrst"))
    world.until(lambda: pane.composer() == "[Pasted text #2 +20 lines]")
    assert len(world.prompts()) == 1
    pane.keys("Enter")
    world.until(lambda: world.prompts()[1:] == ["\n".join("abcdefghijklmnopqrst")])


def test_newline_and_backslash(world):
    pane = world.agent()
    pane.type("one")
    pane.keys("C-j")
    pane.type("two\\")
    pane.keys("Enter")
    world.until(lambda: pane.composer() == "one\ntwo\n")
    pane.keys("Enter")
    world.until(lambda: world.prompts() == ["one\ntwo"])


def test_shell_lines_and_commands_never_reach_the_model(world):
    pane = world.agent("--session-id", SID)
    pane.type("!touch made-by-shell")
    pane.shows("! for shell mode")
    pane.keys("Enter")
    world.until((world.cwd / "made-by-shell").exists)
    pane.status("idle")
    pane.send("/nosuch thing")
    pane.shows("Unknown command: /nosuch")
    pane.send("/clear")
    world.until(lambda: pane.registry()["sessionId"] != SID)
    assert world.prompts() == []
    assert [row["command"] for row in world.journal("command")] == ["!touch made-by-shell", "/nosuch thing", "/clear"]


# Busy


def test_a_message_to_a_busy_agent_waits_for_the_end_of_the_turn(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("work 1.5"))
    pane.status("busy")
    pane.shows("esc to interrupt")
    pane.send("first")
    pane.shows("Queued · ctrl+x ctrl+s to send now")
    world.until(lambda: pane.composer() == "Press up to edit queued messages")
    assert "\x1b[7mP\x1b[0;2m" in pane.screen("-e")
    pane.send("second")
    world.until(lambda: len(world.journal("queued")) == 2)
    assert len(world.prompts()) == 1
    world.until(lambda: len(world.journal("turn_end")) == 2)
    assert world.prompts()[1:] == ["first", "second"]
    spoken = [r["type"] for r in world.transcript() if r["type"] in ("user", "assistant")]
    assert spoken == ["user", "user", "user", "assistant"]  # one turn answers both
    operations = [r["operation"] for r in world.transcript() if r["type"] == "queue-operation"]
    assert operations == ["enqueue", "enqueue", "dequeue", "dequeue"]


def test_a_queued_message_goes_into_the_running_turn_with_the_next_tool_result(world):
    pane = world.agent("--session-id", SID)
    gate = world.path / "gate"
    os.mkfifo(gate)
    pane.send(script(f"run cat {gate}", "work 60"))
    pane.shows("Running…")
    pane.send("for the running turn")
    world.until(lambda: world.journal("queued"))
    gate.write_text("go\n")
    world.until(lambda: world.prompts()[1:] == ["for the running turn"])
    assert world.journal("prompt")[1]["source"] == "absorbed"
    kinds = [(r["type"], r.get("operation")) for r in world.transcript()]
    assert ("queue-operation", "remove") in kinds
    assert kinds[-1] == ("attachment", None)
    assert not any(r["type"] == "user" and r["message"]["content"] == "for the running turn" for r in world.transcript())
    pane.status("busy")


def test_a_queued_message_dies_with_the_agent_and_the_script_goes_on_after_a_resume(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("write a one", "work 60", "write b two"))
    world.until((world.cwd / "a").exists)
    pane.send("queued")
    world.until(lambda: world.journal("queued"))
    os.kill(pane.pid, signal.SIGKILL)
    assert pane.dead()
    assert pane.registry()["status"] == "busy"
    assert world.transcript()[-1]["operation"] == "enqueue"
    assert world.state()["at"] == 1
    again = world.agent("--resume", SID)
    again.shows("please")
    assert again.composer() == ""
    assert "queued" not in world.prompts()
    assert again.registry()["status"] == "idle"


def test_escape_before_any_output_gives_the_prompt_back(world):
    pane = world.agent()
    pane.send("```stub\nwork 60\n```")
    pane.status("busy")
    pane.keys("Escape")
    world.until(lambda: pane.composer() == "```stub\nwork 60\n```")
    pane.status("idle")


def test_escape_after_output_keeps_the_prompt_and_starts_what_is_queued(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("say hello", "work 60"))
    pane.shows("● hello")
    pane.send("/nosuch")
    world.until(lambda: world.journal("queued"))
    pane.keys("Escape")
    pane.shows("Interrupted")
    pane.shows("Unknown command: /nosuch")
    assert {"type": "text", "text": "[Request interrupted by user]"} in [
        part for r in world.transcript() if r["type"] == "user" for part in r["message"]["content"]
    ]


# Dialogs


def test_a_paste_into_a_permission_dialog_is_lost_and_its_enter_approves(world):
    pane = world.agent("--permission-mode", "manual")
    pane.send(script("run touch approved", "work 60"))
    pane.shows("❯ 1. Yes")
    pane.status("waiting")
    assert pane.registry()["waitingFor"] == "permission prompt"
    assert pane.composer() is None
    pane.paste("please stop 4\nnow")
    pane.type("please stop")
    pane.keys("Enter")
    world.until((world.cwd / "approved").exists)
    assert len(world.prompts()) == 1
    row = world.until(lambda: world.journal("dialog"))[0]
    assert (row["answer"], row["keys"]) == ("Yes", ["paste", "please stop", "enter"])
    pane.status("busy")


def test_a_digit_answers_and_a_rejection_ends_the_turn(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("ask touch approved", "say behind"))
    pane.shows("Do you want to proceed?")
    pane.type("4")
    pane.shows("Interrupted")
    pane.status("idle")
    assert not (world.cwd / "approved").exists()
    assert not any(r.get("subtype") == "turn_duration" for r in world.transcript())
    pane.send("go on")
    pane.shows("● behind")


def test_another_dialog_stands_in_the_way_and_its_first_item_is_harmless(world):
    pane = world.agent()
    pane.send(script("dialog Try the new model?", "say behind"))
    pane.shows("Try the new model?")
    pane.status("waiting")
    assert pane.registry()["waitingFor"] == "input needed"
    pane.keys("Enter")
    pane.shows("● behind")
    assert world.journal("dialog")[0]["answer"] == "Not now"


# What goes wrong


def test_a_lost_login_fails_every_agent_of_the_home_until_a_new_login(world):
    first, second = world.agent("--session-id", SID), world.agent()
    first.send(script("login-lost", "say first is back"))
    first.shows("retrying in 1s · attempt 2/3")
    first.shows("Invalid API key · Please run /login")
    world.until(lambda: first.composer() == "Once fixed, resend your message")
    assert "\x1b[7mO\x1b[0;2m" in first.screen("-e")
    first.status("idle")
    error = world.transcript()[-1]
    assert (error["isApiErrorMessage"], error["apiErrorStatus"], error["error"]) == (True, 401, "authentication_failed")
    second.send("anything")
    second.shows("Invalid API key")
    assert world.auth("status").returncode == 0
    world.auth("login")
    first.send("go on")
    first.shows("● first is back")
    second.send("hello")
    second.shows("ok: hello")


def test_a_usage_limit_fails_all_until_its_time(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("limit 2", "say over"))
    pane.shows("You've hit your limit · resets ")
    pane.shows("(Europe/Warsaw)")
    assert world.transcript()[-1]["error"] == "rate_limit"
    other = world.agent()
    other.send("hello")
    other.shows("You've hit your limit")
    limit = json.loads((world.home / "server.json").read_text())["limit_until"]
    world.until(lambda: time.time() > limit)
    pane.send("now?")
    pane.shows("● over")


@pytest.mark.parametrize(
    ("status", "words", "error"),
    [("500", "API Error: 500 Internal server error", "server_error"), ("529", "Repeated 529 Overloaded", "server_error"),
     ("429", "Request rejected (429)", "rate_limit")],
)  # fmt: skip
def test_an_api_error_ends_one_turn(world, status, words, error):
    pane = world.agent("--session-id", SID)
    pane.send(script(f"error {status}", "say behind"))
    pane.shows(words)
    world.until(lambda: pane.composer() == "Resend your message to try again")
    assert (world.transcript()[-1]["error"], world.transcript()[-1]["apiErrorStatus"]) == (error, int(status))
    pane.send("again")
    pane.shows("● behind")


def test_a_retry_stays_busy_and_goes_on_by_itself(world):
    pane = world.agent()
    pane.send(script("retry 2", "say through"))
    pane.shows("API error · retrying in 2s · attempt 2/10")
    assert pane.registry()["status"] == "busy"
    pane.shows("● through")


def test_a_full_context_fails_until_it_is_compacted(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("context-full", "say behind"))
    pane.shows("Context limit reached · /compact or /clear to continue")
    assert world.transcript()[-1]["message"]["content"][0]["text"] == "Prompt is too long"
    pane.send("hello?")
    world.until(lambda: len(world.journal("error")) == 2)
    pane.send("/compact")
    pane.shows("Compacted")
    pane.send("go on")
    pane.shows("● behind")


def test_a_hanging_agent_moves_nothing_and_reads_nothing(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("hang", "say behind"))
    world.until(lambda: world.state().get("at") == 1)
    before = pane.screen("-e")
    pane.paste("unheard")
    pane.keys("Enter")
    other = world.agent()
    other.send(script("work 1"))
    world.until(lambda: world.journal("turn_end"))
    assert pane.screen("-e") == before
    assert not world.journal("queued")
    assert pane.registry()["status"] == "busy"
    os.kill(pane.pid, signal.SIGKILL)
    pane.dead()
    again = world.agent("--resume", SID)
    again.send("go on")
    again.shows("● behind")
    assert "unheard" not in world.prompts()


def test_a_deaf_agent_hears_later_what_was_typed(world):
    pane = world.agent("--session-id", SID)
    pane.send(script("deaf 1", "work 60"))
    assert world.until(world.state)["at"] == 0  # a kill now would not lose the script
    pane.type("late")
    world.until(lambda: pane.composer() == "late")


@pytest.mark.parametrize(
    ("step", "status", "stale"),
    [("crash 3", "3", True), ("kill", "9", True), ("kill-pane", "9", True), ("exit", "0", False)],
)
def test_the_ways_to_die_and_what_goes_on_after_a_resume(world, step, status, stale):
    pane = world.agent("--session-id", SID)
    pid = pane.pid
    pane.send(script(step, "say behind"))
    assert pane.dead() == status
    assert (world.home / "sessions" / f"{pid}.json").exists() == stale
    if step == "exit":
        assert f"tmo-stub-agent --resume {SID}" in pane.screen()
    again = world.agent("--continue")
    assert again.registry()["sessionId"] == SID
    again.send("go on")
    again.shows("● behind")


def test_kill_pane_takes_the_shell_below_with_it(world):
    pane = world.agent(ready=False, under=("sh", "-c", f"{AGENT} --start-s 0 'say ```'; true"))
    pane.shows("ok: say")
    pane.send(script("kill-pane"))
    pane.dead()
    world.until(lambda: world.journal("exit")[1:])


def test_a_person_s_draft_appears_when_the_turn_ends(world):
    pane = world.agent()
    pane.send(script("draft half a thought"))
    world.until(lambda: pane.composer() == "half a thought")
    assert len(world.prompts()) == 1


def test_an_error_of_our_own_leaves_no_traceback_in_the_pane(world):
    pane = world.agent()
    shutil.rmtree(world.home / "sessions")
    pane.send("hello")
    assert pane.dead() == "70"
    assert "Traceback" not in pane.screen()
    assert "FileNotFoundError" in world.errors()
    (world.home / "stub-errors.log").unlink()


# Work


def test_a_spec_is_worked_off_with_commits_and_tmo_done(world):
    subprocess.run(["git", "init", "-q"], cwd=world.cwd, check=True)
    done = world.path / "bin" / "tmo-done"
    done.write_text(f'#!/bin/sh\necho "$@" >{world.path}/done; echo recorded\n')
    done.chmod(0o755)
    (world.cwd / "spec.md").write_text(
        "# Shop\n\n```stub\nwork 0.1\ncommit shop.txt\nrun echo hi >out.txt\ndone all is well\n```\n"
    )
    pane = world.agent("Read spec.md and do it.")
    world.until(lambda: world.journal("turn_end"))
    assert (world.path / "done").read_text() == "-m all is well\n"
    assert (world.cwd / "out.txt").read_text() == "hi\n"
    log = subprocess.run(["git", "log", "--format=%an %s"], cwd=world.cwd, capture_output=True, text=True, check=True).stdout
    assert log == "stub work: shop.txt\n"
    pane.shows("recorded")


def test_an_ordinary_spec_is_worked_off_without_a_repository(world):
    (world.cwd / "spec.md").write_text("# Shop\n")
    (world.path / "steps").write_text("commit\nfinish\nsay more\n")
    pane = world.agent("--script", str(world.path / "steps"), "go by spec.md")
    world.until(lambda: world.journal("turn_end"))
    assert (world.cwd / "stub-work.txt").read_text() == "step 1\n"
    pane.send("and spec.md")
    pane.shows("● more")


def test_a_broken_script_is_told_in_the_pane(world):
    pane = world.agent()
    pane.send(script("fly away"))
    pane.shows("unknown step 'fly'")
    pane.status("idle")


# Hooks and keys


def test_the_hooks_hear_what_happens_and_a_hanging_one_is_left_behind(world):
    log = world.path / "hooks"
    hook = {"hooks": [{"type": "command", "command": f"cat >>{log}; echo >>{log}"}]}
    names = ["SessionStart", "UserPromptSubmit", "Stop", "StopFailure", "PermissionRequest", "SessionEnd"]
    settings = {"hooks": {name: [hook] for name in names}}
    settings["hooks"]["Stop"].insert(0, {"hooks": [{"type": "command", "command": "sleep 600"}]})
    pane = world.agent("--session-id", SID, "--settings", json.dumps(settings))
    pane.send(script("work 0.5", "ask true"))
    pane.send("queued")
    pane.shows("Do you want to proceed?")
    pane.keys("Enter")
    world.until(lambda: len(world.journal("turn_end")) == 1)
    pane.send(script("error 529"))
    pane.shows("Repeated 529")
    pane.send("/exit")
    assert pane.dead() == "0"
    rows = lines_of(log)
    heard = [row["hook_event_name"] for row in rows]
    assert heard == ["SessionStart", "UserPromptSubmit", "UserPromptSubmit", "PermissionRequest", "Stop", "UserPromptSubmit",
                     "StopFailure", "SessionEnd"]  # fmt: skip
    assert rows[0]["source"] == "startup"
    assert rows[2]["prompt"] == "queued"
    assert rows[6]["error"] == "server_error"
    assert {row["session_id"] for row in rows} == {SID}
    assert Path(rows[0]["transcript_path"]).exists()


def test_c_c_clears_a_draft_and_twice_leaves(world):
    pane = world.agent()
    pane.type("draft")
    world.until(lambda: pane.composer() == "draft")
    pane.keys("C-c")
    pane.shows("Press Ctrl-C again to exit")
    assert pane.composer() == ""
    world.until(lambda: "again to exit" not in pane.screen(), "the hint to go")
    pane.keys("C-c")
    pane.keys("C-c")
    assert pane.dead() == "0"
    assert pane.registry() == {}


def test_up_recalls_what_was_sent_and_fetches_what_is_queued(world):
    pane = world.agent("--session-id", SID)
    pane.send("remember me")
    world.until(lambda: world.journal("turn_end"))
    pane.keys("Up")
    world.until(lambda: pane.composer() == "remember me")
    pane.shows("─── History 1/1 ──")
    pane.keys("Down")
    world.until(lambda: pane.composer() == "")
    pane.send(script("work 60"))
    pane.status("busy")
    pane.send("queued")
    world.until(lambda: world.journal("queued"))
    pane.keys("Up")
    world.until(lambda: pane.composer() == "queued")
    assert world.transcript()[-1]["operation"] == "popAll"


def test_suspended_in_a_shell_it_comes_back(world):
    pane = world.agent(ready=False, under=("bash", "--norc", "-i"))
    pane.type(f"{AGENT} --start-s 0")
    pane.keys("Enter")
    world.until(lambda: pane.composer() is not None)
    pane.keys("C-z")
    world.until(lambda: pane.get("pane_current_command") == "bash")
    assert "is suspended. Run `fg` to bring it back." in pane.screen()
    assert pane.get("alternate_on") == "0"
    pane.type("fg")
    pane.keys("Enter")
    world.until(lambda: pane.composer() == "")
    pane.send("still here")
    world.until(lambda: world.prompts() == ["still here"])


def test_suspended_without_a_shell_it_waits_for_a_signal(world):
    pane = world.agent()
    pane.keys("C-z")
    pane.shows("is suspended")
    pane.type("unheard until then")
    os.kill(pane.pid, signal.SIGCONT)
    world.until(lambda: pane.composer() == "unheard until then")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(world, number):
    pane = world.agent()
    os.kill(pane.pid, number)
    assert pane.dead() == str(128 + number)
    assert pane.registry() == {}


@pytest.mark.parametrize("tui", ["fullscreen", "classic"])
def test_it_follows_the_size_of_its_pane(world, tui):
    pane = world.agent("--tui", tui, size=(80, 24))
    pane.type("日本語 draft")
    world.until(lambda: pane.composer() == "日本語 draft")
    for width, height in ((120, 40), (200, 50), (60, 12)):
        pane.world.tmux("resize-window", "-t", pane.id, "-x", str(width), "-y", str(height))
        world.until(lambda width=width: "─" * width in pane.screen().split("\n"), "rules of the new width")
        world.until(lambda: pane.composer() == "日本語 draft")
        assert (int(pane.get("cursor_x")), pane.get("pane_title")) == (14, "✳ Stub Agent")
        assert pane.screen().count("❯") == 1


def test_it_costs_next_to_nothing_while_idle(world):
    pane, clock = world.agent(), world.agent()

    def spent():
        return sum(map(int, Path(f"/proc/{pane.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = spent()
    clock.send(script("work 1"))
    world.until(lambda: world.journal("turn_end"))
    assert spent() - before <= 2  # hundredths of a second
