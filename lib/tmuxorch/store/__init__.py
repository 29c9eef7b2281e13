"""The database: the one module that knows SQLite and holds all SQL.

A writer takes its place in a queue (flock on a file beside the database) before BEGIN IMMEDIATE, since
SQLite's own busy handler lets late comers overtake and starves some writers. Readers open the file
read-only and never wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator

from .errors import Error, Later, Refused
from .waiting import locked

FREE = 64 << 20  # bytes: less free disk than that is reported
WAL = 64 << 20  # bytes: SQLite takes a WAL over at 4 MB, unless a reader is in the way
BUSY_S = 10.0  # how long a writer waits for its turn, and for writers that are not ours
RUNNING = ("initializing", "authenticating", "setting_up", "processing", "completing", "recovering")
LIVE = ("processing", "completing")  # every role should have its agent
TERMINAL = ("completed", "failed", "cancelled")
OPEN_MESSAGE = ("queued", "typing", "accepted", "held")
KPI = ("kpi_failure", "kpi_intervention", "kpi_project", "kpi_login", "kpi_fault", "kpi_message")  # views with an `at`
NO_NIGHT: dict = {"projects": [], "spans": [], "units": {name: [] for name in (*KPI, "agent_span")}, "holds": [],
                  "people": [], "heartbeats": [], "screens": {}}  # fmt: skip
CHUNK = 5000  # rows that are removed in one transaction
# What is past a time and belongs to no project that there is: never a message or a hold that is open.
LOOSE = {
    "message": """project_id IS NULL AND state NOT IN ('queued', 'typing', 'accepted', 'held')
                  AND coalesce(closed_at, created_at) < ?""",
    "event": "at < ? AND (project_id IS NULL OR project_id NOT IN (SELECT id FROM project_queue))",
    "hold": "released_at < ?",
    "auth_check": "checked_at < ?",
}
BY_TRIGGER = ("session_name", "started_at", "completed_at", "error_message", "claimed_by", "claimed_until")  # of a status
MOUNTS = "/proc/self/mounts"
# WAL and locks do not hold on these.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "lustre", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}


def host() -> str:
    return os.uname().nodename


def read(path: str) -> Store | None:
    """The database for a viewer, or None when there is none yet."""
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
    if version < newest():
        raise Later(f"database '{path}' awaits its migration; any command that writes does it")
    return store


def write(path: str) -> Store:
    """The database for a command that acts; made, and brought to the newest schema, when need be."""
    if (kind := file_system(path)) in NETWORK:
        raise Error(f"database '{path}' is on a network file system ({kind}), where SQLite's locks do not hold")
    with errors(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        store = Store(connect(path), path)
        if store.version() < newest():
            store.migrate()
    check_version(store.version(), path)
    return store


def uri(path: str, how: str) -> str:
    """A file's name as SQLite takes it with options."""
    return "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?" + how


def check_version(version: int, path: str) -> None:
    if version > newest():
        raise Error(f"database '{path}' is of a newer tmuxorch (schema {version}, this one knows {newest()})")


def connect(target: str, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(target, timeout=BUSY_S, isolation_level=None, uri=uri)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextlib.contextmanager
def errors(path: str) -> Iterator[None]:
    """SQLite's complaints in our words."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Refused(str(error)) from None
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise Later(f"database '{path}' is busy") from None
        raise Error(f"cannot use database '{path}': {text}") from None
    except OSError as error:
        raise Error(f"cannot use database '{path}': {error.strerror}") from None
    except UnicodeEncodeError as error:
        raise Error(f"the database holds no text that is not UTF-8: {error.object!r}") from None
    except OverflowError:
        raise Error("the database holds no number of that size") from None


def file_system(path: str) -> str:
    """The type of the file system that holds path, as the kernel names it; empty where it does not say."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return ""
    directory = os.path.realpath(os.path.dirname(path)) + "/"
    length, found = 0, ""
    for point, kind in mounts:  # the longest point that the path is below; of two at one point the later one
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point).rstrip("/") + "/"  # a blank is \040
        if directory.startswith(point) and len(point) >= length:
            length, found = len(point), kind
    return found


