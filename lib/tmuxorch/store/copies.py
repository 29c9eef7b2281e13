"""Database files as such: copies of files that are not ours to write, and what can be read of a damaged one."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator

from ..errors import Error
from . import write
from .file import BUSY_S, blueprint, errors, queue, uri

SIDES = ("-wal", "-journal")  # what belongs to a database file and holds data
COMPANIONS = ("-wal", "-shm", "-journal")  # what has to go where the file goes
GAPS = 10000  # unreadable stretches of a table after which the rest is given up
PROBE = 64  # rowids: how far apart an unreadable stretch is probed, at most


@contextlib.contextmanager
def snapshot(path: str) -> Iterator[sqlite3.Connection]:
    """A whole, consistent, private copy of a database that somebody may be writing. Nothing is written to it or beside
    it. Raises Error for what is no database, or is damaged."""
    with tempfile.TemporaryDirectory(prefix="tmo-") as folder, errors(path):
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            raise Error(f"cannot read database '{path}': {error.strerror}") from None
        connection, complaints = first_whole(path, folder)
        if connection is None:
            raise Error(f"database '{path}' is damaged ({complaints[0]}): `tmo-repair-db --check '{path}'` recovers it")
        with contextlib.closing(connection):
            connection.text_factory = text
            yield connection


def first_whole(path: str, folder: str) -> tuple[sqlite3.Connection | None, list[str]]:
    """The first way of copying that gives a whole database: by SQLite while others use it; byte by byte with its
    companions (SQLite then finishes what a writer left); without them, where they are of another file."""
    complaints: list[str] = []
    for number, copy in enumerate((by_sqlite, with_companions, alone)):
        target = os.path.join(folder, f"{number}.db")
        try:
            copy(path, target)
            connection = sqlite3.connect(target, isolation_level=None)
            found = damage(connection)
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        if not found:
            return connection, []
        complaints += found
    return None, complaints


def by_sqlite(path: str, target: str) -> None:
    """SQLite's own backup. A database that nobody has open is read as it lies there: a reader that takes part in a WAL
    would make files beside it."""
    how = "mode=ro" if any(os.path.exists(path + side) for side in SIDES) else "mode=ro&immutable=1"
    source = sqlite3.connect(uri(path, how), uri=True, timeout=BUSY_S)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
        end = time.monotonic() + BUSY_S

        def patience(*_: int) -> None:
            if time.monotonic() > end:  # of itself it tries for ever
                raise sqlite3.OperationalError("it stays locked")

        source.backup(copy, progress=patience)


def with_companions(path: str, target: str) -> None:
    alone(path, target)
    for side in SIDES:
        for name in filter(None, (path, half_swapped(path))):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(name + side, target + side)
                if os.path.getsize(target + side):  # an empty one is a reader's
                    break


def alone(path: str, target: str) -> None:
    shutil.copyfile(path, target)


def damage(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a file, at most 100 complaints."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def check(path: str) -> list[dict]:
    """What is wrong with a database file that is not ours: {kind, reason} each."""
    with tempfile.TemporaryDirectory(prefix="tmo-") as folder, errors(path):
        _, complaints = first_whole(path, folder)
    if any("not a database" in reason for reason in complaints):
        raise Error(f"cannot use database '{path}': file is not a database")
    return [{"kind": "integrity", "reason": reason} for reason in dict.fromkeys(complaints)]


def unfinished(path: str) -> list[dict]:
    """What is wrong with a database file by what lies beside it: {kind, reason} each. It is gone, or its swap was killed in
    the midst, and what it held last is not read any more."""
    if os.path.exists(path):
        other = half_swapped(path)
        reason = f"a swap was killed before its end: what was written last may lie in '{other}-wal'"
        return [{"kind": "integrity", "reason": reason}] if other else []
    left = [f"{path}.recovered"] if os.path.exists(f"{path}.recovered") else asides(path)
    return [{"kind": "missing", "reason": f"'{path}' is gone, and '{left[-1]}' is there"}] if left else []


def half_swapped(path: str) -> str | None:
    """The other name of a damaged database, if it has both: its companions are of that name already."""
    return next((name for name in asides(path) if os.path.samefile(name, path)), None)


def asides(path: str) -> list[str]:
    """The damaged databases that were swapped for this one, the last one last."""
    return [name for name in sorted(glob.glob(glob.escape(path) + ".damaged-*")) if not name.endswith(COMPANIONS)]


# -- the records of an older system


class Old:
    """The tables of a snapshot, read by whatever columns they have, one record at a time."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection, self.path = connection, path

    def tables(self) -> list[str]:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' ORDER BY name"
        with errors(self.path):
            return [row[0] for row in self.connection.execute(query)]

    def count(self, table: str) -> int:
        with errors(self.path):
            return self.connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]

    def records(self, table: str) -> Iterator[tuple[int, dict]]:
        """(its number, the record by its columns' names in lower case), in order."""
        names = [name.lower() for name in columns(self.connection, table)]
        with errors(self.path):
            for number, *values in self.connection.execute(f"SELECT rowid, * FROM {quoted(table)} ORDER BY rowid"):
                yield number, dict(zip(names, values, strict=True))

    def group(self, places: Iterable[tuple[int, str | None, str | None, int]]) -> None:
        """Remember, in the snapshot itself, each record's session, spec (None: no duplicate by it) and rank."""
        with errors(self.path):
            self.connection.execute("CREATE TABLE tmo_place (id INTEGER PRIMARY KEY, session TEXT, spec TEXT, rank INTEGER)")
            self.connection.execute("BEGIN")
            self.connection.executemany("INSERT INTO tmo_place VALUES (?, ?, ?, ?)", places)
            self.connection.execute("CREATE INDEX tmo_place_session ON tmo_place (session, rank, id)")
            self.connection.execute("CREATE INDEX tmo_place_spec ON tmo_place (spec, rank, id)")
            self.connection.execute("COMMIT")

    def first_of(self, number: int) -> tuple[int | None, str]:
        """The record that this one is a duplicate of (None: it is the first of its session and of its spec), and by
        which of the two."""
        for column in ("session", "spec"):
            query = f"""SELECT o.id FROM tmo_place o JOIN tmo_place p ON p.id = ? AND o.{column} = p.{column}
                        ORDER BY o.rank DESC, o.id DESC LIMIT 1"""
            with errors(self.path):
                found = self.connection.execute(query, (number,)).fetchone()
            if found and found[0] != number:
                return found[0], column
        return None, ""


