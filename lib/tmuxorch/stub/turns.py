"""What a conversation does: prompts wait, become turns, use tools and fail; the disk and the hooks hear of it."""

import math
import os
import random
import re
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import dialog, failures, script
from .disk import Home, Hooks, Journal, Registry, Session
from .failures import Failure, Retry
from .script import Progress
from .view import GLYPHS, NAME, Block

THINK_S = 0.1  # the least time that a step takes
RETRY_S = 1.0
NOTIFY_S = 6.0  # so long a permission dialog stands before the Notification hook hears of it
VERBS = ("Baking", "Beaming", "Brewing", "Cogitating", "Crunching", "Nebulizing", "Pouncing", "Whisking")
DONE = ("Baked", "Brewed", "Cogitated", "Cooked", "Crunched", "Sautéed", "Worked")
QUEUED_GHOST = "Press up to edit queued messages"
INTERRUPTED = f"Interrupted · What should {NAME} do instead?"
NEVER = math.inf


class Prompt(NamedTuple):
    text: str
    record: str  # the same, pastes marked, for the transcript

    @property
    def special(self) -> bool:
        """A shell line or a command: nothing that the model ever sees."""
        return self.text.startswith("!") or re.match(r"/[A-Za-z][\w:-]*(\s|$)", self.text) is not None


@dataclass
class Turn:
    text: str
    verb: str
    started: float = field(default_factory=time.monotonic)
    output: bool = False  # something came from the model: an interrupt keeps the prompt
    said: str = ""
    stepped: bool = False


class Child(NamedTuple):
    process: subprocess.Popen[bytes]
    output: Any  # the file that it writes to
    then: Callable[[str, int], None]


class Ending(NamedTuple):
    status: int
    reason: str = ""  # what the SessionEnd hook hears; without one nothing is tidied up
    words: str = ""  # for the terminal that is left


