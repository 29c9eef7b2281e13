"""The file itself: whether it is sound, and what is old in it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable

from . import Store, decode
from .file import blueprint, errors

FREE = 64 << 20  # bytes: less free disk than that is reported
WAL = 64 << 20  # bytes: SQLite takes a WAL over at 4 MB, unless a reader is in the way
CHUNK = 5000  # rows that are removed in one transaction
# What is past a time and belongs to no project that there is: never a message or a hold that is open.
LOOSE = {
    "message": """project_id IS NULL AND state NOT IN ('queued', 'typing', 'accepted', 'held')
                  AND coalesce(closed_at, created_at) < ?""",
    "event": "at < ? AND (project_id IS NULL OR project_id NOT IN (SELECT id FROM project_queue))",
    "hold": "released_at < ?",
    "auth_check": "checked_at < ?",
}


def damage(db: Store) -> list[dict]:
    """How the file is damaged: {kind, reason} each."""
    found = [{"kind": "integrity", "reason": row["integrity_check"]} for row in db.all("PRAGMA integrity_check")]
    return [row for row in found if row["reason"] != "ok"]


def check(db: Store) -> list[dict]:
    """What is wrong with the file itself: {kind, reason} each."""
    found = damage(db)
    for row in db.all("PRAGMA foreign_key_check"):
        found.append({"kind": "foreign_key", "reason": f"row {row['rowid']} of {row['table']} refers to no {row['parent']}"})
    there = {(row["type"], row["name"]) for row in db.all("SELECT type, name FROM sqlite_schema")}
    for kind, name, _ in blueprint():
        if (kind, name) not in there:
            found.append({"kind": "schema", "reason": f"the {kind} {name} is missing"})
    with contextlib.suppress(FileNotFoundError):
        if (size := os.stat(db.path + "-wal").st_size) > WAL:
            reason = f"the WAL holds {size >> 20} MiB: a reader that never ends keeps it from being taken over"
            found.append({"kind": "wal", "reason": reason})
    disk = os.statvfs(os.path.dirname(db.path))
    if disk.f_bavail * disk.f_frsize < max(FREE, 2 * os.stat(db.path).st_size):
        found.append({"kind": "space", "reason": f"only {disk.f_bavail * disk.f_frsize >> 20} MiB are free"})
    return found


def newest_at(db: Store) -> float | None:
    """The latest time of an event or a look at an agent, None before the first."""
    row = db.one(
        """SELECT max(coalesce((SELECT max(at) FROM event), 0),
                      coalesce((SELECT max(last_health_check_at) FROM agent_health), 0)) AS at"""
    )
    return row["at"] or None if row else None


def old_projects(db: Store, before: float) -> list[dict]:
    """Terminal projects that ended before, and that nothing waits for: how much they take, and their runs."""
    rows = db.all(
        """SELECT id AS project_id, name, status, completed_at,
               (SELECT count(*) FROM event WHERE project_id = p.id) AS events,
               (SELECT count(*) FROM message WHERE project_id = p.id) AS messages,
               (SELECT json_group_array(DISTINCT run) FROM event WHERE project_id = p.id AND run IS NOT NULL) AS runs
           FROM project_queue p WHERE completed_at < ? AND status IN ('completed', 'failed', 'cancelled')
           AND NOT EXISTS (SELECT 1 FROM project_queue q WHERE q.status NOT IN ('completed', 'failed', 'cancelled')
                           AND ',' || q.depends_on || ',' LIKE '%,' || p.id || ',%') ORDER BY id""",
        (before,),
    )
    return [{**row, "runs": decode(row["runs"])} for row in rows]


def forget(db: Store, project_id: int, completed_at: float) -> bool:
    """Remove a project that still stands as it was listed, with its messages and events."""
    with db.transaction():
        if not db.one("SELECT id FROM project_queue WHERE id = ? AND completed_at = ?", (project_id, completed_at)):
            return False
        keep_counts(db, counted(db, [project_id]))
        db.run("DELETE FROM event WHERE project_id = ?", (project_id,))  # first: the project's trigger finds nothing to keep
        db.run("DELETE FROM project_queue WHERE id = ?", (project_id,))
        db.run("UPDATE imported SET raw = '{}', evidence = NULL WHERE project_id = ?", (project_id,))
    db.event("prune", "prune", "tmo-prune", project_id=project_id)
    return True


def loose(db: Store, before: float) -> dict[str, int]:
    """How many rows of each table are past that time and of no project that there is."""
    counts = {table: db.one(f"SELECT count(*) AS n FROM {table} WHERE {old}", (before,)) for table, old in LOOSE.items()}
    return {table: row["n"] for table, row in counts.items() if row and row["n"]}


def drop_loose(db: Store, table: str, before: float) -> int:
    """Remove those of one table, some at a time: others write meanwhile. How many."""
    total, dropped = 0, -1
    some = f"SELECT rowid FROM {table} WHERE {LOOSE[table]} LIMIT {CHUNK}"
    while dropped:
        with db.transaction():
            whose = [None, *orphaned(db, before)]
            share = counted(db, whose)
            dropped = db.run(f"DELETE FROM {table} WHERE rowid IN ({some})", (before,))
            share.subtract(counted(db, whose))
            keep_counts(db, share)
        total += dropped
    return total


def orphaned(db: Store, before: float) -> list[int]:
    """The projects that were removed by hand, whose events from before that time still count. Of those that tmo-prune
    removed there is only its own event."""
    rows = db.all(
        """SELECT DISTINCT project_id FROM event WHERE at < ? AND kind <> 'prune' AND project_id IS NOT NULL
           AND project_id NOT IN (SELECT id FROM project_queue)""",
        (before,),
    )
    return [row["project_id"] for row in rows]


def counted(db: Store, project_ids: Iterable[int | None]) -> Counter:
    """The share of each counter, by (name, labels), that is of these projects; None: of no project. One project after the
    other: their events are found by an index then."""
    shares: Counter = Counter()
    for project_id in project_ids:
        rows = db.all(
            "SELECT name, labels, sum(value) AS n FROM metric_count WHERE project_id IS ? GROUP BY 1, 2", (project_id,)
        )
        for row in rows:
            shares[row["name"], row["labels"]] += row["n"]
    return shares


def keep_counts(db: Store, shares: Counter) -> None:
    """Add to what removed rows had counted: no counter goes down. What only their removal makes count is taken off."""
    with errors(db.path):
        db.connection.executemany(
            """INSERT INTO metric_kept VALUES (?, ?, ?) ON CONFLICT (name, labels)
               DO UPDATE SET value = value + excluded.value""",
            [(*which, value) for which, value in shares.items() if value],
        )


def runs(db: Store) -> set[str]:
    """The launches that agents, and what is known of projects, speak of."""
    rows = db.all(
        """SELECT run FROM agent_health WHERE run IS NOT NULL
           UNION SELECT run FROM event WHERE run IS NOT NULL AND project_id IN (SELECT id FROM project_queue)"""
    )
    return {row["run"] for row in rows}