# -- recovery


def recover(path: str, anew: bool = False) -> tuple[str, list[dict]]:
    """Read what can be read of a damaged database into PATH.recovered: (its path, a finding each table). One that is
    there already and younger than what was last written stays, unless it is to be made anew. Raises Error when nothing can
    be read."""
    target = f"{path}.recovered"
    if not anew and os.path.exists(target) and os.stat(target).st_mtime >= last_written(path):
        return target, []
    with tempfile.TemporaryDirectory(prefix="tmo-") as folder, errors(path):
        copy, part = os.path.join(folder, "copy.db"), os.path.join(folder, "new.db")
        with_companions(path, copy)
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as old:
            tables = schema(old, path)
            ours = {"project_queue", "state_transition"} <= {name for _, name, _ in tables}
            with contextlib.closing(fresh(part, tables, ours)) as new:
                found = [move(old, new, name) for kind, name, _ in tables if kind == "table" and has(new, name)]
                later(new, tables, ours)
                if complaints := damage(new):
                    raise Error(f"database '{path}' cannot be recovered: {complaints[0]}")
                new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                new.execute("PRAGMA journal_mode = DELETE")
        place(part, target)
    return target, found


def last_written(path: str) -> float:
    """When a database was last written to: a commit goes to its companion, and leaves the file as it is."""
    times = [os.stat(path).st_mtime]
    for side in SIDES:
        with contextlib.suppress(FileNotFoundError):
            times.append(os.stat(path + side).st_mtime)
    return max(times)


def schema(old: sqlite3.Connection, path: str) -> list[tuple[str, str, str]]:
    """(type, name, sql) of all that a damaged database says it holds."""
    old.text_factory = lambda data: data.decode("utf-8", "replace")
    old.execute("PRAGMA writable_schema = ON")  # what cannot be understood of the schema does not stop the rest
    try:
        rows = old.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'")
        found = [(str(kind), str(name), str(sql)) for kind, name, sql in rows]
    except sqlite3.DatabaseError as error:
        raise Error(f"cannot use database '{path}': {error}; nothing of it can be read") from None
    if not any(kind == "table" for kind, _, _ in found):
        raise Error(f"cannot use database '{path}': no table of it can be read")
    return found


def fresh(path: str, tables: list[tuple[str, str, str]], ours: bool) -> sqlite3.Connection:
    """An empty database for what is recovered: of our newest schema, without its triggers (they would write events), or
    with the tables that the old one says it has."""
    if ours:
        connection = write(path).connection
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {quoted(name)}")
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection
    connection = sqlite3.connect(path, isolation_level=None)
    make(connection, [sql for kind, _, sql in tables if kind == "table"])
    return connection


def later(new: sqlite3.Connection, tables: list[tuple[str, str, str]], ours: bool) -> None:
    """What was kept back while rows were moved."""
    if ours:
        make(new, [sql for kind, _, sql in blueprint() if kind == "trigger"])
    else:
        make(new, [sql for kind, _, sql in tables if kind != "table"])


