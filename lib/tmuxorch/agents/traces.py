"""The traces that a running agent leaves: its session registry, its transcript, the history of its composer, and what
its hooks reported.

All of them may be half-written, stale or gone at any moment: whatever cannot be read counts as not there.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

TAIL = 256 * 1024  # bytes; what the last turn says is in there, or too far up to matter
BLOCK = 8 * 1024  # read at a time, from the end on


def registry(profile: dict, home: str, process: dict) -> dict | None:
    """What the agent publishes of itself: status (idle, busy, waiting), waiting_for, conversation_id, at.

    None when there is no such file, it cannot be read, or it is another process's of the same pid.
    """
    if "registry" not in profile["traces"]:
        return None
    path = f"{home}/{profile['traces']['registry'].replace('{pid}', str(process['pid']))}"
    try:
        with open(path, "rb", buffering=0) as file:
            entry = json.loads(file.read())
        if str(entry.get("procStart", process["started"])) != process["started"]:
            return None
        words = {key: entry.get(key) for key in ("status", "waitingFor", "sessionId")}
        if not isinstance(words["status"], str) or not all(isinstance(word, str | None) for word in words.values()):
            return None
        return {"status": words["status"], "waiting_for": words["waitingFor"],
                "conversation_id": words["sessionId"], "at": entry.get("statusUpdatedAt", 0) / 1000}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def held_conversation(profile: dict, home: str, files: list[str]) -> str | None:
    """The conversation that an agent is in, by a file that it holds open for it. Of several (sub-agents have their own)
    it is the oldest: their ids begin with the time."""
    if "conversation" not in profile["traces"]:
        return None
    pattern = re.escape(os.path.join(home, profile["traces"]["conversation"])).replace(r"\{conversation\}", "([^/]+)")
    return min((found[1] for file in files if (found := re.fullmatch(pattern, file))), default=None)


def transcript_path(profile: dict, home: str, directory: str, conversation: str | None, hook: dict) -> str | None:
    """Where the conversation is recorded: as the agent's own last hook said, else by its rule. That may be a pattern,
    when the name tells more than we know; every reader here takes one."""
    if hook.get("transcript_path") and hook.get("session_id") == conversation:
        return hook["transcript_path"]
    rule = profile["traces"].get("transcript")
    if not conversation or not rule:
        return None
    home = glob.escape(home) if glob.has_magic(rule) else home
    return f"{home}/{rule.replace('{slug}', slug(directory)).replace('{conversation}', conversation)}"


@functools.lru_cache
def slug(directory: str) -> str:
    """How an agent names a directory among its files."""
    return re.sub(r"[^A-Za-z0-9]", "-", directory)


def history_path(profile: dict, home: str) -> str | None:
    """The file in which the agent's composer writes down what it submits."""
    name = profile["traces"].get("history")
    return os.path.join(home, name) if name else None


def there(path: str | None) -> str | None:
    """The file of a path or pattern, None while there is none."""
    if not path or os.path.exists(path):
        return path or None
    return next(glob.iglob(path), None) if glob.has_magic(path) else None


def facts(path: str | None) -> os.stat_result | None:
    """A file's stat(2), None while it is not there."""
    try:
        return os.stat((there(path) if path and glob.has_magic(path) else path) or "")
    except OSError:
        return None


def size(path: str | None) -> int:
    """A file's length in bytes, 0 when it is not there."""
    return found.st_size if (found := facts(path)) else 0


def changed(path: str | None) -> float:
    """When a file was last changed, 0 when it is not there."""
    return found.st_mtime if (found := facts(path)) else 0.0


def helped(profile: dict, path: str | None) -> float:
    """When a sub-agent of the conversation that is recorded in a file last moved, 0 when it has none."""
    rule = profile["traces"].get("subagents")
    if not rule or not path:
        return 0.0
    return max(map(changed, glob.iglob(f"{glob.escape(os.path.splitext(path)[0])}/{rule}", recursive=True)), default=0.0)


def records(path: str | None, start: int = 0) -> Iterator[dict]:
    """The records of a transcript from a byte offset on: kind, place (its byte offset), at (Unix seconds, where it
    tells) and, by kind:

    prompt, queued, withdrawn: text · error: status, error, text · assistant · tool_result · dequeued · turn_start · turn_end
    """
    try:
        with open(there(path) or "", "rb") as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n") and (record := read_record(line)):
                    yield {**record, "place": start}
                start += len(line)
    except OSError:
        return


def begun(path: str | None) -> bool:
    """Whether a transcript holds a prompt. One without (the agent was killed too early) cannot be resumed."""
    return any(record["kind"] == "prompt" for record in records(path))


def newest(path: str | None) -> Iterator[dict]:
    """The last records of a transcript, the newest first: mostly one or two of them tell what is asked."""
    try:
        with open(there(path) or "", "rb") as file:
            place = file.seek(0, os.SEEK_END)
            end, rest = max(0, place - TAIL), b""
            while place > end:
                start = max(end, place - BLOCK)
                file.seek(start)
                lines = (file.read(place - start) + rest).splitlines(keepends=True)
                place, rest = start, lines.pop(0) if start else b""
                for line in reversed(lines):
                    if line.endswith(b"\n") and (record := read_record(line)):
                        yield record
    except OSError:
        return


