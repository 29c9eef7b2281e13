"""The database: the one package that knows SQLite and holds all SQL. Here is what many commands use; what one of them alone
asks is in a module of its own.

A writer takes its place in a queue (flock on a file beside the database) before BEGIN IMMEDIATE, since
SQLite's own busy handler lets late comers overtake and starves some writers. Readers open the file
read-only and never wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator

from ..errors import Error, Later
from .file import NETWORK, check_version, connect, errors, file_system, migrations, newest, queue, script, uri

RUNNING = ("initializing", "authenticating", "setting_up", "processing", "completing", "recovering")
LIVE = ("processing", "completing")  # every role should have its agent
TERMINAL = ("completed", "failed", "cancelled")
SAID = ("why", "reason", "detail", "dialog", "error_message")  # columns that repeat what others wrote
OPEN_MESSAGE = ("queued", "typing", "accepted", "held")


def host() -> str:
    return os.uname().nodename


def read(path: str, older: bool = False) -> Store | None:
    """The database for a viewer, or None when there is none yet. older: one of an older schema too, which nothing migrates
    (a backup): its rows lack the columns that were added since."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may be there: SQLite says what is wrong with it
    with errors(path):
        store = Store(connect(uri(path, "mode=ro"), uri=True), path)
        version = store.version()
    check_version(version, path)
    if version == 0:
        return None  # it is being made at this moment
    if version < newest() and not older:
        raise Later(f"database '{path}' awaits its migration; any command that writes does it")
    return store