def make(connection: sqlite3.Connection, statements: list[str]) -> None:
    for sql in statements:
        with contextlib.suppress(sqlite3.Error):  # of a schema that is damaged itself
            connection.execute(sql)


def has(connection: sqlite3.Connection, name: str) -> bool:
    return bool(columns(connection, name)) and name != "state_transition"  # the machine comes with the schema


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})")]
    except sqlite3.DatabaseError:
        return []


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def move(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> dict:
    """Copy the readable rows of one table; what was moved and what was lost, by rowid."""
    names = [name for name in columns(old, table) if name in columns(new, table)]
    listed, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
    lost: list[list[int | None]] = []
    moved = 0
    new.execute("BEGIN")
    for rowid, *values in readable(old, table, listed, lost):
        try:
            new.execute(f"INSERT INTO {quoted(table)} ({listed}) VALUES ({marks})", values)
            moved += 1
        except sqlite3.Error:  # a value that no such row can have
            lost.append([rowid, rowid])
    new.execute("COMMIT")
    ranges = ", ".join(str(a) if a == b else f"{a} to {'the end' if b is None else b}" for a, b in lost[:20])
    reason = f"{moved} rows of {table} were recovered" + (f"; these rowids could not be read: {ranges}" if lost else "")
    return {"kind": "recovered", "table": table, "rows": moved, "lost": lost, "reason": reason}


def readable(old: sqlite3.Connection, table: str, listed: str, lost: list) -> Iterator[tuple]:
    """The rows of a damaged table in the order of their rowids; the stretches that cannot be read go into `lost`."""
    at, top = -(2**63), last_rowid(old, table)
    query = f"SELECT rowid, {listed or 'NULL'} FROM {quoted(table)} NOT INDEXED WHERE rowid >= ? ORDER BY rowid"
    while True:
        try:
            for row in old.execute(query, (at,)):
                if row[0] < at:
                    raise sqlite3.DatabaseError("a page that points back")  # this would never end
                yield row
                at = row[0] + 1
            return
        except (sqlite3.DatabaseError, OverflowError):
            start = max(at, 0)
            found = next_readable(old, table, start, top) if len(lost) < GAPS else None
            lost.append([start, None if found is None else found - 1])
            if found is None:
                return
            at = found


def last_rowid(old: sqlite3.Connection, table: str) -> int:
    for query, values in (
        (f"SELECT max(rowid) FROM {quoted(table)} NOT INDEXED", ()),
        ("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)),
    ):
        with contextlib.suppress(sqlite3.DatabaseError):
            found = old.execute(query, values).fetchone()
            if found and isinstance(found[0], int):
                return found[0]
    return 10**6


def next_readable(old: sqlite3.Connection, table: str, start: int, top: int) -> int | None:
    """The first rowid after `start` from which a damaged table can be read on, None when there is none."""
    step, low, high = 1, start, start + 1
    furthest = max(PROBE, (top - start) // 4096)
    while (found := probe(old, table, high)) is False:
        if high > top:
            return None
        low, step = high, min(step * 2, furthest)
        high += step
    while found is not None and high - low > 1:
        middle = (low + high) // 2
        if (nearer := probe(old, table, middle)) is False:
            low = middle
        else:
            high, found = middle, nearer
    return found


def probe(old: sqlite3.Connection, table: str, at: int) -> int | None | bool:
    """The rowid of the first row at or after one; None when there is none, False when that cannot be read."""
    query = f"SELECT rowid FROM {quoted(table)} NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1"
    try:
        row = old.execute(query, (at,)).fetchone()
    except (sqlite3.DatabaseError, OverflowError):
        return False
    return False if row and row[0] < at else row[0] if row else None


def place(part: str, target: str) -> None:
    """Put a finished file where it belongs: it has its name only once it is whole."""
    near = f"{target}.part-{os.getpid()}"
    try:
        with open(part, "rb") as source, open(os.open(near, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(near, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(near)


def renew(path: str) -> tuple[str, list[dict]]:
    """Put what can be read of a damaged database in its place: (where the damaged one is now, a finding each table). It is
    read while no writer has its turn, or what one writes meanwhile would be left out."""
    with errors(path), queue(path):
        recovered, found = recover(path, anew=True)
        return swap(path, recovered), found


def swap(path: str, recovered: str) -> str:
    """Put the recovered file in the damaged one's place; where the damaged one is now, with its companions. At each moment
    there is a database of this name: a writer would make an empty one."""
    aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    aside = next(name for name in (aside, *(f"{aside}-{n}" for n in range(2, 10**6))) if not os.path.exists(name))
    try:
        os.link(path, aside)
    except OSError:  # a file system that has no hard links
        place(path, aside)
    for side in COMPANIONS:  # before the new file is there: SQLite would take them for its own
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + side, aside + side)
    os.replace(recovered, path)
    return aside