def read_record(line: bytes) -> dict | None:
    """One line of a transcript; None for what says nothing of a turn, is cut off, or of a kind that we do not know."""
    try:
        raw = json.loads(line)
        record = read_event(raw["payload"]) if raw["type"] == "event_msg" else read_message(raw, raw["type"])
        return record and {**record, "at": when(raw)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_message(raw: dict, kind: str) -> dict | None:
    """A record of Claude Code, and of whatever writes as it does."""
    if kind == "user" and not (raw.get("isSidechain") or raw.get("isCompactSummary") or raw.get("isMeta")):
        return read_user(raw["message"]["content"])
    if kind == "assistant" and not raw.get("isSidechain"):
        text = texts(raw["message"]["content"])
        if raw.get("isApiErrorMessage"):
            return {"kind": "error", "status": raw.get("apiErrorStatus"), "error": raw.get("error"), "text": text}
        return {"kind": "assistant"}
    if kind == "attachment" and raw["attachment"]["type"] == "queued_command":
        # What was queued goes into the running turn with the next tool result; no user record follows.
        return {"kind": "prompt", "text": texts(raw["attachment"]["prompt"])}
    if kind == "queue-operation":
        if raw["operation"] == "enqueue":
            return {"kind": "queued", "text": texts(raw.get("content") or "")}
        if raw["operation"] == "popAll":  # a person pressed Up: it stands in the composer again
            return {"kind": "withdrawn", "text": texts(raw.get("content") or "")}
        return {"kind": "dequeued"}
    if kind == "system" and raw.get("subtype") == "turn_duration":
        return {"kind": "turn_end"}
    return None


def read_event(event: dict) -> dict | None:
    """An event of a rollout of Codex: how a turn goes on."""
    kind, item = event["type"], event.get("item") or {}
    if kind == "task_started":
        return {"kind": "turn_start"}
    if kind == "turn_aborted":
        return {"kind": "turn_end"}
    if kind == "task_complete":
        return read_failure(event["error"]) if event.get("error") else {"kind": "turn_end"}
    if kind == "item_completed" and item["type"] == "UserMessage":
        return {"kind": "prompt", "text": texts(item["content"])}
    if kind == "item_completed" and item.get("source") == "user_shell":
        return {"kind": "prompt", "text": "!" + item["command"][-1]}
    if kind == "item_completed":
        return {"kind": "assistant"} if item["type"] == "AgentMessage" else {"kind": "tool_result"}
    return None


def read_failure(error: dict) -> dict:
    """Why a turn of Codex failed: a word, or a word with an HTTP status below it."""
    why = error.get("codex_error_info")
    word, facts = next(iter(why.items())) if isinstance(why, dict) else (why, {})
    return {"kind": "error", "status": (facts or {}).get("http_status_code"), "error": word, "text": error["message"]}


def read_user(content: object) -> dict:
    if isinstance(content, list) and any(block.get("type") == "tool_result" for block in content):
        return {"kind": "tool_result"}
    return {"kind": "prompt", "text": as_typed(texts(content))}


def as_typed(text: str) -> str:
    """A prompt as it was typed: the records of shell lines and of commands are put together again."""
    if found := re.fullmatch(r"<bash-input>(.*)</bash-input>", text, re.S):
        return "!" + found[1]
    if found := re.match(r"<command-name>(.*?)</command-name>.*?(?:<command-args>(.*?)</command-args>\s*)?$", text, re.S):
        return f"{found[1]} {found[2] or ''}".strip()
    return text


def texts(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in content if block.get("type") == "text")  # type: ignore[attr-defined]


def when(raw: dict) -> float | None:
    """A record's own time, in Unix seconds."""
    try:
        return datetime.fromisoformat(raw["timestamp"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def hooks(path: str | None, start: int = 0) -> list[dict]:
    """The hooks that an agent reported from a byte offset on, oldest first: each its JSON with `at` added.

    One hook may be written while another is: what stands between two whole objects is passed over.
    """
    try:
        with open(path or "", "rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
            found.append({**value["hook"], "at": value["at"]})
        except (ValueError, KeyError, TypeError, RecursionError):
            place += 1
        place = text.find('{"at":', place)
    return found


def last_hook(path: str | None) -> dict:
    """The last hook that an agent reported, {} when there is none. It is near the end of a log that grows all night."""
    if not (end := size(path)):
        return {}
    found = hooks(path, max(0, end - BLOCK)) or hooks(path)
    return found[-1] if found else {}


def acted(path: str | None, last: dict) -> float:
    """When the agent last did something that it reported to its hooks, the last of which is known; 0 when it did nothing.
    That it still waits (a Notification comes about a minute after it went idle) is no act."""
    if last.get("hook_event_name") != "Notification":
        return changed(path)
    found = hooks(path, max(0, size(path) - BLOCK))
    return max((hook["at"] for hook in found if hook.get("hook_event_name") != "Notification"), default=0.0)


def history(path: str | None, start: int, conversation: str | None) -> list[str]:
    """What the agent's composer submitted in a conversation, by its history, from a byte offset on."""
    found = []
    try:
        with open(path or "", "rb") as file:
            file.seek(start)
            for line in file:
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    entry = json.loads(line)
                    if entry["session_id"] == conversation:
                        found.append(entry["text"])
    except OSError:
        pass
    return found


def turn_status(newest: Iterable[dict], since: float) -> str | None:
    """busy or idle by the last turn since the agent's process began (what one before it left open is over), None when
    there was none."""
    for record in newest:
        if (record["at"] or since) < since:
            return None
        if record["kind"] in ("turn_end", "error"):
            return "idle"
        if record["kind"] in ("turn_start", "prompt", "assistant", "tool_result"):
            return "busy"
    return None


def last_turn(newest: Iterable[dict], since: float = 0.0) -> dict | None:
    """How the last turn ended, if it did: its error record, or None. One from before `since`, the launch of an agent
    that was resumed, says nothing of it."""
    for record in newest:
        if record["kind"] == "error":
            return record if (record.get("at") or since) >= since else None
        if record["kind"] in ("assistant", "prompt", "tool_result"):
            return None
    return None