def migrations() -> list[str]:
    """The paths of sql/NNN-name.sql in order; the Nth brings the schema to version N."""
    here = os.path.dirname(os.path.realpath(__file__))
    inside = os.path.join(here, "sql")  # a wheel; a checkout and `make install` keep it beside lib/
    folder = inside if os.path.isdir(inside) else os.path.join(here, "..", "..", "sql")
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name[:3].isdigit())


def newest() -> int:
    return len(migrations())


def blueprint() -> list[tuple[str, str, str]]:
    """(type, name, sql) of everything in a database of the newest schema."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for path in migrations():
            Store(connection, ":memory:").script(path)
        return connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()


def queue(path: str) -> contextlib.AbstractContextManager:
    """The writers' turn at a database."""
    return locked(path + ".lock", BUSY_S, f"database '{path}' is busy")


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
                    self.script(path)
                    self.connection.execute(f"PRAGMA user_version = {number}")

    def script(self, path: str) -> None:
        """Run a file of statements inside the transaction (executescript would commit first)."""
        statement = ""
        with open(path, encoding="utf-8") as file:
            for line in file:
                statement += line
                if sqlite3.complete_statement(statement):
                    self.connection.execute(statement)
                    statement = ""

    def update(self, table: str, where: dict, values: dict) -> bool:
        """Compare-and-set: change the row that is still as `where` says; False when there is none."""
        changes = ", ".join(f"{column} = ?" for column in values)
        same = " AND ".join(f"{column} IS ?" for column in where)
        with self.transaction():
            return self.run(f"UPDATE {table} SET {changes} WHERE {same}", [*values.values(), *where.values()]) > 0

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
        values = {"at": now(), "kind": kind, "name": name, "actor": actor, **columns}
        values["evidence"] = None if evidence is None else json.dumps(evidence, ensure_ascii=False)
        return self.insert("event", values)

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
        values = {"actor": actor, "why": why, **columns}
        values["evidence"] = None if evidence is None else json.dumps(evidence, ensure_ascii=False)
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

    def call_person_to(self, project: dict, actor: str, why: str) -> None:
        """Call a person to a project as a whole, once while it stays in its status."""
        with self.transaction():
            if not self.one(
                """SELECT 1 FROM event WHERE project_id = ?1 AND kind = 'notice' AND role IS NULL AND id > (
                       SELECT max(id) FROM event WHERE project_id = ?1 AND kind = 'status')""",
                (project["id"],),
            ):
                self.note("notice", "needs_human", actor, project_id=project["id"], run=project["run"], why=why)

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
        rows = [[*values.values(), agent["id"], agent["run"]] for agent, values in looks]
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

    def count_nudges(self, project_id: int, role: str, attempts: int) -> int:
        """How many of an agent's last recoveries, so many, were nudges of it while it was idle."""
        row = self.one(
            """SELECT count(*) AS n FROM (
                   SELECT name, source FROM event
                   WHERE project_id = ? AND kind = 'recovery' AND role = ? AND source IS NOT NULL ORDER BY id DESC LIMIT ?)
               WHERE name = 'nudge' AND source = 'idle'""",
            (project_id, role, attempts),
        )
        return row["n"] if row else 0

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
        """Set a hold; False when one of that name is in force (a manual one may then get another end)."""
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
            values = {"name": name, "cause": cause, "actor": actor, "why": why, "since_at": at, "until_at": until_at, **more}
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

    # -- figures

    def units(self, since: float) -> dict[str, list[dict]]:
        """What each KPI counts, by view: all rows that are not over before `since`."""
        rows = {name: self.all(f"SELECT * FROM {name} WHERE coalesce(at, 1e12) >= ?", (since,)) for name in KPI}
        rows["agent_span"] = self.all("SELECT * FROM agent_span WHERE coalesce(until_at, 1e12) >= ?", (since,))
        return rows

    def night(self, since: float) -> dict:
        """What the report shows of a batch, but for what was over before `since` (`report.page`): the keys of NO_NIGHT."""
        return {
            "projects": self.projects(),
            "spans": self.all("SELECT * FROM project_span WHERE coalesce(until_at, 1e12) >= ?", (since,)),
            "units": self.units(since),
            "holds": self.all_holds(),
            "people": self.all(
                """SELECT a.role, a.state, p.name, p.session_name, e.at, e.why
                   FROM agent_health a JOIN project_queue p ON p.id = a.project_id AND p.status = 'processing'
                   LEFT JOIN event e ON e.id = (SELECT max(id) FROM event WHERE kind = 'notice'
                                                AND project_id = a.project_id AND role = a.role)
                   WHERE a.needs_human
                   UNION ALL
                   SELECT NULL, 'unknown', p.name, p.session_name, e.at, e.why FROM project_queue p
                   JOIN event e ON e.kind = 'notice' AND e.project_id = p.id AND e.role IS NULL AND e.run = p.run
                   WHERE p.status = 'processing'
                   ORDER BY p.name, a.role"""
            ),
            "heartbeats": self.all("SELECT * FROM heartbeat ORDER BY name, host"),
            "screens": {row["project_id"]: row["screen"] for row in self.all(
                """SELECT project_id, evidence ->> '$.screen' AS screen FROM event WHERE id IN
                   (SELECT max(e.id) FROM event e JOIN project_queue p ON p.id = e.project_id AND p.status = 'failed'
                    WHERE e.kind = 'end' GROUP BY e.project_id)"""
            )},
        }  # fmt: skip

    def samples(self) -> list[dict]:
        """The value of every counter and gauge: {name, labels, value}."""
        rows = self.all("SELECT * FROM metric_counter UNION ALL SELECT * FROM metric_gauge")
        return [{**row, "labels": decode(row["labels"])} for row in rows]

    def buckets(self) -> dict[str, list[str]]:
        """The upper bounds of each histogram's buckets, as its label `le` has them, in order."""
        bounds: dict[str, list[str]] = {}
        for row in self.all("SELECT name, label FROM metric_bucket ORDER BY name, le"):
            bounds.setdefault(row["name"], []).append(row["label"])
        return bounds

    # -- repair

    def suspects(self, sessions: Iterable[str], tagged: Iterable[int]) -> dict[str, list[dict]]:
        """The rows that may contradict the world. sessions: the names of those that live; tagged: the projects that
        panes carry the tag of. Failed projects without any sign of life or of completion are left out."""
        live, ids = json.dumps(list(sessions)), json.dumps(list(tagged))
        here = (host(),)
        return {
            "failed": self.all(
                """SELECT p.* FROM project_queue p WHERE status = 'failed' AND (
                       session_name IN (SELECT value FROM json_each(?1)) OR id IN (SELECT value FROM json_each(?2))
                       OR EXISTS (SELECT 1 FROM event e WHERE e.project_id = p.id AND e.kind = 'done')
                       OR EXISTS (SELECT 1 FROM imported i WHERE i.project_id = p.id AND i.evidence IS NOT NULL)
                   ) ORDER BY id""",
                (live, ids),
            ),
            "running": self.all(
                """SELECT * FROM project_queue WHERE status IN ('processing', 'completing', 'recovering')
                   AND coalesce(host, ?1) = ?1 ORDER BY id""",
                here,
            ),
            "queued": self.all("SELECT * FROM project_queue WHERE status = 'queued' AND session_name IS NOT NULL"),
            "ends": self.all(
                """SELECT * FROM project_queue
                   WHERE (completed_at IS NULL) = (status IN ('completed', 'failed', 'cancelled')) ORDER BY id"""
            ),
            "twins": self.all(
                """SELECT * FROM project_queue WHERE session_name IN (
                       SELECT session_name FROM project_queue WHERE session_name <> ''
                       GROUP BY session_name HAVING count(*) > 1) ORDER BY session_name, id"""
            ),
            "agents": self.all(
                """SELECT a.*, p.status, p.roles FROM agent_health a LEFT JOIN project_queue p ON p.id = a.project_id
                   WHERE a.host = ?1 AND (p.id IS NULL OR p.status IN ('queued', 'completed', 'failed', 'cancelled')
                       OR ',' || p.roles || ',' NOT LIKE '%,' || a.role || ',%') ORDER BY a.id""",
                here,
            ),
            "messages": self.all(
                """SELECT m.*, p.status FROM message m LEFT JOIN project_queue p ON p.id = m.project_id
                   WHERE m.state IN ('queued', 'held') ORDER BY m.id"""
            ),
            "holds": self.all("SELECT * FROM hold WHERE released_at IS NULL AND until_at <= ? ORDER BY id", (now(),)),
        }

    def failure(self, project_id: int) -> dict | None:
        """The event that a project failed by, or came into the database by as a failed one; an undone repair is none."""
        row = self.one(
            """SELECT * FROM event WHERE project_id = ? AND kind = 'status' AND dest = 'failed'
               AND NOT (actor = 'tmo-repair-db' AND why GLOB 'undo of *') ORDER BY id DESC LIMIT 1""",
            (project_id,),
        )
        return {**row, "evidence": decode(row["evidence"])} if row else None

    def neighbour(self, project_id: int) -> dict | None:
        """Another project that runs in the same directory."""
        return self.one(
            f"""SELECT o.* FROM project_queue o JOIN project_queue p ON p.id = ? AND o.project_path = p.project_path
                WHERE o.id <> p.id AND o.status IN ({", ".join("?" * len(RUNNING))})""",
            (project_id, *RUNNING),
        )

    def repair(self, change: dict, why: str, evidence: dict, backup: str) -> bool:
        """Carry out one change of a plan (`repair.finding`), whole or not at all, with its event. False when the row
        does not stand any more as it was looked at."""
        table, where = change["table"], {"id": change["id"], **change["expect"]}
        same = " AND ".join(f"{column} IS ?" for column in where)
        with self.transaction():
            before = self.one(f"SELECT * FROM {table} WHERE {same}", where.values())
            if not before or (change["alone"] and self.neighbour(change["id"])):
                return False
            if change["delete"]:
                self.run(f"DELETE FROM {table} WHERE id = ?", (change["id"],))
            self.put(table, change["id"], change["first"])
            self.walk(change["id"], change["events"], why)
            self.put(table, change["id"], change["values"])
            for agent in self.agents([change["id"]]) if change["agents"] else ():
                self.put("agent_health", agent["id"], change["agents"])
            after = self.row(table, change["id"])
            changed = {name: [value, after[name]] for name, value in before.items() if value != after[name]} if after else {}
            told = {"table": table, "id": change["id"], "columns": changed, "backup": os.path.basename(backup)}
            self.note("repair", change["name"], "tmo-repair-db", evidence | told, project_id=change["project_id"], why=why)
        return True

    def walk(self, project_id: int, events: Iterable[str], why: str) -> None:
        """Move a project by one event after the other inside the caller's transaction. Raises Refused when that is not
        legal from where it is."""
        for event in events:
            moved = self.run(
                """UPDATE project_queue SET actor = 'tmo-repair-db', why = ?1, status = (
                       SELECT dest FROM state_transition t WHERE t.event = ?2 AND t.source = status)
                   WHERE id = ?3 AND status IN (SELECT source FROM state_transition WHERE event = ?2)""",
                (why, event, project_id),
            )
            if not moved:
                raise Refused(f"project {project_id} could not be moved by '{event}'")

    def put(self, table: str, number: int, values: dict) -> None:
        if values:
            changes = ", ".join(f"{column} = ?" for column in values)
            self.run(f"UPDATE {table} SET {changes} WHERE id = ?", [*values.values(), number])

    def marks(self, project_id: int) -> list[str]:
        """What speaks for the completion of a project by the records that it was taken over from."""
        rows = self.all("SELECT evidence FROM imported WHERE project_id = ? AND evidence IS NOT NULL", (project_id,))
        return [word for row in rows for word in json.loads(row["evidence"])]

    def repairs(self, backup: str) -> list[dict]:
        """The repairs that were made after this backup and not undone yet, the last one first."""
        rows = self.all(
            """SELECT * FROM event r WHERE kind = 'repair' AND name <> 'undo' AND evidence ->> 'backup' = ?
               AND NOT EXISTS (SELECT 1 FROM event u WHERE u.kind = 'repair' AND u.name = 'undo'
                               AND u.evidence ->> 'event' = r.id) ORDER BY id DESC""",
            (os.path.basename(backup),),
        )
        return [{**row, "evidence": decode(row["evidence"])} for row in rows]

    def undo(self, event: dict, old: dict, path: list[str]) -> bool:
        """Undo one repair: its columns as they are in `old`, the row of the backup, the status by the events of `path`.
        False when the row changed since."""
        told = event["evidence"]
        table, number, columns = told["table"], told["id"], told["columns"]
        with self.transaction():
            row = self.row(table, number)
            if bool(row) != bool(columns) or any(row[name] != after for name, (_, after) in columns.items() if row):
                return False
            if row:
                self.walk(number, path, f"undo of the repair in event {event['id']}")
                values = {name: row[name] for name in BY_TRIGGER if path} | {name: old[name] for name in columns}
                self.put(table, number, {name: value for name, value in values.items() if name != "status"})
            else:
                self.insert(table, old)
            self.note("repair", "undo", "tmo-repair-db", {"event": event["id"]}, project_id=event["project_id"])
        return True

    def backup(self) -> str:
        """Copy the whole database into a new file beside it, and its path. It has its name only once it is whole."""
        path = f"{self.path}.backup-{time.strftime('%Y%m%dT%H%M%S')}"
        path = next(name for name in (path, *(f"{path}-{n}" for n in range(2, 10**6))) if not os.path.exists(name))
        part = f"{path}.part-{os.getpid()}"
        with errors(self.path):
            try:
                os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self.connection.execute("VACUUM INTO ?", (part,))
                with open(part, "rb") as file:
                    os.fsync(file.fileno())
                os.rename(part, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
        return path

    # -- what another system left

    def taken(self, keys: Iterable[str]) -> dict[str, dict]:
        """What was taken over before, of these records, by key."""
        rows = self.all("SELECT * FROM imported WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),))
        return {row["key"]: row for row in rows}

    def take_projects(self, records: list[dict]) -> list[int | None]:
        """Insert projects with the records that they came from, in one transaction; the number of each, None where
        another process took it meanwhile. A record: values (columns of project_queue), wanted (the number that it should
        keep, where it is free), paused, and the columns of `imported` below `record`."""
        with self.transaction():
            return [self.take_project(one) for one in records]

    def take_project(self, one: dict) -> int | None:
        if self.one("SELECT 1 FROM imported WHERE key = ?", (one["record"]["key"],)):
            return None
        values = dict(one["values"])
        if one["wanted"] and not self.row("project_queue", one["wanted"]):
            values["id"] = one["wanted"]
        number = self.insert("project_queue", values)
        self.insert("imported", {**one["record"], "project_id": number})
        name = f"project/{number}"
        if one["paused"] and not self.one("SELECT 1 FROM hold WHERE name = ? AND released_at IS NULL", (name,)):
            why = "it was paused in the database that it came from"
            self.insert("hold", {"name": name, "cause": "manual", "actor": "tmo-import", "why": why, "since_at": now()})
        return number

    def take_message(self, message: dict, record: dict) -> bool:
        """Queue a check-in or a message with the record that it came from; False when it was taken before."""
        with self.transaction():
            if self.one("SELECT 1 FROM imported WHERE key = ?", (record["key"],)):
                return False
            self.insert("message", message)
            self.insert("imported", record)
        return True

    def named(self, sessions: Iterable[str]) -> list[dict]:
        """The projects that were taken over and name one of these sessions, each with its `raw` record."""
        return self.all(
            """SELECT p.*, i.raw FROM project_queue p JOIN imported i ON i.project_id = p.id AND i.kind = 'project'
               WHERE p.session_name IN (SELECT value FROM json_each(?)) ORDER BY p.id""",
            (json.dumps(list(sessions)),),
        )

    # -- upkeep

    def check(self) -> list[dict]:
        """What is wrong with the file itself: {kind, reason} each."""
        found = [{"kind": "integrity", "reason": row["integrity_check"]} for row in self.all("PRAGMA integrity_check")]
        found = [row for row in found if row["reason"] != "ok"]
        for row in self.all("PRAGMA foreign_key_check"):
            found.append(
                {"kind": "foreign_key", "reason": f"row {row['rowid']} of {row['table']} refers to no {row['parent']}"}
            )
        there = {(row["type"], row["name"]) for row in self.all("SELECT type, name FROM sqlite_schema")}
        for kind, name, _ in blueprint():
            if (kind, name) not in there:
                found.append({"kind": "schema", "reason": f"the {kind} {name} is missing"})
        with contextlib.suppress(FileNotFoundError):
            if (size := os.stat(self.path + "-wal").st_size) > WAL:
                reason = f"the WAL holds {size >> 20} MiB: a reader that never ends keeps it from being taken over"
                found.append({"kind": "wal", "reason": reason})
        disk = os.statvfs(os.path.dirname(self.path))
        if disk.f_bavail * disk.f_frsize < max(FREE, 2 * os.stat(self.path).st_size):
            found.append({"kind": "space", "reason": f"only {disk.f_bavail * disk.f_frsize >> 20} MiB are free"})
        return found

    def newest_at(self) -> float | None:
        """The latest time of an event or a look at an agent, None before the first."""
        row = self.one(
            """SELECT max(coalesce((SELECT max(at) FROM event), 0),
                          coalesce((SELECT max(last_health_check_at) FROM agent_health), 0)) AS at"""
        )
        return row["at"] or None if row else None

    def old_projects(self, before: float) -> list[dict]:
        """Terminal projects that ended before, and that nothing waits for: how much they take, and their runs."""
        rows = self.all(
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

    def forget(self, project_id: int, completed_at: float) -> bool:
        """Remove a project that still stands as it was listed, with its messages and events."""
        with self.transaction():
            if not self.one("SELECT id FROM project_queue WHERE id = ? AND completed_at = ?", (project_id, completed_at)):
                return False
            self.keep_counts(self.counted(project_id))
            self.run("DELETE FROM project_queue WHERE id = ?", (project_id,))
            self.run("DELETE FROM event WHERE project_id = ?", (project_id,))
            self.run("UPDATE imported SET raw = '{}', evidence = NULL WHERE project_id = ?", (project_id,))
        self.event("prune", "prune", "tmo-prune", project_id=project_id)
        return True

    def loose(self, before: float) -> dict[str, int]:
        """How many rows of each table are past that time and of no project that there is."""
        counts = {
            table: self.one(f"SELECT count(*) AS n FROM {table} WHERE {old}", (before,)) for table, old in LOOSE.items()
        }
        return {table: row["n"] for table, row in counts.items() if row and row["n"]}

    def drop_loose(self, table: str, before: float) -> int:
        """Remove those of one table, some at a time: others write meanwhile. How many."""
        total, dropped = 0, -1
        some = f"SELECT rowid FROM {table} WHERE {LOOSE[table]} LIMIT {CHUNK}"
        while dropped:
            with self.transaction():
                counted = self.counted(None)
                dropped = self.run(f"DELETE FROM {table} WHERE rowid IN ({some})", (before,))
                left = {(name, labels): value for name, labels, value in self.counted(None)}
                self.keep_counts([(name, labels, value - left.get((name, labels), 0)) for name, labels, value in counted])
            total += dropped
        return total

    def counted(self, project_id: int | None) -> list[tuple]:
        """(name, labels, value) of each counter's share that is of a project, None: of no project."""
        rows = self.all(
            """SELECT name, labels, sum(value) AS value FROM metric_count WHERE project_id IS ? GROUP BY name, labels""",
            (project_id,),
        )
        return [(row["name"], row["labels"], row["value"]) for row in rows]

    def keep_counts(self, counts: list[tuple]) -> None:
        """Add (name, labels, value) to what removed rows had counted: no counter goes down."""
        with errors(self.path):
            self.connection.executemany(
                """INSERT INTO metric_kept VALUES (?, ?, ?) ON CONFLICT (name, labels)
                   DO UPDATE SET value = value + excluded.value""",
                [row for row in counts if row[2]],
            )

    def runs(self) -> set[str]:
        """The launches that agents, and what is known of projects, speak of."""
        rows = self.all(
            """SELECT run FROM agent_health WHERE run IS NOT NULL
               UNION SELECT run FROM event WHERE run IS NOT NULL AND project_id IN (SELECT id FROM project_queue)"""
        )
        return {row["run"] for row in rows}


def now() -> float:
    """The clock, to the millisecond, as it is stored."""
    return round(time.time(), 3)


def decode(text: str | None) -> dict | None:
    return None if text is None else json.loads(text)