def write(path: str) -> Store:
    """The database for a command that acts; made, and brought to the newest schema, when need be."""
    if (kind := file_system(path)) in NETWORK:
        raise Error(f"database '{path}' is on a network file system ({kind}), where SQLite's locks do not hold")
    if os.path.exists(f"{path}.recovered") and not os.path.exists(path):  # an empty one would hide what there was
        raise Error(f"database '{path}' is gone, but '{path}.recovered' is there: move that to its place, or away")
    with errors(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        store = Store(connect(path), path)
        if store.version() < newest():
            store.migrate()
    check_version(store.version(), path)
    return store


class Store:
    """One connection. Rows are plain dicts with the columns of their table."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.path = path

    # -- plumbing

    def all(self, sql: str, values: Iterable = ()) -> list[dict]:
        with errors(self.path):
            cursor = self.connection.execute(sql, tuple(values))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, table: str, number: int) -> dict | None:
        return self.one(f"SELECT * FROM {table} WHERE id = ?", (number,))

    def one(self, sql: str, values: Iterable = ()) -> dict | None:
        rows = self.all(sql, values)
        return rows[0] if rows else None

    def run(self, sql: str, values: Iterable = ()) -> int:
        """Execute one statement; how many rows it changed."""
        with errors(self.path):
            return self.connection.execute(sql, tuple(values)).rowcount

    def version(self) -> int:
        return self.connection.execute("PRAGMA user_version").fetchone()[0]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A short write: all of it or nothing; within another it is part of that one."""
        if self.connection.in_transaction:
            yield
            return
        with errors(self.path), queue(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.execute("COMMIT")

    def migrate(self) -> None:
        with queue(self.path):
            self.connection.execute("PRAGMA journal_mode = WAL")
        for number, path in enumerate(migrations(), 1):
            with self.transaction():
                if self.version() < number:
                    script(self.connection, path)
                    self.connection.execute(f"PRAGMA user_version = {number}")

    def update(self, table: str, where: dict, values: dict) -> bool:
        """Compare-and-set: change the row that is still as `where` says; False when there is none."""
        changes = ", ".join(f"{column} = ?" for column in values)
        same = " AND ".join(f"{column} IS ?" for column in where)
        with self.transaction():
            given = [whole(value) if column in SAID else value for column, value in values.items()]
            return self.run(f"UPDATE {table} SET {changes} WHERE {same}", [*given, *where.values()]) > 0

    def insert(self, table: str, values: dict) -> int:
        """Insert one row inside the caller's transaction; its id."""
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with errors(self.path):
            cursor = self.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values()))
            return cursor.lastrowid or 0

    # -- events

    def event(self, kind: str, name: str, actor: str, evidence: object = None, **columns: object) -> dict:
        """Append one event; the row as printed."""
        with self.transaction():
            number = self.note(kind, name, actor, evidence, **columns)
        return self.events(after=number - 1, limit=1)[0]

    def note(self, kind: str, name: str, actor: str, evidence: object = None, **columns: object) -> int:
        """Append one event inside the caller's transaction; its id."""
        values = {"at": now(), "kind": kind, "name": name, "actor": actor, **columns, "evidence": encode(evidence)}
        return self.insert("event", {column: whole(value) for column, value in values.items()})

    def events(
        self, project_id: int | None = None, since: float = 0, after: int = 0, kind: str | None = None, limit: int = -1
    ) -> list[dict]:
        """Events, oldest first: of one project, at or after `since`, with an id above `after`, of one kind."""
        rows = self.all(
            """SELECT * FROM event WHERE (?1 IS NULL OR project_id = ?1) AND at >= ?2 AND id > ?3
               AND (?4 IS NULL OR kind = ?4) ORDER BY id LIMIT ?5""",
            (project_id, since, after, kind, limit),
        )
        return [{**row, "evidence": decode(row["evidence"])} for row in rows]

    # -- projects

    def transitions(self) -> list[dict]:
        return self.all("SELECT event, source, dest FROM state_transition")

    def projects(self, ids: Iterable[int] = (), status: Iterable[str] = ()) -> list[dict]:
        """Projects by id and status (none given: all), in the order of their ids."""
        rows = self.all(
            """SELECT * FROM project_queue WHERE (?1 = '[]' OR id IN (SELECT value FROM json_each(?1)))
               AND (?2 = '[]' OR status IN (SELECT value FROM json_each(?2))) ORDER BY id""",
            (json.dumps(list(ids)), json.dumps(list(status))),
        )
        return [{"project_id": row["id"], **row} for row in rows]

    def project(self, project_id: int) -> dict | None:
        rows = self.projects([project_id])
        return rows[0] if rows else None

    def enqueue(self, projects: list[dict]) -> tuple[list[dict], list[dict]]:
        """Insert projects, all or none: (their rows, those that are left out since they depend on projects that there are
        not). A later one may depend on an earlier one."""
        numbers, left_out = [], []
        with self.transaction():
            for project in projects:
                if self.one(
                    "SELECT 1 FROM json_each('[' || ? || ']') WHERE value NOT IN (SELECT id FROM project_queue) LIMIT 1",
                    (project.get("depends_on"),),
                ):
                    left_out.append(project)
                else:
                    numbers.append(self.insert("project_queue", project))
        return (self.projects(numbers) if numbers else []), left_out

    def move(
        self, project_id: int, event: str, actor: str, why: str | None = None, evidence: object = None,
        where: dict | None = None, **columns: object,
    ) -> bool:  # fmt: skip
        """Move a project by an event of the state machine, if that is legal from its present status and the
        columns in `where` are still as given. False: another process got there first, or it is not legal.
        What is to recover gets all its rounds and attempts again: it would fail again by those that it has used."""
        if event == "recover":
            columns = {"rework_count": 0, **columns}
        values = {"actor": actor, "why": whole(why), **columns, "evidence": encode(evidence)}
        changes = "".join(f", {column} = ?" for column in values)
        same = "".join(f" AND {column} IS ?" for column in where or {})
        with self.transaction():
            moved = self.run(
                f"""UPDATE project_queue SET status = (SELECT dest FROM state_transition t
                        WHERE t.event = ? AND t.source = status){changes}
                    WHERE id = ? AND status IN (SELECT source FROM state_transition WHERE event = ?){same}""",
                [event, *values.values(), project_id, event, *(where or {}).values()],
            ) > 0  # fmt: skip
            if moved and event == "recover":
                self.run(
                    """UPDATE agent_health SET needs_human = 0, recovery_attempts = 0, next_recovery_at = NULL
                       WHERE project_id = ?""",
                    (project_id,),
                )
            return moved

    def claim(self, choose: Callable, claimer: str, until: float, **columns: object) -> dict | None:
        """Take one queued project: `choose(queued, running, holds, finished ids)` names it, inside the transaction,
        so that no two callers take the same one and no limit is passed. The row, or None."""
        with self.transaction():
            queued = self.all("SELECT * FROM project_queue WHERE status = 'queued' ORDER BY priority DESC, id")
            done = {row["id"] for row in self.all("SELECT id FROM project_queue WHERE status = 'completed'")}
            chosen = choose(queued, self.projects(status=RUNNING), self.holds(now()), done)
            if chosen is None:
                return None
            values = {"actor": "tmo-start", "why": None, "claimed_by": claimer, "claimed_until": until, **columns}
            changes = "".join(f", {column} = ?" for column in values)
            self.run(
                f"UPDATE project_queue SET status = 'initializing'{changes} WHERE id = ?",
                [*values.values(), chosen["id"]],
            )
            self.run(
                """UPDATE message SET state = 'expired', reason = 'it is of an earlier run of the project', closed_at = ?1
                   WHERE project_id = ?2 AND state IN ('queued', 'held', 'accepted') AND created_at < (
                       SELECT max(at) FROM event WHERE project_id = ?2 AND kind = 'status'
                       AND dest IN ('completed', 'failed', 'cancelled'))""",
                (now(), chosen["id"]),
            )
        return self.project(chosen["id"])

    # -- agents

    def agents(self, project_ids: Iterable[int] = ()) -> list[dict]:
        """The current row of each agent (of these projects, none given: of all)."""
        return self.all(
            """SELECT * FROM agent_health WHERE ?1 = '[]' OR project_id IN (SELECT value FROM json_each(?1))
               ORDER BY project_id, id""",
            (json.dumps(list(project_ids)),),
        )

    def agent(self, project_id: int, role: str) -> dict | None:
        return self.one("SELECT * FROM agent_health WHERE project_id = ? AND role = ?", (project_id, role))

    def relaunch_agent(self, project_id: int, role: str, run: str | None, values: dict) -> bool:
        """Set columns of an agent's row for a new launch after `run`; False when there has been another since."""
        return self.update("agent_health", {"project_id": project_id, "role": role, "run": run}, values)

    def call_person(self, agent: dict, actor: str, **columns: object) -> bool:
        """Mark an agent as one for a person to see to, with one notice: both or neither. False when it is marked already."""
        with self.transaction():
            changed = self.run("UPDATE agent_health SET needs_human = 1 WHERE id = ? AND needs_human = 0", (agent["id"],))
            if changed:
                self.note(
                    "notice", "needs_human", actor, project_id=agent["project_id"], role=agent["role"], **columns
                )  # fmt: skip
        return bool(changed)

    def call_person_to(self, project: dict, actor: str, what: str, why: str) -> None:
        """Call a person to a project as a whole for something (a word), once while it stays in its status."""
        with self.transaction():
            if not self.one(
                """SELECT 1 FROM event WHERE project_id = ?1 AND kind = 'notice' AND role IS NULL AND source = ?2 AND id > (
                       SELECT max(id) FROM event WHERE project_id = ?1 AND kind = 'status')""",
                (project["id"], what),
            ):
                columns = {"project_id": project["id"], "run": project["run"], "source": what, "why": why}
                self.note("notice", "needs_human", actor, **columns)

    def save_agent(self, project_id: int, role: str, values: dict) -> None:
        """Set columns of an agent's row, making the row at its first launch."""
        columns = {"project_id": project_id, "role": role, "host": host(), **values}
        marks = ", ".join("?" * len(columns))
        changes = ", ".join(f"{column} = excluded.{column}" for column in values)
        with self.transaction():
            self.run(
                f"""INSERT INTO agent_health ({", ".join(columns)}) VALUES ({marks})
                    ON CONFLICT (project_id, role) DO UPDATE SET {changes}""",
                columns.values(),
            )

    def save_looks(self, looks: list[tuple[dict, dict]]) -> None:
        """Write what one sweep saw, in one transaction: (the agent's row as the sweep read it, columns) each. An agent
        that was launched anew since was not seen."""
        changes = ", ".join(f"{column} = ?" for column in looks[0][1])
        rows = [[*map(whole, values.values()), agent["id"], agent["run"]] for agent, values in looks]
        with self.transaction(), errors(self.path):
            self.connection.executemany(f"UPDATE agent_health SET {changes} WHERE id = ? AND run IS ?", rows)

    def done(self, project_id: int, role: str) -> dict | None:
        """The newest word of a role that its work is done, since the project was last given work."""
        return self.one(
            """SELECT * FROM event WHERE project_id = ? AND kind = 'done' AND role = ? AND id > ?
               ORDER BY id DESC LIMIT 1""",
            (project_id, role, self.given(project_id)["id"]),
        )

    def answered(self, project_id: int, key: str) -> bool:
        """Whether somebody of a project said that the work is done since a message was typed, by the order of events."""
        return bool(self.one(
            """SELECT d.id FROM event d WHERE d.project_id = ?1 AND d.kind = 'done' AND d.id > (
                   SELECT max(t.id) FROM event t JOIN message m ON m.id = t.message_id
                   WHERE m.key = ?2 AND m.project_id = ?1 AND t.project_id = ?1 AND t.dest = 'typing') LIMIT 1""",
            (project_id, key),
        ))  # fmt: skip

    def given(self, project_id: int) -> dict:
        """The event that last gave a project work: it was started, or sent back for rework. Its id and time are 0 when
        there was none."""
        row = self.one(
            """SELECT * FROM event WHERE project_id = ? AND kind = 'status' AND name IN ('start', 'rework')
               ORDER BY id DESC LIMIT 1""",
            (project_id,),
        )
        return row or {"id": 0, "at": 0.0}

    def roles_done(self) -> set[tuple[int, str]]:
        """The (project, role) of all that said so (`done`), in projects that run, but those that were told since what speaks
        against it: they have to say it again."""
        rows = self.all(
            """SELECT DISTINCT d.project_id, d.role FROM event d
               JOIN project_queue p ON p.id = d.project_id AND p.status = 'processing'
               WHERE d.kind = 'done' AND d.id > coalesce(
                   (SELECT max(s.id) FROM event s WHERE s.project_id = d.project_id AND s.kind = 'status'
                    AND s.name IN ('start', 'rework')), 0)
               AND NOT EXISTS (
                   SELECT 1 FROM message m WHERE m.project_id = d.project_id AND m.role = d.role AND m.key GLOB 'tidy/*'
                   AND m.state IN ('submitted', 'accepted') AND d.id < (
                       SELECT max(t.id) FROM event t WHERE t.message_id = m.id AND t.dest = 'typing'))"""
        )
        return {(row["project_id"], row["role"]) for row in rows}

    def launched(self, project_id: int, run: str) -> bool:
        """Whether a launch was carried out."""
        return bool(
            self.one("SELECT 1 FROM event WHERE project_id = ? AND kind = 'launch' AND run = ? LIMIT 1", (project_id, run))
        )

    def role_runs(self, project_id: int, role: str) -> set[str]:
        """The launches of a role since its project's last start, and its present one."""
        rows = self.all(
            """SELECT run FROM agent_health WHERE project_id = ?1 AND role = ?2
               UNION SELECT run FROM event WHERE project_id = ?1 AND role = ?2 AND kind = 'launch' AND id > coalesce((
                   SELECT max(id) FROM event WHERE project_id = ?1 AND kind = 'status' AND name = 'start'), 0)""",
            (project_id, role),
        )
        return {row["run"] for row in rows if row["run"]}

    def earlier_runs(self, project_id: int) -> set[str]:
        """The launches of a project before its last start."""
        rows = self.all(
            """SELECT DISTINCT run FROM event WHERE project_id = ?1 AND kind = 'launch' AND run IS NOT NULL AND id < (
                   SELECT max(id) FROM event WHERE project_id = ?1 AND kind = 'status' AND name = 'start')""",
            (project_id,),
        )
        return {row["run"] for row in rows}

    def count_launches(self, project_id: int, role: str, actor: str, since: float) -> int:
        row = self.one(
            """SELECT count(*) AS n FROM event
               WHERE project_id = ? AND kind = 'launch' AND role = ? AND actor = ? AND at >= ? AND at <= ?""",
            (project_id, role, actor, since, now()),
        )
        return row["n"] if row else 0

    def count_recoveries(self, project_id: int, since: float) -> int:
        """How often recovery acted on that one of a project's agents since then which it helped most. A return from a hold
        is no help."""
        row = self.one(
            """SELECT count(*) AS n FROM event WHERE project_id = ? AND kind = 'recovery' AND at >= ?
               AND dest IN ('done', 'failed') AND source NOT IN ('login', 'limited')
               GROUP BY role ORDER BY n DESC LIMIT 1""",
            (project_id, since),
        )
        return row["n"] if row else 0

    def count_nudges(self, project_id: int, role: str, since: float) -> int:
        """How often an agent was nudged while it was idle since then, since its project was last moved, and since a person
        was last called for it."""
        row = self.one(
            """SELECT count(*) AS n FROM event
               WHERE project_id = ?1 AND kind = 'recovery' AND role = ?2 AND name = 'nudge' AND source = 'idle'
               AND at > ?3 AND at <= ?4 AND id > coalesce((
                   SELECT max(id) FROM event WHERE project_id = ?1
                   AND (kind = 'status' OR (kind = 'notice' AND role = ?2))), 0)""",
            (project_id, role, since, now()),
        )
        return row["n"] if row else 0

    def last_word(self, project_id: int, role: str, actor: str) -> float:
        """When an agent last said that it is done, or took up a message of anybody but this actor; 0 for never."""
        row = self.one(
            """SELECT max(at) AS at FROM (
                   SELECT at FROM event WHERE project_id = ?1 AND kind = 'done' AND role = ?2
                   UNION ALL
                   SELECT typed_at FROM message WHERE project_id = ?1 AND role = ?2 AND actor <> ?3
                   AND state IN ('submitted', 'accepted'))
               WHERE at <= ?4""",
            (project_id, role, actor, now()),
        )
        return (row["at"] if row else None) or 0.0

    def count_failures(self, project_id: int, role: str, attempts: int) -> dict[str, int]:
        """{action: how many} of an agent's last recoveries, so many, that failed. A compaction tells of no success: each
        that was needed again counts."""
        rows = self.all(
            """SELECT name, count(*) AS n FROM (
                   SELECT name, dest FROM event
                   WHERE project_id = ? AND kind = 'recovery' AND role = ? AND source IS NOT NULL ORDER BY id DESC LIMIT ?)
               WHERE name = 'compact' OR dest = 'failed' GROUP BY name""",
            (project_id, role, attempts),
        )
        return {row["name"]: row["n"] for row in rows}

    def gave_up(self, project_id: int, role: str) -> str | None:
        """What recovery had tried in vain when a person was last called for an agent; None when it had nothing to try."""
        row = self.one(
            """SELECT dest FROM event WHERE project_id = ? AND kind = 'notice' AND role = ? ORDER BY id DESC LIMIT 1""",
            (project_id, role),
        )
        return row["dest"] if row else None

    # -- messages

    def message(self, key: str) -> dict | None:
        return self.one("SELECT * FROM message WHERE key = ?", (key,))

    def add_message(self, values: dict) -> bool:
        """Commit an outbox row; False when its key is there already."""
        with self.transaction():
            if self.one("SELECT id FROM message WHERE key = ?", (values["key"],)):
                return False
            self.insert("message", values)
        return True

    def messages(self, states: Iterable[str], project_id: int | None = None, role: str | None = None) -> list[dict]:
        """Messages in these states, oldest first (of one project, of one role)."""
        return self.all(
            """SELECT * FROM message WHERE state IN (SELECT value FROM json_each(?1))
               AND (?2 IS NULL OR project_id = ?2) AND (?3 IS NULL OR role = ?3) ORDER BY id""",
            (json.dumps(list(states)), project_id, role),
        )

    def roles_awaited(self) -> set[tuple[int, str]]:
        """The (project, role) of all that a message waits for."""
        rows = self.all(
            "SELECT DISTINCT project_id, role FROM message WHERE state IN ('queued', 'held') AND project_id IS NOT NULL"
        )
        return {(row["project_id"], row["role"]) for row in rows}

    def supersede_briefings(self, project_id: int, role: str) -> None:
        """Close the briefings of earlier launches that never reached their agent."""
        with self.transaction():
            self.run(
                """UPDATE message SET state = 'expired', reason = 'the agent was launched anew', closed_at = ?
                   WHERE project_id = ? AND role = ? AND key GLOB 'briefing/*'
                   AND state IN ('queued', 'held', 'accepted')""",
                (now(), project_id, role),
            )

    def briefed(self, project_id: int, role: str) -> bool:
        """Whether a role's agent got its briefing, or may have, since the project was started."""
        return bool(self.one(
            """SELECT 1 FROM agent_health a JOIN message m ON m.key = 'briefing/' || a.run
               JOIN event e ON e.project_id = a.project_id AND e.message_id = m.id
               WHERE a.project_id = ?1 AND a.role = ?2 AND m.state NOT IN ('queued', 'held', 'refused', 'expired')
               AND e.id > (SELECT max(id) FROM event WHERE project_id = ?1 AND kind = 'status' AND name = 'start')""",
            (project_id, role),
        ))  # fmt: skip

    def last_conversation(self, run: str | None) -> str | None:
        """The conversation that the last message to an agent of this launch was typed into."""
        row = self.one(
            """SELECT conversation_id FROM message WHERE run = ? AND conversation_id IS NOT NULL
               ORDER BY typed_at DESC LIMIT 1""",
            (run,),
        )
        return row["conversation_id"] if row else None

    def last_submitted(self, run: str | None) -> list[dict]:
        """The last messages that an agent of this launch took up, oldest first, without its briefing."""
        rows = self.all(
            """SELECT * FROM message WHERE run = ? AND state = 'submitted' AND key NOT GLOB 'briefing/*'
               ORDER BY typed_at DESC LIMIT 5""",
            (run,),
        )
        return rows[::-1]

    def typed_since(self, pane_id: str, at: float) -> int:
        """How many messages were typed into a pane since then."""
        row = self.one(
            "SELECT count(*) AS n FROM message WHERE pane_id = ? AND typed_at > ? AND typed_at <= ?", (pane_id, at, now())
        )
        return row["n"] if row else 0

    def typed_lately(self, pane_id: str, at: float, but: int) -> list[dict]:
        """The other messages that were typed into a pane since then, or that wait inside its agent."""
        return self.all(
            "SELECT * FROM message WHERE pane_id = ? AND id <> ? AND (typed_at > ? OR state = 'accepted')",
            (pane_id, but, at),
        )

    def unread(self, pane_id: str, run: str | None, moved_at: float) -> bool:
        """Whether a text was pasted into a pane and not submitted, and its agent has not moved since: it may not have
        read its keyboard."""
        row = self.one(
            "SELECT 1 FROM message WHERE pane_id = ? AND run IS ? AND state = 'typed' AND closed_at >= ? LIMIT 1",
            (pane_id, run, moved_at),
        )
        return bool(row)

    def typed_in(self, pane: dict) -> list[dict]:
        """Messages whose text may still stand in this pane's composer, the newest first: typed since its program was
        started, and since the last message that left the composer empty."""
        return self.all(
            """SELECT * FROM message WHERE pane_id = ?1 AND pane_pid = ?2 AND server = ?3
               AND state IN ('typing', 'typed', 'unknown', 'queued', 'held') AND typed_at > coalesce(
                   (SELECT max(typed_at) FROM message WHERE pane_id = ?1 AND state IN ('submitted', 'accepted')
                    AND typed_at <= ?4), 0)
               ORDER BY typed_at DESC LIMIT 20""",
            (pane["pane_id"], pane["pane_pid"], pane["server"], now()),
        )

    def taken_for_others(self, message: dict) -> set[int]:
        """Where in the transcript the same text was taken up for other messages, earlier and later ones."""
        rows = self.all(
            "SELECT taken_at FROM message WHERE transcript = ? AND text = ? AND id <> ? AND taken_at IS NOT NULL",
            (message["transcript"], message["text"], message["id"]),
        )
        return {row["taken_at"] for row in rows}

    # -- notifications

    def notifications(self) -> list[dict]:
        """The events that a person may still have to be told of, oldest first: event rows, each with its row of
        `notification`."""
        rows = self.all(
            """SELECT e.*, n.event_id, n.state, n.subject, n.attempts, n.attempted_at FROM notification n
               JOIN event e ON e.id = n.event_id WHERE n.state IN ('queued', 'sending') ORDER BY e.id"""
        )
        names = ("event_id", "state", "subject", "attempts", "attempted_at")
        found = []
        for row in rows:
            notification = {name: row.pop(name) for name in names}
            found.append({**row, "evidence": decode(row["evidence"]), "notification": notification})
        return found

    def set_notification(self, event_id: int, **values: object) -> bool:
        """Set columns of a notification that is still open; False when it is not any more."""
        changes = ", ".join(f"{column} = ?" for column in values)
        with self.transaction():
            return self.run(
                f"UPDATE notification SET {changes} WHERE event_id = ? AND state IN ('queued', 'sending')",
                [*values.values(), event_id],
            ) > 0  # fmt: skip

    def told(self, since: float) -> list[dict]:
        """The notifications for which the command was run since, the failed attempts among them."""
        return self.all("SELECT * FROM notification WHERE attempted_at > ? AND attempted_at <= ?", (since, now()))

    # -- holds, heartbeats, login checks

    def holds(self, at: float) -> list[dict]:
        """The holds in force."""
        return self.all(
            "SELECT * FROM hold WHERE released_at IS NULL AND (until_at IS NULL OR until_at > ?) ORDER BY id", (at,)
        )

    def all_holds(self) -> list[dict]:
        return self.all("SELECT * FROM hold ORDER BY id")

    def set_hold(
        self, name: str, cause: str, actor: str, why: str | None, until_at: float | None = None, **more: object
    ) -> bool:
        """Set a hold; False when one of that name is in force, which stays as it is."""
        at = now()
        with self.transaction():
            # One whose time is over is closed first: its end is its release.
            self.run(
                """UPDATE hold SET released_at = until_at, released_by = 'time' WHERE name = ?
                   AND released_at IS NULL AND until_at <= ?""",
                (name, at),
            )
            if self.one("SELECT id FROM hold WHERE name = ? AND released_at IS NULL", (name,)):
                return False
            values = {
                "name": name,
                "cause": cause,
                "actor": actor,
                "why": whole(why),
                "since_at": at,
                "until_at": until_at,
                **more,
            }
            self.insert("hold", values)
        return True

    def release_hold(self, actor: str, **which: object) -> bool:
        """Release the hold in force of this name, or this very one by its id."""
        return self.update("hold", {**which, "released_at": None}, {"released_at": now(), "released_by": actor})

    def beat(self, name: str, status: int | None = None, over: bool = False) -> None:
        """Note that a cron line's run begins, or is over, on this host."""
        if over:
            self.update("heartbeat", {"name": name, "host": host()}, {"finished_at": now(), "status": status})
            return
        with self.transaction():
            self.run(
                """INSERT INTO heartbeat (name, host, started_at) VALUES (?, ?, ?)
                   ON CONFLICT (name, host) DO UPDATE
                   SET started_at = excluded.started_at, finished_at = NULL, status = NULL""",
                (name, host(), now()),
            )

    def heartbeats(self) -> list[dict]:
        """The last run of each cron line, of every host."""
        return self.all("SELECT * FROM heartbeat ORDER BY name, host")

    def last_beat(self, name: str) -> float:
        """When a cron line last began on this host, 0 when it never did."""
        row = self.one("SELECT started_at FROM heartbeat WHERE name = ? AND host = ?", (name, host()))
        return row["started_at"] if row else 0.0

    def auth_check(self, agent: str, directory: str, since: float) -> dict | None:
        """The login check of an agent in a directory, if one was made since."""
        row = self.one(
            "SELECT result FROM auth_check WHERE agent = ? AND directory = ? AND host = ? AND checked_at BETWEEN ? AND ?",
            (agent, directory, host(), since, now()),
        )
        return decode(row["result"]) if row else None

    def save_auth_check(self, agent: str, directory: str, result: dict) -> None:
        with self.transaction():
            self.run(
                """INSERT INTO auth_check (agent, directory, host, checked_at, result) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (agent, directory, host) DO UPDATE
                   SET checked_at = excluded.checked_at, result = excluded.result""",
                (agent, directory, host(), result["checked_at"], json.dumps(result, ensure_ascii=False)),
            )


def now() -> float:
    """The clock, to the millisecond, as it is stored."""
    return round(time.time(), 3)


def whole(value: object) -> object:
    """A value with `?` for what is no UTF-8 (half a character of a name that was cut off): what we saw of others, never
    what has to be found again."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def encode(evidence: object) -> str | None:
    return None if evidence is None else json.dumps(evidence, ensure_ascii=False).encode("utf-8", "replace").decode()


def decode(text: str | None) -> dict | None:
    return None if text is None else json.loads(text)