class Turns:
    """The conversation of one agent. The program feeds it prompts and keys, and lets it `tick` at `due`."""

    def __init__(self, home: Home, session: Session, journal: Journal, hooks: Hooks, mode: str, seed: int) -> None:
        self.home, self.session, self.journal, self.hooks = home, session, journal, hooks
        self.mode, self.seed = mode, seed
        self.given: list[str] = []  # the steps of --script: prompts bring no other script then
        self.progress = session.progress() or Progress()
        self.registry: Registry | None = None  # there is none before the trust dialog is answered
        self.blocks: list[Block] = []
        self.queue: list[Prompt] = []
        self.turn: Turn | None = None
        self.dialog: dialog.Dialog | None = None
        self.ending: Ending | None = None
        self.running = self.ghost = ""
        self.draft = ""  # text for the composer
        self.retry: Retry | None = None
        self.frozen_until = 0.0
        self.swallow_enter = False
        self._person_draft = ""
        self._always_allowed = False
        self._answered: Callable[[int], None] = lambda pick: None
        self._then: Callable[[], None] = lambda: None
        self._then_at = self._notify_at = NEVER
        self._child: Child | None = None
        self.background: list[subprocess.Popen[bytes]] = []

    # What the program asks

    @property
    def busy(self) -> bool:
        return self.turn is not None

    @property
    def due(self) -> float:
        return min(self._then_at, self._notify_at)

    def spinner(self, now: float) -> str:
        if not self.turn:
            return ""
        if self.retry:
            return self.retry.line(now)
        seconds = int(now - self.turn.started)
        since = f" ({seconds}s · ↓ {seconds * 7} tokens)" if seconds else ""
        return f"{GLYPHS[int(now * 5) % len(GLYPHS)]} {self.turn.verb}…{since}"

    def start(self, given: list[str], source: str) -> None:
        """The agent is ready: it says so on disk and to the hooks."""
        self.given = given
        if given and not self.progress.steps:
            self.progress = Progress(list(given))
        self.registry = Registry(self.home)
        self._status("idle")
        self.hook("SessionStart", source=source)

    def hook(self, event: str, **fields: Any) -> None:
        mode = "default" if self.mode == "manual" else self.mode
        self.hooks.fire(self.session, event, permission_mode=mode, **fields)

    def submit(self, prompt: Prompt) -> None:
        """Enter was pressed on this text."""
        if prompt.text in ("/exit", "/quit"):
            self.journal.write(self.session, "command", command=prompt.text)
            self.ending = Ending(0, "prompt_input_exit")
            return
        if not prompt.special:
            self.hook("UserPromptSubmit", prompt=prompt.text)
        self.queue.append(prompt)
        if self.busy:
            self.session.record("queue-operation", operation="enqueue", content=prompt.text)
            self.journal.write(self.session, "queued", prompt=prompt.text)
        else:
            self._next("typed")

    def unqueue(self) -> str:
        """Up: the queued messages go back to the composer."""
        texts = [prompt.text for prompt in self.queue]
        for text in texts:
            self.session.record("queue-operation", operation="popAll", content=text)
        self.queue.clear()
        return "\n".join(texts)

    def press(self, event: tuple[str, str]) -> None:
        assert self.dialog
        pick = self.dialog.press(event)
        if pick is None:
            return
        shown, self.dialog, self._notify_at = self.dialog, None, NEVER
        self.journal.write(self.session, "dialog", dialog=shown.kind, answer=shown.answer(pick), keys=shown.keys)
        self._status("busy")
        self._answered(pick)

    def interrupt(self) -> None:
        """Esc or C-c while working."""
        if not self.turn:
            return
        turn = self.turn
        self.stop()
        if turn.output or self.queue:
            self.session.user([{"type": "text", "text": "[Request interrupted by user]"}])
            self.blocks.append(Block("error", INTERRUPTED))
        else:
            self.draft = turn.text
            self._drop_echo()
        self._over()

    def tick(self, now: float) -> None:
        """Does what is due."""
        if self.ending:
            return
        if now >= self._notify_at:
            self._notify_at = NEVER
            message = f"{NAME} needs your permission to use Bash"
            self.hook("Notification", message=message, notification_type="permission_prompt")
        if self._child and self._child.process.poll() is not None:
            child, self._child = self._child, None
            child.output.seek(0)
            text = child.output.read().decode("utf-8", "replace").rstrip()
            child.output.close()
            child.then(text, child.process.returncode)
        if now >= self._then_at:
            self._then_at = NEVER
            self._then()

    # Turns

    def _status(self, status: str, waiting_for: str = "") -> None:
        if self.registry:
            self.registry.write(self.session, status, waiting_for)

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._then, self._then_at = then, time.monotonic() + seconds

    def _next(self, source: str = "queued") -> None:
        """Takes up what waits: one command, or all plain prompts that stand together."""
        while self.queue and not self.turn and not self.ending:
            taken = [self.queue.pop(0)]
            while not taken[0].special and self.queue and not self.queue[0].special:
                taken.append(self.queue.pop(0))
            for _ in taken if source == "queued" else ():
                self.session.record("queue-operation", operation="dequeue")
            if taken[0].text.startswith("!"):
                self._shell(taken[0].text)
            elif taken[0].special:
                self._command(taken[0].text)
            else:
                self._begin(taken, source)
            source = "queued"

    def _begin(self, prompts: list[Prompt], source: str) -> None:
        for prompt in prompts:
            self.session.user(prompt.record, promptSource=source)
            self._taken_up(prompt, source)
        text = "\n".join(prompt.text for prompt in prompts)
        self.ghost = ""
        self.turn = Turn(text, random.choice(VERBS))
        self._status("busy")
        try:
            self.progress = self.progress if self.given else script.choose(text, self.progress)
            self.session.save(self.progress)
        except ValueError as error:
            self._say(str(error))
            self._after(THINK_S, self._end)
        else:
            self._after(THINK_S, self._advance)

    def _taken_up(self, prompt: Prompt, source: str) -> None:
        self.session.remember(prompt.text)
        self.journal.write(self.session, "prompt", prompt=prompt.text, source=source)
        self.blocks.append(Block("prompt", prompt.text))

    def _advance(self) -> None:
        """One call of the model: the server may refuse it; else the next step of the script."""
        verdict, until = self.home.verdict(time.time())
        if verdict != "ok":
            self._refused(verdict, until)
        elif self.progress.context_full:
            self._fail(failures.CONTEXT_FULL)
        elif self.progress.under_way:
            self._step(self.progress.steps[self.progress.at])
        else:
            assert self.turn
            if not self.turn.stepped:
                self._say("ok: " + " ".join(self.turn.text.split()[:6]))
            self._end()

    def _step(self, step: str) -> None:
        """Acts on one step; it ends in `_passed`, or it ends the turn."""
        raise NotImplementedError

    def _move_on(self) -> None:
        self.progress.at += 1
        self.session.save(self.progress)

    def _passed(self) -> None:
        self._move_on()
        self._after(THINK_S, self._advance)

    def _say(self, text: str) -> None:
        assert self.turn
        self.turn.output, self.turn.said = True, text
        self.session.assistant([{"type": "text", "text": text}])
        self.blocks.append(Block("say", text))

    def _end(self) -> None:
        """The turn is over, and well."""
        assert self.turn
        seconds = time.monotonic() - self.turn.started
        self.hook("Stop", stop_hook_active=False, last_assistant_message=self.turn.said)
        self.session.record("system", subtype="turn_duration", durationMs=int(seconds * 1000))
        self.journal.write(self.session, "turn_end")
        clock = time.strftime("%-I:%M %p")
        self.blocks.append(Block("note", f"{random.choice(DONE)} for {int(seconds)}s · done {clock}"))
        self._over()

    def _over(self) -> None:
        self.turn = self.retry = None
        self.running, self._then_at = "", NEVER
        if self._person_draft:
            self.draft, self._person_draft = self._person_draft, ""
        self._status("idle")
        self._next()

    def _drop_echo(self) -> None:
        while self.blocks and self.blocks[-1].kind != "prompt":
            self.blocks.pop()
        del self.blocks[-1:]

    # What goes wrong on the server's side

    def _refused(self, verdict: str, until: float) -> None:
        if verdict == "limited":
            self._fail(failures.limited(until))
        elif verdict == "logged-out":
            self._fail(failures.LOGGED_OUT)
        else:
            self._retrying("401 invalid x-api-key", 2 * RETRY_S, RETRY_S, 3, lambda: self._fail(failures.of(401)))

    def _retrying(self, label: str, seconds: float, period: float, total: int, then: Callable[[], None]) -> None:
        def over() -> None:
            self.retry = None
            then()

        self.retry = Retry(label, time.monotonic(), period, total)
        self._after(seconds, over)

    def _fail(self, failure: Failure) -> None:
        content = [{"type": "text", "text": failure.text}]
        self.session.assistant(content, error=failure.error, isApiErrorMessage=True, apiErrorStatus=failure.status)
        self.hook("StopFailure", error=failure.error, last_assistant_message=failure.text)
        self.journal.write(self.session, "error", status=failure.status, error=failure.error)
        self.blocks.append(Block(failure.kind, failure.screen or failure.text))
        self.ghost = failure.ghost
        self._over()

    # Tools

    def _tool(self, name: str, text: str, output: str) -> None:
        """A tool call that is done; what was queued meanwhile goes into the running turn with its result."""
        assert self.turn
        self.turn.output, self.running = True, ""
        call = f"toolu_{uuid.uuid4().hex}"
        self.session.assistant([{"type": "tool_use", "id": call, "name": name, "input": {"command": text}}])
        self.session.user([{"type": "tool_result", "tool_use_id": call, "content": output}])
        self.blocks.append(Block("tool", f"{name}({text})", output or "(No output)"))
        for prompt in [prompt for prompt in self.queue if not prompt.special]:
            self.queue.remove(prompt)
            gone = {"operation": "remove", "content": prompt.text, "reason": "absorbed_mid_turn"}
            self.session.record("queue-operation", **gone)
            self.session.record("attachment", attachment={"type": "queued_command", "prompt": prompt.record})
            self._taken_up(prompt, "absorbed")

    def _spawn(self, argv: list[str], then: Callable[[str, int], None]) -> None:
        """Beside the screen, with no way to our terminal and in a process group of its own."""
        output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the child has ended
        try:
            process = self._popen(argv, output)
        except OSError as error:
            output.close()
            then(f"{argv[0]}: {error.strerror}", 127)
        else:
            self._child = Child(process, output, then)

    def _popen(self, argv: list[str], output: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, cwd=self.session.cwd, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def stop(self) -> None:
        """No child that it waits for outlives a clean end or an interrupt."""
        if self._child:
            child, self._child = self._child, None
            if child.process.poll() is None:
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
            child.output.close()

    def _bash(self, label: str, *argv: str) -> None:
        """A step that runs something; it is passed whatever comes out."""

        def done(output: str, status: int) -> None:
            self._tool("Bash", label, f"{output}\nexit status {status}".strip() if status else output)
            self._passed()

        self.running = f"Bash({label})"
        self._spawn(list(argv or ("/bin/sh", "-c", label)), done)

    def _open(self, shown: dialog.Dialog, answered: Callable[[int], None]) -> None:
        self.dialog, self._answered = shown, answered
        self._status("waiting", shown.waiting_for)

    def _shell(self, text: str) -> None:
        """A line with a leading `!` is no prompt: the shell runs it, and the model is told what came of it."""
        command = text[1:].strip()

        def done(output: str, status: int) -> None:
            self.session.user(f"<bash-input>{command}</bash-input>")
            self.session.user(f"<bash-stdout>{output}</bash-stdout><bash-stderr></bash-stderr>")
            self.journal.write(self.session, "command", command=text, status=status)
            self.blocks.append(Block("shell", command, output or "(No output)"))
            self._say("ok.")
            self._end()

        self.turn = Turn(text, "Running", output=True)
        self._status("busy")
        self._spawn(["/bin/sh", "-c", command], done)

    # Commands

    def _command(self, text: str) -> None:
        name, _, arguments = text.partition(" ")
        self.journal.write(self.session, "command", command=text)
        if name == "/clear":
            self._clear()
        elif name == "/compact":
            self._compact(text)
        elif name == "/login":
            self.home.login()
            self.blocks.append(Block("prompt", text, "Login successful"))
        else:
            for line in (f"Unknown command: {name}", arguments and f"Args from unknown skill: {arguments}"):
                if line:
                    self.session.record("system", subtype="informational", content=line, level="warning")
                    self.blocks.append(Block("say", line))

    def _command_record(self, name: str) -> None:
        self.session.user(f"<command-name>/{name}</command-name>\n<command-message>{name}</command-message>")

    def _clear(self) -> None:
        """A new conversation with an id of its own; the old one stays on disk."""
        self.hook("SessionEnd", reason="clear")
        self.session = Session(self.home, self.session.cwd, str(uuid.uuid4()))
        self.progress = Progress(list(self.given))
        self.blocks[:] = [Block("prompt", "/clear")]
        self.ghost = ""
        self._command_record("clear")
        self._status("idle")
        self.hook("SessionStart", source="clear")

    def _compact(self, text: str) -> None:
        self.progress.context_full = False
        self.session.save(self.progress)
        self.session.record("system", subtype="compact_boundary", compactMetadata={"trigger": "manual"})
        summary = "This session is being continued from a previous conversation that ran out of context."
        self.session.user(summary, isCompactSummary=True)
        self._command_record("compact")
        self.blocks.append(Block("prompt", text, "Compacted (ctrl+o to see full summary)"))
        self.hook("SessionStart", source="compact")
