"""What tmo-repair-db reads, changes and takes back."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable

from ..errors import Refused
from . import RUNNING, Store, decode, host, now
from .file import errors

BY_TRIGGER = ("session_name", "started_at", "completed_at", "error_message", "claimed_by", "claimed_until")  # of a status


def suspects(db: Store, sessions: Iterable[str], tagged: Iterable[int]) -> dict[str, list[dict]]:
    """The rows that may contradict the world. sessions: the names of those that live; tagged: the projects that
    panes carry the tag of. Failed projects without any sign of life or of completion are left out."""
    live, ids = json.dumps(list(sessions)), json.dumps(list(tagged))
    here = (host(),)
    return {
        "failed": db.all(
            """SELECT p.* FROM project_queue p WHERE status = 'failed' AND (
                   session_name IN (SELECT value FROM json_each(?1)) OR id IN (SELECT value FROM json_each(?2))
                   OR EXISTS (SELECT 1 FROM event e WHERE e.project_id = p.id AND e.kind = 'done')
                   OR EXISTS (SELECT 1 FROM imported i WHERE i.project_id = p.id AND i.evidence IS NOT NULL)
               ) ORDER BY id""",
            (live, ids),
        ),
        "running": db.all(
            """SELECT * FROM project_queue WHERE status IN ('processing', 'completing', 'recovering')
               AND coalesce(host, ?1) = ?1 ORDER BY id""",
            here,
        ),
        "queued": db.all("SELECT * FROM project_queue WHERE status = 'queued' AND session_name IS NOT NULL"),
        "ends": db.all(
            """SELECT * FROM project_queue
               WHERE (completed_at IS NULL) = (status IN ('completed', 'failed', 'cancelled')) ORDER BY id"""
        ),
        "twins": db.all(
            """SELECT * FROM project_queue WHERE session_name IN (
                   SELECT session_name FROM project_queue WHERE session_name <> ''
                   GROUP BY session_name HAVING count(*) > 1) ORDER BY session_name, id"""
        ),
        "agents": db.all(
            """SELECT a.*, p.status, p.roles FROM agent_health a LEFT JOIN project_queue p ON p.id = a.project_id
               WHERE a.host = ?1 AND (p.id IS NULL OR p.status IN ('queued', 'completed', 'failed', 'cancelled')
                   OR ',' || p.roles || ',' NOT LIKE '%,' || a.role || ',%') ORDER BY a.id""",
            here,
        ),
        "messages": db.all(
            """SELECT m.*, p.status FROM message m LEFT JOIN project_queue p ON p.id = m.project_id
               WHERE m.state IN ('queued', 'held') ORDER BY m.id"""
        ),
        "holds": db.all("SELECT * FROM hold WHERE released_at IS NULL AND until_at <= ? ORDER BY id", (now(),)),
    }


def failure(db: Store, project_id: int) -> dict | None:
    """The event that a project failed by, or came into the database by as a failed one; an undone repair is none."""
    row = db.one(
        """SELECT * FROM event WHERE project_id = ? AND kind = 'status' AND dest = 'failed'
           AND NOT (actor = 'tmo-repair-db' AND why GLOB 'undo of *') ORDER BY id DESC LIMIT 1""",
        (project_id,),
    )
    return {**row, "evidence": decode(row["evidence"])} if row else None


def neighbour(db: Store, project_id: int) -> dict | None:
    """Another project that runs in the same directory."""
    return db.one(
        f"""SELECT o.* FROM project_queue o JOIN project_queue p ON p.id = ? AND o.project_path = p.project_path
            WHERE o.id <> p.id AND o.status IN ({", ".join("?" * len(RUNNING))})""",
        (project_id, *RUNNING),
    )


def carry_out(db: Store, change: dict, why: str, evidence: dict, backup: str) -> bool:
    """Carry out one change of a plan (`repair.finding`), whole or not at all, with its event. False when the row
    does not stand any more as it was looked at."""
    table, where = change["table"], {"id": change["id"], **change["expect"]}
    same = " AND ".join(f"{column} IS ?" for column in where)
    with db.transaction():
        before = db.one(f"SELECT * FROM {table} WHERE {same}", where.values())
        if not before or (change["alone"] and neighbour(db, change["id"])):
            return False
        if change["delete"]:
            db.run(f"DELETE FROM {table} WHERE id = ?", (change["id"],))
        put(db, table, change["id"], change["first"])
        walk(db, change["id"], change["events"], why)
        put(db, table, change["id"], change["values"])
        for agent in db.agents([change["id"]]) if change["agents"] else ():
            put(db, "agent_health", agent["id"], change["agents"])
        after = db.row(table, change["id"])
        changed = {name: [value, after[name]] for name, value in before.items() if value != after[name]} if after else {}
        told = {"table": table, "id": change["id"], "columns": changed, "backup": os.path.basename(backup)}
        db.note("repair", change["name"], "tmo-repair-db", evidence | told, project_id=change["project_id"], why=why)
    return True


def walk(db: Store, project_id: int, events: Iterable[str], why: str) -> None:
    """Move a project by one event after the other inside the caller's transaction. Raises Refused when that is not
    legal from where it is."""
    for event in events:
        moved = db.run(
            """UPDATE project_queue SET actor = 'tmo-repair-db', why = ?1, status = (
                   SELECT dest FROM state_transition t WHERE t.event = ?2 AND t.source = status)
               WHERE id = ?3 AND status IN (SELECT source FROM state_transition WHERE event = ?2)""",
            (why, event, project_id),
        )
        if not moved:
            raise Refused(f"project {project_id} could not be moved by '{event}'")


def put(db: Store, table: str, number: int, values: dict) -> None:
    if values:
        changes = ", ".join(f"{column} = ?" for column in values)
        db.run(f"UPDATE {table} SET {changes} WHERE id = ?", [*values.values(), number])


def marks(db: Store, project_id: int) -> list[str]:
    """What speaks for the completion of a project by the records that it was taken over from."""
    rows = db.all("SELECT evidence FROM imported WHERE project_id = ? AND evidence IS NOT NULL", (project_id,))
    return [word for row in rows for word in json.loads(row["evidence"])]


def made_after(db: Store, backup: str) -> list[dict]:
    """The repairs that were made after this backup and not undone yet, the last one first."""
    rows = db.all(
        """SELECT * FROM event r WHERE kind = 'repair' AND name <> 'undo' AND evidence ->> 'backup' = ?
           AND NOT EXISTS (SELECT 1 FROM event u WHERE u.kind = 'repair' AND u.name = 'undo'
                           AND u.evidence ->> 'event' = r.id) ORDER BY id DESC""",
        (os.path.basename(backup),),
    )
    return [{**row, "evidence": decode(row["evidence"])} for row in rows]


def undo(db: Store, event: dict, old: dict, path: list[str]) -> bool:
    """Undo one repair: its columns as they are in `old`, the row of the backup, the status by the events of `path`.
    False when the row changed since. Raises Refused when it cannot stand beside what came since."""
    told = event["evidence"]
    table, number, columns = told["table"], told["id"], told["columns"]
    back_to, _ = columns.get("status", (None, None))
    with db.transaction():
        row = db.row(table, number)
        if bool(row) != bool(columns) or any(row[name] != after for name, (_, after) in columns.items() if row):
            return False
        if table == "project_queue" and back_to in RUNNING and (other := neighbour(db, number)):
            raise Refused(f"project {other['id']} runs in its directory")
        if row:
            walk(db, number, path, f"undo of the repair in event {event['id']}")
            values = {name: row[name] for name in BY_TRIGGER if path} | {name: old[name] for name in columns}
            put(db, table, number, {name: value for name, value in values.items() if name != "status"})
        else:
            db.insert(table, old)
        db.note("repair", "undo", "tmo-repair-db", {"event": event["id"]}, project_id=event["project_id"])
    return True


def backup(db: Store) -> str:
    """Copy the whole database into a new file beside it, and its path. It has its name only once it is whole."""
    path = f"{db.path}.backup-{time.strftime('%Y%m%dT%H%M%S')}"
    path = next(name for name in (path, *(f"{path}-{n}" for n in range(2, 10**6))) if not os.path.exists(name))
    part = f"{path}.part-{os.getpid()}"
    with errors(db.path):
        try:
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db.connection.execute("VACUUM INTO ?", (part,))
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.rename(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
    return path
