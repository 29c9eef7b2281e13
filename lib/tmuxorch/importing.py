"""What the records of an older system mean here: status words, times, sessions, check-ins, and what its files say.

Records are dicts by column name. Of a project's only id, spec_path and status are always there; a value may be of any
type. What is decided comes with notes on what was changed and why; the record itself is kept beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, datetime, tzinfo

from . import delivery
from . import project as projects

# Each word of the old status column, whatever its case, and ours. `processing` and `paused` need a session.
STATUSES = {
    "queued": "queued", "pending": "queued",
    "processing": "processing", "timing_out": "processing", "zombie": "processing", "recovered": "processing",
    "initializing": "processing", "authenticating": "processing", "setting_up": "processing", "completing": "processing",
    "recovering": "processing",
    "credit_paused": "paused", "paused": "paused",
    "completed": "completed", "merged": "completed",
    "failed": "failed", "permanently_failed": "failed",
    "cancelled": "cancelled", "canceled": "cancelled", "superseded": "cancelled", "archived": "cancelled",
    "retried": "cancelled",
}  # fmt: skip
# What an old error text is worth as evidence that a project failed: the first that fits.
WORTH = (
    ("weak", r"^Phantom project detected|^Auto-reset:|^Heartbeat monitor:|^Session disappeared|^State sync:"),
    ("weak", r"^Unrecoverable null session name|^Error indicators detected|timeout_after_"),
    ("medium", r"^Project terminated during system|no tmux session was created|^Validation failed|^All agents stuck"),
    ("strong", r"^Subprocess failed|^Process exceeded maximum runtime"),
    ("none", r"^Manual|^Reset by|^Recovered|^AUTO-RECOVERED|^Session restor|^Zombie session cleanup"),
)
SESSIONS = ("session_name", "main_session", "orchestrator_session")  # the first is the one that really held it
TIMES = {  # where each time may stand
    "enqueued_at": ("enqueued_at", "queued_at", "created_at"),
    "started_at": ("started_at", "processing_started_at"),
    "completed_at": ("completed_at", "ended_at"),
}
EARLIEST, LATEST = 946684800.0, 4102444800.0  # 2000 and 2100: anything else is no time
FURTHEST_S = 7 * 86400.0  # a check-in that is further ahead was switched off (a year ahead) rather than planned
LONGEST = 4000  # characters of a check-in's note: later ones quote all earlier ones
HIGHEST = 10**9  # an old id above is not kept: ours go on counting from it
RETRIES = 5  # of a check-in, as the old system's own cap had it


def text(value: object) -> str | None:
    """A value as text that any database and terminal takes, None for an empty one."""
    if value is None or isinstance(value, bytes):
        return None
    cleaned = "".join(c if c.isprintable() else " " for c in str(value)).strip()
    return None if cleaned.casefold() in ("", "none", "null") else cleaned


def number(value: object, low: int = -(2**31), high: int = 2**31) -> int | None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and isinstance(value, (int, float)) and low <= value <= high else None


def moment(value: object, zone: tzinfo | None) -> float | None:
    """A time in Unix seconds, None for what is none. Text with a `T` and no zone is of `zone` (None: this machine's),
    as Python's isoformat() wrote it; text with a blank is UTC, as SQLite's datetime('now') wrote it."""
    if isinstance(value, str):
        word = value.strip()
        value = float(word) if re.fullmatch(r"-?\d+(\.\d*)?", word, re.A) else parsed(word, zone)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    seconds = value / 1000 if value > LATEST else value  # milliseconds
    return round(float(seconds), 6) if EARLIEST <= seconds <= LATEST else None


def parsed(word: str, zone: tzinfo | None) -> float | None:
    try:
        at = datetime.fromisoformat(word)
        if at.tzinfo is None:
            at = at.replace(tzinfo=zone if "T" in word else UTC)
        return at.timestamp()  # one without a zone is this machine's
    except (ValueError, OverflowError, OSError):
        return None


def session(value: object) -> str | None:
    """A session's name without the window that some rows have behind it."""
    name = (text(value) or "").partition(":")[0].strip()
    return name or None


def sessions(record: dict) -> list[str]:
    """The sessions that a record names, the likeliest first."""
    return list(dict.fromkeys(name for column in SESSIONS if (name := session(record.get(column)))))


def placeholder(spec: str | None) -> bool:
    """Whether a spec is the old system's stand-in for one that it did not know."""
    return not spec or spec.startswith("ORPHANED_SESSION_") or os.path.basename(spec).casefold() == "unknown-spec.md"


def key(table: str, record: dict, old_id: int) -> str:
    """The same for the same record in any copy of its database, whatever became of it since."""
    names = {"project_queue": ("spec_path", "enqueued_at", "queued_at"), "tasks": ("session_name", "created_at")}
    parts = [table, old_id, *(repr(record.get(name)) for name in names.get(table, ("enqueued_at", "created_at")))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def kept(record: dict) -> str:
    """A record as JSON, with what JSON has no form for in words."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            return {"blob": value.hex()}
        return repr(value) if isinstance(value, float) and value - value != 0 else value  # an infinity

    return json.dumps({name: plain(value) for name, value in record.items()})


def worth(error: str | None) -> str | None:
    """What an old error text proves: weak (by age or by a look that failed), medium, strong, none; None when unknown."""
    return next((word for word, pattern in WORTH if re.search(pattern, error or "", re.I)), None)


# -- projects


def place(record: dict, live: set[str]) -> dict:
    """Where a project's record stands among its duplicates: its session, its status, and its rank. Of those of one
    session the highest rank, then the highest id, is the one. live: the sessions that tmux has."""
    status = STATUSES.get((text(record.get("status")) or "").casefold())
    real = not placeholder(text(record.get("spec_path")))
    order = {"processing": 4, "paused": 3, "queued": 2, "failed": 1}
    return {
        "session": chosen_session(record, live, []),
        "open": status in ("queued", "processing", "paused"),
        "rank": 10 * real + order.get(status or "", 0),
    }


def project(record: dict, context: dict, defaults: dict, now: float) -> dict:
    """What becomes of a project's record: {values (our columns), paused, marks, notes, failure}.

    context:
      zone      of times that name none
      live      the sessions that tmux has
      of        the record that it is a duplicate of, None when of none
      shared    that one has its session, not only its spec
      files     what the registry says of its session (`registry`), or {}
      spec      the text of its spec, None when it was not read
    """
    notes: list[str] = []
    word, files = text(record.get("status")), context["files"]
    name = chosen_session(record, context["live"], notes)
    status = status_of(word, name, context["of"], notes)
    paused = status == "paused"
    if paused:
        status = "processing" if name else "queued"
        notes.append("it was paused: it is held until `tmo-hold -r` releases it")
    times = times_of(record, status, context["zone"], notes, now)
    if name and context["shared"]:
        notes.append(f"its session '{name}' is that of record {context['of']}")
        name = None
    if name and status == "queued":
        notes.append(f"it is queued: its session '{name}' is of the past")
        name = None
    spec, path = text(record.get("spec_path")), text(record.get("project_path")) or files.get("project_path")
    if placeholder(spec):
        spec = files.get("spec_path") or spec
    error = text(record.get("error_message"))
    values = {
        "name": name_of(record, spec, path, name, files),
        "status": status, "session_name": name, "project_path": path, "spec_path": spec,
        "size": files.get("size") or projects.size_of(context["spec"]),
        "priority": number(record.get("priority")) or 0,
        "agent": defaults["agent"], "roles": files.get("roles") or defaults["roles"],
        "batch_id": text(record.get("batch_id")), "retry_count": number(record.get("retry_count"), 0) or 0,
        "error_message": (error or "; ".join(notes) or None) if status == "failed" else None,
        **times,
    }  # fmt: skip
    marks = marks_of(record, files, times["started_at"]) if status != "completed" else []
    return {"values": values, "paused": paused, "marks": marks, "notes": notes,
            "failure": worth(error) if status == "failed" else None}  # fmt: skip


def chosen_session(record: dict, live: set[str], notes: list[str]) -> str | None:
    """The session of a record: the one that lives, else the likeliest. More than one that lives is no choice."""
    named = sessions(record)
    if not named:
        return None
    living = [name for name in named if name in live]
    chosen = living[0] if len(living) == 1 else named[0]
    if len(named) > 1:
        others = ", ".join(f"'{name}'" for name in named if name != chosen)
        notes.append(f"its columns name several sessions: '{chosen}' is taken, not {others}")
    elif any(text(record.get(column)) not in (None, chosen) for column in SESSIONS):
        notes.append(f"its session is '{chosen}', without the window")
    return chosen


def status_of(word: str | None, session: str | None, of: int | None, notes: list[str]) -> str:
    """Our status, or `paused`."""
    status = STATUSES.get((word or "").casefold())
    if status is None:
        notes.append(f"its status '{word}' is none that is known" if word else "it has no status")
        status = "failed"
    elif word != status:
        notes.append(f"it was '{word}'")
    if of is not None and status in ("queued", "processing", "paused"):
        notes.append(f"it is a duplicate of record {of}")
        return "cancelled"
    if status == "processing" and not session:
        notes.append(f"it was '{word}' and names no session")
        return "failed"
    return status


def times_of(record: dict, status: str, zone: tzinfo | None, notes: list[str], now: float) -> dict:
    """Our times, from what stands there in any form."""
    found = {}
    for column, names in TIMES.items():
        raw = next((record[name] for name in names if record.get(name) is not None), None)
        found[column] = moment(raw, zone)
        if raw is not None and found[column] is None:
            notes.append(f"its {column} is no time: {str(raw)[:40]!r}")
        elif isinstance(raw, str):
            notes.append(f"its {column} was text: {raw[:40]!r}")
    known = [at for at in (found["started_at"], found["completed_at"]) if at is not None]
    found["enqueued_at"] = found["enqueued_at"] or min(known, default=now)
    ended, end = status in ("completed", "failed", "cancelled"), found["completed_at"]
    if end is not None and not ended:
        notes.append(f"it is {status}: its completed_at is of the past")
        end = None
    if end is not None and end < (found["started_at"] or end):
        notes.append("its completed_at is before its start")
        end = None
    if ended and end is None:
        end = found["started_at"] or found["enqueued_at"]
    if status == "processing":
        found["started_at"] = found["started_at"] or found["enqueued_at"]
    if status == "queued":
        found["started_at"] = None
    return {**found, "completed_at": end, "status_at": end or found["started_at"] or found["enqueued_at"]}


def name_of(record: dict, spec: str | None, path: str | None, session: str | None, files: dict) -> str:
    stem = None if placeholder(spec) else os.path.splitext(os.path.basename((spec or "").rstrip("/")))[0]
    base = os.path.basename((path or "").rstrip("/"))
    return text(record.get("project_name")) or files.get("name") or stem or base or session or "project"


def marks_of(record: dict, files: dict, started_at: float | None) -> list[str]:
    """What speaks for its completion, of this run as far as it can be told."""
    marks = [f"the old table says that it was {word}" for word in [text(record.get("merged_status"))] if word == "merged"]
    for what, at in files.get("marks", []):
        if at is None or at >= (started_at or 0):
            marks.append(what)
    return marks


# -- what its files say


def registry(files: list[tuple[str, str, object]], zone: tzinfo | None) -> dict[str, dict]:
    """{session: {name, project_path, spec_path, size, roles, marks}} from (directory, file name, its JSON)."""
    found: dict[str, dict] = {}
    of_directory = {
        directory: name
        for directory, _, data in files
        if isinstance(data, dict) and (name := session(data.get("session_name")))
    }
    for directory, file, data in files:
        if not isinstance(data, dict):
            continue
        whose = session(data.get("session_name")) or of_directory.get(directory)
        if file == "COMPLETION_MARKER":
            whose = whose or session(os.path.basename(directory))
        if whose:
            facts = {key: value for key, value in FILES[file](data, zone).items() if value}
            marks = found.get(whose, {}).get("marks", []) + facts.get("marks", [])
            found[whose] = {**found.get(whose, {}), **facts, **({"marks": marks} if marks else {})}
    return found


def metadata(data: dict, zone: tzinfo | None) -> dict:
    return {"name": text(data.get("project_name")), "project_path": text(data.get("project_path"))}


def state(data: dict, zone: tzinfo | None) -> dict:
    at = moment(data.get("completion_time"), zone)
    done = str(data.get("completion_status")).casefold() == "completed"
    return {
        "name": text(data.get("project_name")), "project_path": text(data.get("project_path")),
        "spec_path": text(data.get("spec_path")), "size": size(data.get("project_size")), "roles": roles(data.get("agents")),
        "marks": [("its session_state.json says that it was completed", at)] if done else [],
    }  # fmt: skip


def plan(data: dict, zone: tzinfo | None) -> dict:
    return {"size": size(data.get("project_size")), "roles": roles(data.get("roles"))}


def marker(data: dict, zone: tzinfo | None) -> dict:
    return {"marks": [("it has a COMPLETION_MARKER", moment(data.get("completed_at"), zone))]}


FILES = {
    "orchestration_metadata.json": metadata, "session_state.json": state, "implementation_spec.json": plan,
    "COMPLETION_MARKER": marker,
}  # fmt: skip


def size(value: object) -> str | None:
    word = text(value.get("size") if isinstance(value, dict) else value)
    return word.casefold() if word and word.casefold() in projects.SIZES else None


def roles(value: object) -> str | None:
    names = [projects.role_key(str(name)) for name in value] if isinstance(value, dict) else []
    return ",".join(sorted(dict.fromkeys(names), key=lambda role: role != "orchestrator")) or None


# -- sessions that a person asks to be tagged


def roles_of(windows: list[dict]) -> tuple[dict[str, dict], list[str]]:
    """({role: window}, the windows that name none) of a session's windows in order: {index, name, ...} each."""
    found: dict[str, dict] = {}
    rest = []
    for window in windows:
        role = projects.role_key(window["name"])
        if role in projects.WINDOWS and role not in found:
            found[role] = window
        else:
            rest.append(window["name"])
    return dict(sorted(found.items(), key=lambda item: item[0] != "orchestrator")), rest


# -- check-ins and messages


def checkin(table: str, record: dict, zone: tzinfo | None, now: float) -> dict:
    """A check-in or a message: {session, window, role, text, due_at, repeats, left}; `left` says why it makes no sense
    any more, by itself."""
    target = text(record.get("agent_id")) or text(record.get("target_window")) or ""
    at = {"tasks": "next_run", "task_queue": "scheduled_time"}.get(table)
    due = moment(record.get(at), zone) if at else now
    said = str(record.get("note") or record.get("message") or "")
    words = delivery.clean("".join(c for c in said if c.isprintable() or c in "\n\t"))
    return {
        "session": session(record.get("session_name")) or session(target),
        "window": number(record.get("window_index"), 0) if table == "tasks" else window(target),
        "role": projects.role_key(role) if (role := text(record.get("agent_role"))) else None,
        "text": words if len(words) <= LONGEST else words[:LONGEST] + " …",
        "cut": len(words) > LONGEST,
        "due_at": max(now, due or now),
        "repeats": table == "tasks",
        "left": senseless(table, record, words, due, now),
    }


def window(target: str) -> int | None:
    index = target.rpartition(":")[2].partition(".")[0]
    return int(index) if re.fullmatch(r"\d{1,6}", index) else None


def senseless(table: str, record: dict, words: str, due: float | None, now: float) -> str | None:
    status = (text(record.get("status")) or "pending").casefold()
    retries = number(record.get("retry_count")) or 0
    if not words.strip():
        return "it says nothing"
    if table != "tasks" and status != "pending":
        return f"it is {status}"
    if table == "tasks" and retries < 0:
        return "it had failed for good"
    if table == "tasks" and retries > RETRIES:
        return f"it had been tried {retries} times"
    if due is None:
        return "it has no time"
    if due - now > FURTHEST_S:
        return "it is too far ahead: it was switched off"
    return None
