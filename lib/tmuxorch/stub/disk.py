"""What the agent keeps on disk: its home, transcripts, the registry of running agents, the journal, and the hooks."""

import contextlib
import fcntl
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .script import Progress

HOOK_SECONDS = 5
TOKEN_LIFE_S = 30 * 86400


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: str, value: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file, separators=(",", ":"))
    os.replace(temporary, path)


def append_line(path: str, value: dict[str, Any]) -> None:
    """One write a line: readers and other writers never see half of it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with contextlib.closing(os.fdopen(fd, "wb", buffering=0)) as file:
        file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n")


class Home:
    """The directory that the program shares with its like: config, login, and what "the server" thinks."""

    def __init__(self, path: str) -> None:
        self.path = path
        for name in ("", "sessions", "projects", "state"):
            os.makedirs(os.path.join(path, name), 0o700, exist_ok=True)
        if not os.path.exists(self.file("credentials.json")):
            self.login()  # a new user needs nothing
        if not self.config().get("hasCompletedOnboarding"):
            self._set_config(hasCompletedOnboarding=True)

    def file(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    def config(self) -> dict[str, Any]:
        return read_json(self.file("config.json"))

    def trusted(self, cwd: str) -> bool:
        """A trusted parent counts too."""
        projects = self.config().get("projects", {})
        return any(
            projects.get(directory, {}).get("hasTrustDialogAccepted")
            for directory in (cwd, *(cwd[: match.start()] or "/" for match in re.finditer("/", cwd)))
        )

    def trust(self, cwd: str) -> None:
        with self._changing("config.json") as config:
            config.setdefault("projects", {}).setdefault(cwd, {})["hasTrustDialogAccepted"] = True

    def bypass_accepted(self) -> bool:
        return bool(self.config().get("skipDangerousModePermissionPrompt"))

    def accept_bypass(self) -> None:
        self._set_config(skipDangerousModePermissionPrompt=True)

    def login(self) -> None:
        with self._changing("credentials.json") as credentials:
            expires = int((time.time() + TOKEN_LIFE_S) * 1000)
            credentials.update(token=secrets.token_hex(16), expiresAt=expires)

    def logout(self) -> None:
        with self._changing("credentials.json") as credentials:
            credentials.clear()  # the empty file stays: this home is not a fresh one

    def credentials(self) -> dict[str, Any]:
        return read_json(self.file("credentials.json"))

    def reject_login(self) -> None:
        with self._changing("server.json") as server:
            server.setdefault("reject", []).append(self.credentials().get("token"))

    def limit(self, until: float) -> None:
        with self._changing("server.json") as server:
            server["limit_until"] = until

    def sent(self, cwd: str) -> list[str]:
        """What was sent from this directory, oldest first."""
        with contextlib.suppress(OSError), open(self.file("history.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.endswith("}\n")]
            return [row["display"] for row in rows if row["project"] == cwd][-100:]
        return []

    def verdict(self, now: float) -> tuple[str, float]:
        """What the server says to a call now: ok, logged-out, rejected or limited (until when)."""
        credentials, server = self.credentials(), read_json(self.file("server.json"))
        token, until = credentials.get("token"), server.get("limit_until", 0)
        if not token:
            return "logged-out", 0
        if token in server.get("reject", []) or credentials.get("expiresAt", 0) / 1000 < now:
            return "rejected", 0
        return ("limited", until) if now < until else ("ok", 0)

    def _set_config(self, **values: bool) -> None:
        with self._changing("config.json") as config:
            config.update(values)

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[dict[str, Any]]:
        with open(self.file("lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            value = read_json(self.file(name))
            yield value
            write_json(self.file(name), value)


class Session:
    """One conversation: its transcript, and where its script stands."""

    def __init__(self, home: Home, cwd: str, session_id: str) -> None:
        self.id, self.cwd, self._home = session_id, cwd, home
        self.directory = slug_directory(home, cwd)
        self.path = os.path.join(self.directory, f"{session_id}.jsonl")
        self._state = home.file("state", f"{session_id}.json")

    def exists(self) -> bool:
        return os.path.exists(self.path)

    def record(self, kind: str, **fields: Any) -> None:
        os.makedirs(self.directory, 0o700, exist_ok=True)
        own = {"uuid": str(uuid.uuid4()), "timestamp": iso_now(), "sessionId": self.id, "cwd": self.cwd}
        append_line(self.path, {"type": kind, **fields, **own})

    def user(self, content: Any, **fields: Any) -> None:
        self.record("user", message={"role": "user", "content": content}, **fields)

    def assistant(self, content: list[dict[str, Any]], **fields: Any) -> None:
        self.record("assistant", message={"role": "assistant", "content": content}, **fields)

    def records(self) -> list[dict[str, Any]]:
        with contextlib.suppress(OSError), open(self.path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("}\n")]
        return []

    def progress(self) -> Progress | None:
        state = read_json(self._state)
        return Progress(**state) if state else None

    def save(self, progress: Progress) -> None:
        write_json(self._state, vars(progress))

    def remember(self, text: str) -> None:
        row = {"display": text, "pastedContents": {}, "timestamp": int(time.time() * 1000)}
        append_line(self._home.file("history.jsonl"), {**row, "project": self.cwd, "sessionId": self.id})


def slug_directory(home: Home, cwd: str) -> str:
    return home.file("projects", re.sub(r"[^a-zA-Z0-9]", "-", cwd))


def latest(home: Home, cwd: str) -> str | None:
    """The conversation of this directory that was written last."""
    with contextlib.suppress(OSError), os.scandir(slug_directory(home, cwd)) as entries:
        dated = [(entry.stat().st_mtime, entry.name) for entry in entries if entry.name.endswith(".jsonl")]
        return max(dated)[1].removesuffix(".jsonl") if dated else None
    return None


def iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def process_start() -> str | None:
    """Field 22 of /proc/PID/stat: with the pid it names this process for good."""
    with contextlib.suppress(OSError), open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]
    return None


def ask_tmux(form: str) -> str | None:
    """What tmux says of our own pane; None outside of tmux."""
    if "TMUX" not in os.environ or "TMUX_PANE" not in os.environ:
        return None
    argv = ["tmux", "display-message", "-p", "-t", os.environ["TMUX_PANE"], form]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2, check=False)
        return done.stdout.strip() or None
    return None


class Registry:
    """The file by which a running agent tells what it does; a killed one leaves it behind."""

    def __init__(self, home: Home) -> None:
        self._path = home.file("sessions", f"{os.getpid()}.json")
        place = ask_tmux("#{session_name}:#{window_id}.#{pane_id}")
        self._row: dict[str, Any] = {
            "pid": os.getpid(),
            "procStart": process_start(),
            **({"tmux": place} if place else {}),
        }

    def write(self, session: Session, status: str, waiting_for: str = "") -> None:
        now = int(time.time() * 1000)
        row = {**self._row, "sessionId": session.id, "cwd": session.cwd, "status": status}
        if waiting_for:
            row["waitingFor"] = waiting_for
        write_json(self._path, {**row, "updatedAt": now, "statusUpdatedAt": now})

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class Journal:
    """What really happened, for a test to compare with; without a file it is silent."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def write(self, session: Session, kind: str, **fields: Any) -> None:
        if self._path:
            head = {"at": time.time(), "pid": os.getpid(), "session_id": session.id, "cwd": session.cwd, "kind": kind}
            append_line(self._path, {**head, **fields})


class Hooks:
    """Runs the commands of the settings one after the other, beside the screen; a hanging one is abandoned."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._commands = {
            event: [hook["command"] for group in groups for hook in group.get("hooks", ()) if hook.get("command")]
            for event, groups in settings.get("hooks", {}).items()
        }
        self._queue: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def fire(self, session: Session, event: str, **fields: Any) -> None:
        base = {"session_id": session.id, "transcript_path": session.path, "cwd": session.cwd}
        text = json.dumps({**base, "hook_event_name": event, **fields}, ensure_ascii=False)
        for command in self._commands.get(event, ()):
            self._queue.put((command, text))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(HOOK_SECONDS + 1)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            _run_hook(*item)


def _run_hook(command: str, text: str) -> None:
    devnull = subprocess.DEVNULL
    argv = ["/bin/sh", "-c", command]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull, start_new_session=True)
    try:
        process.communicate(text.encode("utf-8", "replace"), HOOK_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
