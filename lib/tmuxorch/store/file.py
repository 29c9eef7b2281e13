"""Database files: their names, their file system, their schema, and SQLite's complaints in our words."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator

from ..errors import Error, Later, Refused
from ..waiting import locked

BUSY_S = 10.0  # how long a writer waits for its turn, and for writers that are not ours
MOUNTS = "/proc/self/mounts"
# WAL and locks do not hold on these.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "lustre", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}


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
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    inside = os.path.join(here, "sql")  # a wheel; a checkout and `make install` keep it beside lib/
    folder = inside if os.path.isdir(inside) else os.path.join(here, "..", "..", "sql")
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name[:3].isdigit())


def script(connection: sqlite3.Connection, path: str) -> None:
    """Run a file of statements inside the transaction (executescript would commit first)."""
    statement = ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            statement += line
            if sqlite3.complete_statement(statement):
                connection.execute(statement)
                statement = ""


def newest() -> int:
    return len(migrations())


def blueprint() -> list[tuple[str, str, str]]:
    """(type, name, sql) of everything in a database of the newest schema."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for path in migrations():
            script(connection, path)
        return connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()


def queue(path: str) -> contextlib.AbstractContextManager:
    """The writers' turn at a database."""
    return locked(path + ".lock", BUSY_S, f"database '{path}' is busy")
