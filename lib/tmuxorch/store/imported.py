"""What another system's records became."""

from __future__ import annotations

import json
from collections.abc import Iterable

from . import Store, now


def taken(db: Store, keys: Iterable[str]) -> dict[str, dict]:
    """What was taken over before, of these records, by key."""
    rows = db.all("SELECT * FROM imported WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),))
    return {row["key"]: row for row in rows}


def take_projects(db: Store, records: list[dict]) -> list[int | None]:
    """Insert projects with the records that they came from, in one transaction; the number of each, None where
    another process took it meanwhile. A record: values (columns of project_queue), wanted (the number that it should
    keep, where it is free), paused, and the columns of `imported` below `record`."""
    with db.transaction():
        return [take_project(db, one) for one in records]


def take_project(db: Store, one: dict) -> int | None:
    if db.one("SELECT 1 FROM imported WHERE key = ?", (one["record"]["key"],)):
        return None
    values = dict(one["values"])
    if one["wanted"] and not db.row("project_queue", one["wanted"]):
        values["id"] = one["wanted"]
    number = db.insert("project_queue", values)
    db.insert("imported", {**one["record"], "project_id": number})
    name = f"project/{number}"
    if one["paused"] and not db.one("SELECT 1 FROM hold WHERE name = ? AND released_at IS NULL", (name,)):
        why = "it was paused in the database that it came from"
        db.insert("hold", {"name": name, "cause": "manual", "actor": "tmo-import", "why": why, "since_at": now()})
    return number


def take_message(db: Store, message: dict, record: dict) -> bool:
    """Queue a check-in or a message with the record that it came from; False when it was taken before."""
    with db.transaction():
        if db.one("SELECT 1 FROM imported WHERE key = ?", (record["key"],)):
            return False
        db.insert("message", message)
        db.insert("imported", record)
    return True


def named(db: Store, sessions: Iterable[str]) -> list[dict]:
    """The projects that were taken over and name one of these sessions, each with its `raw` record."""
    return db.all(
        """SELECT p.*, i.raw FROM project_queue p JOIN imported i ON i.project_id = p.id AND i.kind = 'project'
           WHERE p.session_name IN (SELECT value FROM json_each(?)) ORDER BY p.id""",
        (json.dumps(list(sessions)),),
    )
