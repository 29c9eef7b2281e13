"""The model's part: what each step of the script does to the conversation."""

import os
import signal
import subprocess
import time

from . import dialog, failures, script
from .disk import ask_tmux
from .turns import INTERRUPTED, NEVER, NOTIFY_S, RETRY_S, THINK_S, Ending, Turns
from .view import Block

# Without a repository the work is only written.
COMMIT = """git rev-parse --git-dir >/dev/null 2>&1 || exit 0
git add -- "$1" && git -c user.name=stub -c user.email=stub@localhost commit -q -m "work: $1" -- "$1" """
CRASH = (
    "TypeError: cannot read properties of undefined (reading 'stub')\r\n"
    "    at render (stub.js:1:1)\r\n    at main (stub.js:2:1)\r\n"
)


class Model(Turns):
    def _step(self, step: str) -> None:
        assert self.turn
        self.turn.stepped = True
        action = script.resolve(step, self.progress.at, self.seed)
        if action is None:
            self._passed()
        else:
            self.journal.write(self.session, "step", step=action[0])
            getattr(self, "_do_" + action[0].replace("-", "_"))(action[1])

    def _do_work(self, seconds: str) -> None:
        self._after(float(seconds), self._passed)

    def _do_say(self, text: str) -> None:
        self._say(text)
        self._passed()

    def _do_write(self, argument: str) -> None:
        name, _, text = argument.partition(" ")
        self._tool("Write", name, self._write(name, text + "\n", "w"))
        self._passed()

    def _write(self, name: str, text: str, how: str) -> str:
        path = os.path.join(self.session.cwd, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, how, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            return f"Error: {error.strerror}"
        return f"Wrote {name}"

    def _do_commit(self, name: str) -> None:
        name = name or "stub-work.txt"
        self._write(name, f"step {self.progress.at + 1}\n", "a")
        self._bash(f"git commit {name}", "/bin/sh", "-c", COMMIT, "sh", name)

    def _do_run(self, command: str) -> None:
        if self.mode == "manual" and not self._always_allowed:
            self._do_ask(command)
        else:
            self._bash(command)

    def _do_background(self, command: str) -> None:
        """A shell of its own that nobody waits for."""
        self.background.append(self._popen(["/bin/sh", "-c", command], subprocess.DEVNULL))
        self._tool("Bash", command, "Running in the background")
        self._passed()

    def _do_ask(self, command: str) -> None:
        command = command or "true"

        def answered(pick: int) -> None:
            if pick == dialog.CANCEL or pick == 3:
                self._rejected()
                return
            self._always_allowed = self._always_allowed or pick == 1
            self.mode = "auto" if pick == 2 else self.mode
            self._bash(command)

        assert self.turn
        self.turn.output, self.running = True, f"Bash({command})"
        self._notify_at = time.monotonic() + NOTIFY_S
        self._open(dialog.permission(command, self.session.cwd), answered)
        self.hook("PermissionRequest", tool_name="Bash", tool_input={"command": command})

    def _rejected(self) -> None:
        self.blocks.append(Block("tool", self.running, INTERRUPTED))
        self.session.user([{"type": "text", "text": "[Request interrupted by user for tool use]"}])
        self._move_on()
        self._over()

    def _do_dialog(self, text: str) -> None:
        assert self.turn
        self.turn.output = True
        self._open(dialog.question(text), lambda pick: self._passed())

    def _do_login_lost(self, _: str) -> None:
        self._move_on()
        self.home.reject_login()
        self._refused("rejected", 0)

    def _do_limit(self, seconds: str) -> None:
        self._move_on()
        until = time.time() + float(seconds)
        self.home.limit(until)
        self._refused("limited", until)

    def _do_error(self, status: str) -> None:
        self._move_on()
        self._retrying("API error", RETRY_S, RETRY_S, 2, lambda: self._fail(failures.of(int(float(status)))))

    def _do_retry(self, seconds: str) -> None:
        self._retrying("API error", float(seconds), min(7.0, max(0.1, float(seconds))), 10, self._passed)

    def _do_context_full(self, _: str) -> None:
        self.progress.context_full = True
        self._move_on()
        self._fail(failures.CONTEXT_FULL)

    def _do_swallow_enter(self, _: str) -> None:
        self.swallow_enter = True
        self._passed()

    def _do_draft(self, text: str) -> None:
        self._person_draft = text
        self._passed()

    def _do_hang(self, _: str) -> None:
        self._move_on()
        self.frozen_until = NEVER

    def _do_deaf(self, seconds: str) -> None:
        self.frozen_until = time.monotonic() + float(seconds)
        self._after(float(seconds), self._passed)

    def _do_crash(self, status: str) -> None:
        self._move_on()
        self.ending = Ending(int(float(status or 1)), words=CRASH)

    def _do_kill(self, _: str) -> None:
        self._move_on()
        self.journal.write(self.session, "exit", reason="kill")
        os.kill(os.getpid(), signal.SIGKILL)

    def _do_kill_pane(self, _: str) -> None:
        self._move_on()
        pid = ask_tmux("#{pane_pid}")
        self.journal.write(self.session, "exit", reason="kill-pane")
        os.kill(int(pid or os.getpid()), signal.SIGKILL)

    def _do_exit(self, _: str) -> None:
        self._move_on()
        self.ending = Ending(0, "prompt_input_exit")

    def _do_done(self, summary: str) -> None:
        summary = summary or "all steps of the script are done"
        self._bash(f"tmo-done -m '{summary}'", "tmo-done", "-m", summary)

    def _do_finish(self, _: str) -> None:
        self._move_on()
        self._end()

    def _do_loop(self, _: str) -> None:
        self.progress.at = 0
        self._after(THINK_S, self._advance)
