"""store on real files: the schema and its triggers typed into sqlite3 itself, and the module that knows them."""

import contextlib
import fcntl
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time

import pytest
from tmuxorch import store
from tmuxorch.errors import Error, Later, Refused
from tmuxorch.store import file, upkeep

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORK = multiprocessing.get_context("fork")
STATUSES = [
    "queued", "initializing", "authenticating", "setting_up", "processing", "completing", "completed", "failed",
    "recovering", "cancelled",
]  # fmt: skip
# The state machine as it is documented.
MACHINE = [
    ("start", ["queued"], "initializing"),
    ("auth_required", ["initializing"], "authenticating"),
    ("auth_complete", ["authenticating"], "setting_up"),
    ("setup_complete", ["initializing", "setting_up"], "processing"),
    ("work_complete", ["processing"], "completing"),
    ("finalize", ["completing"], "completed"),
    ("error", [status for status in STATUSES if status not in ("completed", "failed", "cancelled")], "failed"),
    ("recover", ["failed"], "recovering"),
    ("recovery_complete", ["recovering"], "processing"),
    ("retry_auth", ["authenticating"], "authenticating"),
    ("retry_setup", ["setting_up"], "setting_up"),
    ("rework", ["completing"], "processing"),
    ("reinstate", ["failed"], "completed"),
    ("requeue", ["failed", "completed", "cancelled", "authenticating", "initializing", "setting_up"], "queued"),
    ("cancel", [status for status in STATUSES if status not in ("completed", "cancelled")], "cancelled"),
]
EVENTS = {(source, dest): event for event, sources, dest in MACHINE for source in sources}
PAIRS = [(source, dest) for source in STATUSES for dest in STATUSES]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "state" / "task_queue.db")


@pytest.fixture
def db(path):
    with contextlib.closing(store.write(path).connection) as connection:
        yield store.Store(connection, path)


@pytest.fixture
def sql(db):
    """The file as a person opens it with sqlite3: none of our code in between."""
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def project(**changed):
    known = {"name": "p", "agent": "stub", "roles": "developer", "enqueued_at": 1.0, "project_path": "/p"}
    return {**known, **changed}


def insert(sql, table="project_queue", **values):
    columns = ", ".join(values)
    return sql.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    ).lastrowid


def status_of(sql, number=1):
    return sql.execute("SELECT status FROM project_queue WHERE id = ?", (number,)).fetchone()[0]


def events(sql, kind="status"):
    return [dict(row) for row in sql.execute("SELECT * FROM event WHERE kind = ? ORDER BY id", (kind,))]


# The state machine, typed into sqlite3


def test_state_transition_is_the_documented_list(sql):
    there = {(row["source"], row["dest"]): row["event"] for row in sql.execute("SELECT * FROM state_transition")}
    assert there == EVENTS


@pytest.mark.parametrize(("source", "dest"), PAIRS)
def test_every_status_change(source, dest, sql):
    insert(sql, **project(status=source, session_name="s"))
    before = events(sql)
    change = "UPDATE project_queue SET status = ?, actor = 'ann', why = 'because', evidence = '[1]' WHERE id = 1"
    if (source, dest) not in EVENTS and source != dest:
        for verb in ("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE", "UPDATE OR FAIL", "UPDATE OR ROLLBACK"):
            with pytest.raises(sqlite3.IntegrityError, match="status change is not in state_transition"):
                sql.execute(change.replace("UPDATE", verb, 1), (dest,))
            assert status_of(sql) == source
        assert events(sql) == before
        return
    sql.execute(change, (dest,))
    assert status_of(sql) == dest
    new = events(sql)[len(before) :]
    if (source, dest) not in EVENTS:  # setting the same status again is no change
        assert new == []
        return
    assert len(new) == 1
    told = {key: new[0][key] for key in ("name", "project_id", "actor", "source", "dest", "why", "evidence")}
    assert told == {
        "name": EVENTS[source, dest], "project_id": 1, "actor": "ann", "source": source, "dest": dest, "why": "because",
        "evidence": "[1]",
    }  # fmt: skip
    row = sql.execute("SELECT * FROM project_queue").fetchone()
    assert (row["actor"], row["why"], row["evidence"]) == (None, None, None)
    assert abs(row["status_at"] - time.time()) < 60


def test_a_change_that_names_nobody_was_made_in_sql(sql):
    insert(sql, **project())
    sql.execute("UPDATE project_queue SET status = 'cancelled'")
    assert [(event["name"], event["actor"]) for event in events(sql)] == [("enqueue", "sql"), ("cancel", "sql")]


def test_the_words_of_one_change_are_not_those_of_the_next(sql):
    insert(sql, **project(actor="ann", why="first"))
    sql.execute("UPDATE project_queue SET status = 'initializing', actor = 'bob', why = 'second'")
    sql.execute("UPDATE project_queue SET status = 'failed'")
    told = [(event["actor"], event["why"]) for event in events(sql)]
    assert told == [("ann", "first"), ("bob", "second"), ("sql", None)]


@pytest.mark.parametrize("status", [*STATUSES[:-1], "nonsense", "COMPLETED", "", None])
def test_many_rows_at_once_change_all_or_none(status, sql):
    insert(sql, **project(status="failed"))
    insert(sql, **project(status="cancelled"))
    legal = all((source, status) in EVENTS for source in ("failed", "cancelled"))
    with contextlib.nullcontext() if legal else pytest.raises(sqlite3.IntegrityError):
        sql.execute("UPDATE project_queue SET status = ?", (status,))
    assert [status_of(sql, 1), status_of(sql, 2)] == ([status, status] if legal else ["failed", "cancelled"])


ANOTHER = "INTO project_queue (id, name, agent, roles, enqueued_at, status) VALUES (1, 'x', 'a', 'r', 1, 'completed')"


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT OR REPLACE {ANOTHER}",
        f"REPLACE {ANOTHER}",
        f"INSERT OR IGNORE {ANOTHER}",
        f"INSERT {ANOTHER} ON CONFLICT (id) DO UPDATE SET status = 'completed'",
        "INSERT OR REPLACE INTO project_queue SELECT * FROM project_queue",
        "UPDATE project_queue SET id = 2",
        "UPDATE OR REPLACE project_queue SET id = 3 WHERE id = 1",
    ],
)
def test_no_other_statement_slips_past_the_machine(statement, sql):
    insert(sql, **project())
    insert(sql, **project(id=3))
    with pytest.raises(sqlite3.IntegrityError):
        sql.execute(statement)
    assert [tuple(row) for row in sql.execute("SELECT id, status, name FROM project_queue")] == [
        (1, "queued", "p"),
        (3, "queued", "p"),
    ]


def test_what_belongs_to_a_status_comes_and_goes_with_it(sql):
    def row():
        return dict(sql.execute("SELECT * FROM project_queue").fetchone())

    def move(status, **columns):
        values = {"status": status, **columns}
        sql.execute(f"UPDATE project_queue SET {', '.join(f'{c} = ?' for c in values)}", tuple(values.values()))
        return row()

    insert(sql, **project())
    assert move("initializing", session_name="s", claimed_by="me", claimed_until=9.0)["claimed_by"] == "me"
    processing = move("processing")
    assert processing["claimed_by"] is None
    assert abs(processing["started_at"] - time.time()) < 60
    failed = move("failed", why="it broke")
    assert (failed["error_message"], failed["session_name"]) == ("it broke", "s")
    assert abs(failed["completed_at"] - time.time()) < 60
    assert move("recovering")["completed_at"] is None
    again = move("processing")
    assert again["started_at"] == processing["started_at"]
    assert again["error_message"] is None
    move("failed")
    queued = move("queued")
    assert [queued[key] for key in ("started_at", "completed_at", "session_name", "error_message", "claimed_by")] == [
        None
    ] * 5


# CHECKs

EVENT = {"at": 1, "kind": "notice", "actor": "a"}
MESSAGE = {
    "key": "k", "target": "t", "text": "x", "actor": "a", "created_at": 1, "due_at": 1, "expires_at": 2,
    "next_attempt_at": 1,
}  # fmt: skip
HOLD = {"name": "all", "cause": "manual", "actor": "a", "since_at": 1}
HEALTH = {"project_id": 1, "role": "r", "agent": "a", "host": "h"}
AUTH = {"agent": "a", "directory": "/d", "host": "h", "checked_at": 1, "result": "{}"}


@pytest.mark.parametrize(
    ("table", "good", "bad"),
    [
        ("project_queue", project(), {"status": "done"}),
        ("project_queue", project(), {"status": "processing"}),  # without a session
        ("project_queue", project(), {"status": "completing", "session_name": ""}),
        ("project_queue", project(), {"name": ""}),
        ("project_queue", project(), {"name": None}),
        ("project_queue", project(), {"size": "huge"}),
        ("project_queue", project(), {"priority": "high"}),  # STRICT
        ("project_queue", project(), {"enqueued_at": "2025-01-01"}),
        ("event", EVENT, {"kind": "rumour"}),
        ("event", EVENT, {"actor": None}),
        ("event", EVENT, {"evidence": "{"}),
        ("agent_health", HEALTH, {"state": "fine"}),
        ("agent_health", HEALTH, {"confirmed": 2}),
        ("agent_health", HEALTH, {"is_stuck": -1}),
        ("agent_health", HEALTH, {"needs_human": 5}),
        ("agent_health", HEALTH, {"evidence": "x"}),
        ("agent_health", HEALTH, {"project_id": 99}),  # a foreign key
        ("message", MESSAGE, {"state": "sent"}),
        ("message", MESSAGE, {"project_id": 99}),
        ("hold", HOLD, {"name": "everything"}),
        ("hold", HOLD, {"name": "agent/"}),
        ("hold", HOLD, {"cause": "mood"}),
        ("auth_check", AUTH, {"result": "no json"}),
        ("heartbeat", {"name": "n", "host": "h", "started_at": 1}, {"started_at": None}),
    ],
)
def test_checks(table, good, bad, sql):
    sql.execute("PRAGMA foreign_keys = ON")
    insert(sql, **project())
    with pytest.raises(sqlite3.IntegrityError):
        insert(sql, table, **{**good, **bad})
    insert(sql, table, **good)


@pytest.mark.parametrize(
    ("table", "row"), [("agent_health", HEALTH), ("message", MESSAGE), ("hold", HOLD), ("auth_check", AUTH)]
)
def test_what_is_one_of_a_kind_is_not_there_twice(table, row, sql):
    insert(sql, **project())
    insert(sql, table, **row)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(sql, table, **row)


def test_a_released_hold_makes_room_for_the_next(sql):
    insert(sql, "hold", **HOLD)
    sql.execute("UPDATE hold SET released_at = 2, released_by = 'ann'")
    insert(sql, "hold", **HOLD)
    assert [(event["name"], event["actor"]) for event in events(sql, "hold")] == [
        ("hold", "a"),
        ("release", "ann"),
        ("hold", "a"),
    ]


def test_all_tables_are_strict_and_all_indexes_are_used_by_a_queue(sql):
    tables = {row["name"]: row["sql"] for row in sql.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")}
    ours = {name: text for name, text in tables.items() if not name.startswith("sqlite_")}
    assert set(ours) >= {
        "project_queue", "agent_health", "message", "event", "state_transition", "hold", "heartbeat",
    }  # fmt: skip
    assert all(text.rstrip().endswith("STRICT") for text in ours.values())
    plan = sql.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM project_queue WHERE status = 'queued' ORDER BY priority DESC, id"
    ).fetchall()
    assert "project_queue_due" in plan[0]["detail"]
    plan = sql.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM message "
        "WHERE state IN ('queued', 'typing', 'accepted', 'held') AND next_attempt_at < 9"
    ).fetchall()
    assert "message_open" in plan[0]["detail"]


# Event rows by trigger


def test_events_are_never_changed(sql):
    insert(sql, "event", **EVENT)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        sql.execute("UPDATE event SET why = 'otherwise'")


def test_every_change_of_a_message_leaves_one_event(sql):
    insert(sql, "message", **MESSAGE)
    sql.execute("UPDATE message SET attempts = 1")
    sql.execute("UPDATE message SET state = 'held', reason = 'a draft'")
    sql.execute("UPDATE message SET state = 'submitted', evidence = 'transcript', pane_id = '%1', reason = NULL")
    told = [(e["name"], e["source"], e["dest"], e["why"], e["evidence"], e["message_id"]) for e in events(sql, "message")]
    assert told == [
        ("queued", None, "queued", None, None, 1),
        ("held", "queued", "held", "a draft", None, 1),
        ("submitted", "held", "submitted", None, '["transcript"]', 1),
    ]


def test_every_change_of_a_state_leaves_one_event_with_its_evidence(sql):
    insert(sql, **project())
    insert(sql, "agent_health", **HEALTH)
    sql.execute("UPDATE agent_health SET state = 'idle', evidence = '[\"registry\"]'")
    sql.execute("UPDATE agent_health SET state = 'idle', is_stuck = 1")
    sql.execute("UPDATE agent_health SET state = 'idle', is_stuck = 0")
    sql.execute("UPDATE agent_health SET state = 'dialog', dialog = 'trust', detail = 'No, exit'")
    told = [(e["source"], e["dest"], e["why"], e["evidence"], e["role"]) for e in events(sql, "health")]
    assert told == [
        ("unknown", "idle", None, '["registry"]', "r"),
        ("idle", "idle", "stuck", '["registry"]', "r"),
        ("idle", "idle", "unstuck", '["registry"]', "r"),
        ("idle", "dialog", "trust", '["registry"]', "r"),
    ]


def test_history_outlives_its_project(sql):
    sql.execute("PRAGMA foreign_keys = ON")
    insert(sql, **project())
    insert(sql, "agent_health", **HEALTH)
    insert(sql, "message", **{**MESSAGE, "project_id": 1})
    sql.execute("DELETE FROM project_queue")
    assert [sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("agent_health", "message")] == [0, 0]
    assert events(sql)


# The file


def test_the_directory_and_every_file_are_private(path):
    old = os.umask(0)
    try:
        db = store.write(path)
        db.enqueue([project()])
        modes = {name: stat.S_IMODE(os.stat(os.path.join(db_dir, name)).st_mode) for db_dir in [os.path.dirname(path)]
                 for name in os.listdir(db_dir)}  # fmt: skip
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert modes == dict.fromkeys(["task_queue.db", "task_queue.db-wal", "task_queue.db-shm", "task_queue.db.lock"], 0o600)
    db.connection.close()


def test_the_pragmas(db):
    one = {
        name: db.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "foreign_keys", "user_version")
    }
    assert one == {"journal_mode": "wal", "foreign_keys": 1, "user_version": file.newest()}
    assert db.connection.execute("PRAGMA busy_timeout").fetchone()[0] > 0


def test_a_fresh_file_is_sound(db, monkeypatch):
    assert [row[0] for row in db.connection.execute("PRAGMA integrity_check")] == ["ok"]
    monkeypatch.setattr(upkeep, "FREE", 0)  # this machine's disk may be full
    assert upkeep.check(db) == []
    monkeypatch.setattr(upkeep, "FREE", 1 << 62)
    assert [finding["kind"] for finding in upkeep.check(db)] == ["space"]


def test_check_finds_what_is_broken(path, monkeypatch):
    monkeypatch.setattr(upkeep, "FREE", 0)
    with contextlib.closing(store.write(path).connection):
        pass
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        insert(raw, "message", **{**MESSAGE, "project_id": 99})
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, 'agent          TEXT NOT NULL', "
                    "'agent          TEXT NOT NULL CHECK (agent = 1)') WHERE name = 'project_queue'")  # fmt: skip
        raw.commit()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute("INSERT INTO project_queue (name, agent, roles, enqueued_at) VALUES ('p', 'x', 'r', 1)")
        raw.commit()
    db = store.write(path)
    assert {finding["kind"] for finding in upkeep.check(db)} == {"integrity", "foreign_key"}
    db.connection.close()


def test_schema_sql_is_the_dump_of_a_new_file():
    done = subprocess.run(
        [sys.executable, f"{ROOT}/dev/schema.py"], capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    with open(f"{ROOT}/sql/schema.sql", encoding="utf-8") as file:
        assert file.read() == done.stdout, "run `make schema`"


def test_schema_sql_makes_the_same_tables_by_itself(sql):
    with open(f"{ROOT}/sql/schema.sql", encoding="utf-8") as file, contextlib.closing(sqlite3.connect(":memory:")) as other:
        other.executescript(file.read())
        names = "SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
        assert other.execute(names).fetchall() == [tuple(row) for row in sql.execute(names)]


# Migrations


@pytest.fixture
def migrations(tmp_path, monkeypatch):
    """A folder of migrations of our own, the real ones in it."""
    folder = tmp_path / "sql"
    folder.mkdir()
    for name in file.migrations():
        shutil.copy(name, folder)
    for module in (store, file):
        monkeypatch.setattr(module, "migrations", lambda: sorted(map(str, folder.glob("[0-9][0-9][0-9]*"))))
    return folder


def test_the_migrations_are_numbered_without_a_gap():
    names = [os.path.basename(name) for name in file.migrations()]
    assert [name[:4] for name in names] == [f"{number:03d}-" for number in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{3}-[a-z-]+\.sql", name) for name in names)


def test_an_old_file_gets_what_it_lacks_and_keeps_its_rows(migrations, path):
    old = store.write(path)
    old.enqueue([project(name="kept")])
    version = old.version()
    old.connection.close()
    (migrations / "099-colour.sql").write_text(
        "ALTER TABLE project_queue ADD COLUMN colour TEXT;\n"
        "-- a comment; with a semicolon\nUPDATE project_queue SET colour = 'a;b';\n"
        "CREATE TRIGGER t AFTER INSERT ON hold BEGIN\n    SELECT 1;\n    SELECT 2;\nEND;\n"
    )
    with pytest.raises(Later, match="awaits its migration"):
        store.read(path)
    new = store.write(path)
    assert new.version() == version + 1
    assert [(row["name"], row["colour"]) for row in new.projects()] == [("kept", "a;b")]
    assert store.read(path).projects()[0]["colour"] == "a;b"
    new.connection.close()


def test_a_migration_that_fails_changes_nothing(migrations, path):
    old = store.write(path)
    before = old.version()
    old.connection.close()
    (migrations / "099-broken.sql").write_text("CREATE TABLE half (x);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(Error, match="cannot use database"):
        store.write(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone()[0] == before
        assert raw.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone()[0] == 0


def test_a_newer_schema_is_refused_by_all(path):
    store.write(path).connection.close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {file.newest() + 1}")
    for opener in (store.read, store.write):
        with pytest.raises(Error, match="is of a newer tmuxorch") as raised:
            opener(path)
        assert raised.value.status == 2


# Opening


def test_a_reader_finds_no_database_and_makes_none(path):
    assert store.read(path) is None
    assert not os.path.exists(os.path.dirname(path))


def test_a_reader_cannot_write(db):
    db.enqueue([project()])
    reader = store.read(db.path)
    assert len(reader.projects()) == 1
    for statement in ("DELETE FROM project_queue", "INSERT INTO event (at, kind, actor) VALUES (1, 'notice', 'x')"):
        with pytest.raises(Error, match="readonly"):
            reader.run(statement)
    reader.connection.close()


@pytest.mark.parametrize(
    "name", ["a b.db", "a?b.db", "a#b.db", "a%20b.db", "a'b.db", "日本.db", "-x.db", ":memory:", "file:x"]
)
def test_odd_names_are_only_names(name, tmp_path):
    path = str(tmp_path / "d" / name)
    writer = store.write(path)
    writer.enqueue([project()])
    assert os.path.exists(path)
    reader = store.read(path)
    assert len(reader.projects()) == 1
    for one in (reader, writer):
        one.connection.close()
    assert {entry.split(name)[0] for entry in os.listdir(tmp_path / "d")} == {""}


@pytest.mark.parametrize(
    "content", [b"this is no database, and long enough to be looked at\n" * 100, b"SQLite format 3\0" + b"\xff" * 2000]
)
@pytest.mark.parametrize("opener", [store.read, store.write])
def test_what_is_no_database_is_one_clear_error(content, opener, tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(Error) as raised:
        opener(str(path))
    assert raised.value.status == 2
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("opener", [store.read, store.write])
def test_a_directory_is_no_database(opener, tmp_path):
    with pytest.raises(Error, match="cannot use database"):
        opener(str(tmp_path))


def test_a_file_where_the_directory_should_be_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match="cannot use database"):
        store.write(str(tmp_path / "file" / "x.db"))


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"")
    with contextlib.closing(store.write(str(path)).connection) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == file.newest()


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("/dev/sda / ext4 rw 0 0\n", "ext4"),
        ("/dev/sda / ext4 rw 0 0\nsrv:/x {tmp} nfs4 rw 0 0\n", "nfs4"),
        ("srv:/x {tmp} nfs4 rw 0 0\n/dev/sda / ext4 rw 0 0\n", "nfs4"),  # the longest, not the last
        ("auto {tmp} autofs rw 0 0\nsrv:/x {tmp} cifs rw 0 0\n", "cifs"),  # of two at one place the later
        ("srv:/x {tmp} nfs rw 0 0\n/dev/sda {tmp} ext4 rw 0 0\n", "ext4"),
        ("srv:/x {tmp}x nfs rw 0 0\n/dev/sda / xfs rw 0 0\n", "xfs"),  # a name that only begins alike
        ("srv:/x {tmp}/a\\040b nfs rw 0 0\n/dev/sda / ext4 rw 0 0\n", "nfs"),  # a blank
        ("", ""),
    ],
)
def test_the_file_system_below_a_database(mounts, kind, tmp_path, monkeypatch):
    faked = tmp_path / "mounts"
    faked.write_text(mounts.replace("{tmp}", str(tmp_path)))
    monkeypatch.setattr(file, "MOUNTS", str(faked))
    path = str(tmp_path / "a b" / "x.db")
    assert file.file_system(path) == kind
    if kind.startswith(("nfs", "cifs")):
        with pytest.raises(Error, match="network file system") as raised:
            store.write(path)
        assert raised.value.status == 2
        assert not os.path.exists(os.path.dirname(path))
    else:
        store.write(path).connection.close()


def test_where_the_kernel_does_not_say_the_file_system_is_trusted(path, monkeypatch):
    monkeypatch.setattr(file, "MOUNTS", "/no/such/file")
    store.write(path).connection.close()


# Busy


def test_a_queue_of_writers_that_does_not_move_is_later(db, monkeypatch):
    monkeypatch.setattr(file, "BUSY_S", 0.2)
    other = os.open(db.path + ".lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(Later, match="is busy") as raised:
        db.enqueue([project()])
    assert raised.value.status == 75
    os.close(other)
    assert len(db.enqueue([project()])[0]) == 1


def test_a_writer_that_is_not_ours_is_later_too(path, monkeypatch):
    store.write(path).connection.close()
    monkeypatch.setattr(file, "BUSY_S", 0.2)
    db = store.write(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Later, match="is busy"):
            db.enqueue([project()])
        assert store.read(path).projects() == []  # readers never wait
        other.execute("ROLLBACK")
    assert len(db.enqueue([project()])[0]) == 1
    db.connection.close()


def test_a_refused_row_leaves_nothing_of_its_transaction(db):
    with pytest.raises(Refused, match="CHECK"):
        db.enqueue([project(name="one"), project(name="")])
    assert db.projects() == []
    assert db.events() == []
    assert len(db.enqueue([project()])[0]) == 1


@pytest.mark.parametrize("value", ["\udcff", 1 << 80])
def test_what_a_database_cannot_hold_is_one_clear_error(value, db):
    with pytest.raises(Error) as raised:
        db.enqueue([project(priority=value) if isinstance(value, int) else project(name=value)])
    assert raised.value.status == 2
    assert db.projects() == []


# What the module offers


def test_enqueue_prints_rows_with_their_project_id(db):
    rows, _ = db.enqueue([project(name="a"), project(name="b")])
    assert [(row["project_id"], row["id"], row["name"], row["status"]) for row in rows] == [
        (1, 1, "a", "queued"),
        (2, 2, "b", "queued"),
    ]
    assert db.enqueue([]) == ([], [])
    assert [row["id"] for row in db.projects(status=["queued"])] == [1, 2]
    assert [row["id"] for row in db.projects([2, 9])] == [2]
    assert db.projects(status=["failed"]) == []
    assert db.project(9) is None


def test_an_id_is_never_given_twice(db):
    db.enqueue([project()])
    with db.transaction():
        db.run("DELETE FROM project_queue")
    assert db.enqueue([project()])[0][0]["id"] == 2


def test_update_is_a_compare_and_set(db):
    db.enqueue([project(priority=1)])
    assert db.update("project_queue", {"id": 1, "priority": 1, "claimed_by": None}, {"priority": 2, "claimed_by": "me"})
    assert not db.update("project_queue", {"id": 1, "priority": 1}, {"priority": 3})
    assert not db.update("project_queue", {"id": 1, "claimed_by": None}, {"priority": 3})
    assert (db.project(1)["priority"], db.project(1)["claimed_by"]) == (2, "me")


@pytest.mark.parametrize("event", sorted({event for event, _, _ in MACHINE}))
def test_move_follows_the_machine(event, db):
    sources, dest = next((sources, dest) for name, sources, dest in MACHINE if name == event)
    for number, status in enumerate(STATUSES, 1):
        db.enqueue([project(status=status, session_name="s")])
        legal = status in sources
        moved = db.move(number, event, "ann", "because", {"proof": [1]}, priority=5)
        assert moved is legal, status
        row = db.project(number)
        assert (row["status"], row["priority"]) == ((dest, 5) if legal else (status, 0))
        if legal:
            told = db.events(number)[-1]
            assert (told["name"], told["actor"], told["why"], told["evidence"]) == (event, "ann", "because", {"proof": [1]})


def test_what_is_to_recover_does_not_fail_again_by_the_attempts_that_it_has_used(db):
    db.enqueue([project(status="failed", session_name="s", rework_count=3)])
    db.save_agent(1, "developer", {"agent": "stub", "needs_human": 1, "recovery_attempts": 5, "next_recovery_at": 9e9})
    assert db.move(1, "recover", "ann")
    agent = db.agent(1, "developer")
    assert [agent[key] for key in ("needs_human", "recovery_attempts", "next_recovery_at")] == [0, 0, None]
    assert db.project(1)["rework_count"] == 0


def test_move_is_a_compare_and_set_too(db):
    db.enqueue([project()])
    assert not db.move(1, "start", "ann", where={"claimed_by": "bob"})
    assert db.project(1)["status"] == "queued"
    assert db.move(1, "start", "ann", where={"claimed_by": None}, claimed_by="ann")
    assert not db.move(1, "start", "bob")
    assert not db.move(99, "start", "bob")
    with pytest.raises(Refused, match="CHECK"):  # no session
        db.move(1, "setup_complete", "ann")
    assert db.project(1)["status"] == "initializing"


def test_transitions_are_the_same_list(db):
    assert {(row["source"], row["dest"]): row["event"] for row in db.transitions()} == EVENTS


def test_events_are_filtered_and_ordered(db):
    db.enqueue([project(), project()])
    first = db.event("notice", "one", "ann", {"a": "日本"}, project_id=1, role="developer", why="x")
    db.event("done", "done", "ann", project_id=2)
    assert (first["kind"], first["name"], first["evidence"], first["role"]) == ("notice", "one", {"a": "日本"}, "developer")
    assert [row["name"] for row in db.events()] == ["enqueue", "enqueue", "one", "done"]
    assert [row["name"] for row in db.events(1)] == ["enqueue", "one"]
    assert [row["name"] for row in db.events(kind="done")] == ["done"]
    assert [row["name"] for row in db.events(after=first["id"])] == ["done"]
    assert db.events(since=time.time() + 60) == []
    assert [row["name"] for row in db.events(limit=1)] == ["enqueue"]
    with pytest.raises(Refused, match="CHECK"):
        db.event("rumour", "x", "ann")


def test_what_failed_is_counted_among_the_last_attempts(db):
    db.enqueue([project()])
    for name, dest in (
        ("relaunch", "failed"), ("relaunch", "done"), ("submit", "done"), ("submit", "failed"), ("compact", "done"),
        ("compact", "failed"), ("nudge", "done"),
    ):  # fmt: skip
        db.event("recovery", name, "tmo-recover", project_id=1, role="developer", source="shell", dest=dest)
    assert db.count_failures(1, "developer", 7) == {"relaunch": 1, "submit": 1, "compact": 2}
    assert db.count_failures(1, "developer", 6) == {"submit": 1, "compact": 2}
    assert db.count_failures(1, "developer", 0) == {}
    assert db.count_failures(1, "tester", 7) == {}


def test_a_person_is_called_once_with_one_notice(db):
    db.enqueue([project()])
    db.save_agent(1, "developer", {"agent": "stub", "run": "r1", "state": "idle"})
    agent = db.agent(1, "developer")
    assert db.call_person(agent, "tmo-recover", source="idle", dest="nudge", why="in vain")
    assert not db.call_person(agent, "tmo-recover", source="idle", dest="nudge", why="in vain")
    assert db.agent(1, "developer")["needs_human"] == 1
    assert [(e["role"], e["dest"]) for e in db.events(kind="notice")] == [("developer", "nudge")]
    db.update("agent_health", {"id": agent["id"]}, {"needs_human": 0})
    with pytest.raises(Error):
        db.call_person(agent, "tmo-recover", nonsense=1)  # what fails in between leaves nothing
    assert db.agent(1, "developer")["needs_human"] == 0


def test_what_may_stand_in_a_composer_was_typed_into_this_program_since_it_was_empty(db):
    pane = {"pane_id": "%1", "pane_pid": 10, "server": "s"}

    def typed(key, at, state="typed", **changed):
        times = dict.fromkeys(("created_at", "due_at", "next_attempt_at", "expires_at", "typed_at"), at)
        db.add_message({"key": key, "target": "%1", "text": "x", "actor": "a", "state": state, **times, **pane, **changed})

    typed("old", 1.0)
    typed("taken", 2.0, "submitted")
    typed("ours", 3.0)
    typed("newer", 4.0, "unknown")
    typed("another program", 5.0, pane_pid=11)
    typed("another server", 5.0, server="t")
    assert [message["key"] for message in db.typed_in(pane)] == ["newer", "ours"]
    typed("queued inside", 6.0, "accepted")
    assert db.typed_in(pane) == []


def test_an_agent_has_one_current_row(db):
    db.enqueue([project(), project()])
    db.save_agent(1, "developer", {"agent": "stub", "run": "r1", "state": "starting"})
    db.save_agent(1, "developer", {"agent": "stub", "run": "r2"})
    db.save_agent(2, "tester", {"agent": "stub"})
    row = db.agent(1, "developer")
    assert (row["run"], row["state"], row["host"]) == ("r2", "starting", store.host())
    assert [(one["project_id"], one["role"]) for one in db.agents()] == [(1, "developer"), (2, "tester")]
    assert [one["role"] for one in db.agents([2])] == ["tester"]
    assert db.agent(1, "tester") is None
    db.save_looks([(row, {"state": "idle", "is_stuck": 1})])
    assert (db.agent(1, "developer")["state"], db.agent(1, "developer")["is_stuck"]) == ("idle", 1)


def test_of_two_that_saw_the_same_launch_one_launches_anew(db):
    db.enqueue([project()])
    db.save_agent(1, "developer", {"agent": "stub", "run": "r1"})
    assert db.relaunch_agent(1, "developer", "r1", {"run": "r2"})
    assert not db.relaunch_agent(1, "developer", "r1", {"run": "r3"})
    assert db.agent(1, "developer")["run"] == "r2"
    assert not db.launched(1, "r2")
    db.event("launch", "recovery", "tmo-recover", project_id=1, role="developer", run="r2")
    assert db.launched(1, "r2")


def test_done_counts_since_the_project_was_last_given_work(db):
    db.enqueue([project()])
    db.event("done", "done", "1/developer", project_id=1, role="developer")
    assert db.done(1, "developer")
    for event, more in (("start", {}), ("setup_complete", {"session_name": "s"})):
        db.move(1, event, "x", **more)
    assert db.done(1, "developer") is None
    db.event("done", "done", "1/developer", project_id=1, role="developer", why="this time")
    assert db.done(1, "developer")["why"] == "this time"
    assert db.done(1, "tester") is None
    db.move(1, "work_complete", "x")
    assert db.done(1, "developer")
    db.move(1, "rework", "x")
    assert db.done(1, "developer") is None


def test_a_clock_that_was_set_back_hides_no_word(db, monkeypatch):
    db.enqueue([project()])
    db.move(1, "start", "x")
    monkeypatch.setattr(store.time, "time", lambda: 1000.0)
    db.event("done", "done", "1/developer", project_id=1, role="developer")
    assert db.done(1, "developer")


def test_a_word_answers_a_message_by_their_order_and_not_by_the_clock(db, monkeypatch):
    db.enqueue([project()])
    for event, more in (("start", {}), ("setup_complete", {"session_name": "s"})):
        db.move(1, event, "x", **more)
    word = {"project_id": 1, "role": "developer"}
    db.event("done", "done", "1/developer", **word)
    db.add_message({**MESSAGE, **word, "key": "tidy/1", "pane_id": "%1"})
    assert not db.answered(1, "tidy/1")  # it waits
    for state in ("typing", "submitted"):
        db.update("message", {"key": "tidy/1"}, {"state": state, "typed_at": store.now()})
    assert not db.answered(1, "tidy/1")
    assert db.roles_done() == set()
    monkeypatch.setattr(store.time, "time", lambda: 1000.0)
    db.event("done", "done", "1/developer", **word)
    assert db.answered(1, "tidy/1")
    assert db.roles_done() == {(1, "developer")}


def test_launches_by_a_clock_that_was_set_back_since_do_not_count(db, monkeypatch):
    db.enqueue([project()])
    for at in (5000.0, 1000.0, 900.0, 10.0):
        monkeypatch.setattr(store.time, "time", lambda at=at: at)
        db.event("launch", "recovery", "tmo-recover", project_id=1, role="developer", run=str(at))
    monkeypatch.setattr(store.time, "time", lambda: 1100.0)
    assert db.count_launches(1, "developer", "tmo-recover", 800.0) == 2


def test_a_message_is_there_once_a_key(db):
    assert db.add_message(MESSAGE)
    assert not db.add_message({**MESSAGE, "text": "another"})
    assert db.message("k")["text"] == "x"
    assert db.message("none") is None
    assert [row["key"] for row in db.messages(store.OPEN_MESSAGE)] == ["k"]
    assert db.messages(["submitted"]) == []


def test_what_was_taken_for_the_same_text_of_another_does_not_count_again(db):
    for number, (text, taken) in enumerate([("same", 10), ("same", 30), ("other", 50), ("same", None)]):
        db.add_message({**MESSAGE, "key": str(number), "text": text, "transcript": "/t", "taken_at": taken})
    assert db.taken_for_others(db.message("3")) == {10, 30}
    assert db.taken_for_others(db.message("1")) == {10}
    assert db.taken_for_others(db.message("2")) == set()


def test_holds(db):
    assert db.set_hold("agent/stub", "login", "ann", "no login")
    assert not db.set_hold("agent/stub", "manual", "bob", "twice")
    past = store.now() - 5
    assert db.set_hold("all", "manual", "ann", None, until_at=past)
    assert [hold["name"] for hold in db.holds(store.now())] == ["agent/stub"]  # past its end it no longer counts
    assert db.set_hold("all", "manual", "ann", "again")
    assert [hold["released_at"] for hold in db.all_holds() if hold["name"] == "all"] == [past, None]
    assert db.release_hold("ann", name="all")
    assert not db.release_hold("ann", name="all")
    assert [hold["name"] for hold in db.holds(store.now())] == ["agent/stub"]


def test_heartbeats_and_login_checks(db):
    db.beat("watch")
    db.beat("watch", 75, over=True)
    row = db.one("SELECT * FROM heartbeat")
    assert (row["name"], row["host"], row["status"]) == ("watch", store.host(), 75)
    assert row["finished_at"] >= row["started_at"]
    db.beat("watch")
    assert db.one("SELECT * FROM heartbeat")["finished_at"] is None
    db.save_auth_check("stub", "/d", {"checked_at": 100.0, "ok": True})
    db.save_auth_check("stub", "/d", {"checked_at": 200.0, "ok": False})
    assert db.auth_check("stub", "/d", 150.0) == {"checked_at": 200.0, "ok": False}
    assert db.auth_check("stub", "/d", 201.0) is None
    assert db.auth_check("stub", "/other", 0.0) is None


def test_only_what_ended_long_ago_and_nothing_waits_for_is_old(db):
    db.enqueue([project(), project(), project(depends_on="1,2"), project()])
    for number in (1, 2, 4):
        db.move(number, "cancel", "x")
    assert [row["project_id"] for row in upkeep.old_projects(db, time.time() + 60)] == [4]
    assert upkeep.old_projects(db, time.time() - 60) == []
    db.move(3, "cancel", "x")
    old = upkeep.old_projects(db, time.time() + 60)
    assert [row["project_id"] for row in old] == [1, 2, 3, 4]
    assert not upkeep.forget(db, 4, 1.0)  # it no longer stands as it was listed
    assert upkeep.forget(db, 4, old[3]["completed_at"])
    assert db.project(4) is None
    assert [event["kind"] for event in db.events(4)] == ["prune"]


# Many processes


def all_of(processes):
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    try:
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()


def open_and_enqueue(path, barrier, number):
    barrier.wait(60)
    db = store.write(path)
    assert db.version() == file.newest()
    assert db.enqueue([project(name=f"p{number}")])[0][0]["name"] == f"p{number}"


def test_32_processes_open_a_new_file_at_once(path):
    barrier = FORK.Barrier(32)
    all_of([FORK.Process(target=open_and_enqueue, args=(path, barrier, number)) for number in range(32)])
    db = store.read(path)
    assert sorted(row["name"] for row in db.projects()) == sorted(f"p{number}" for number in range(32))
    assert [row[0] for row in db.connection.execute("PRAGMA integrity_check")] == ["ok"]
    assert len(db.transitions()) == len(EVENTS)
    assert len(db.events()) == 32
    db.connection.close()


def claim_all(path, barrier, name, results):
    barrier.wait(60)
    db, taken = store.write(path), []

    def first(queued, running, holds, completed):
        return queued[0] if queued else None

    while row := db.claim(first, name, store.now() + 60):
        assert (row["status"], row["claimed_by"]) == ("initializing", name)
        taken.append(row["id"])
    results.put((name, taken))


def test_no_project_is_claimed_twice_or_missed(db):
    db.enqueue([project(name=str(number), project_path=f"/{number}") for number in range(60)])
    barrier, results = FORK.Barrier(4), FORK.SimpleQueue()
    all_of([FORK.Process(target=claim_all, args=(db.path, barrier, f"c{n}", results)) for n in range(4)])
    taken = dict(results.get() for _ in range(4))
    assert sorted(number for numbers in taken.values() for number in numbers) == list(range(1, 61))
    assert all({row["claimed_by"] for row in db.projects(numbers)} <= {name} for name, numbers in taken.items())
    starts = [event["project_id"] for event in db.events(kind="status") if event["name"] == "start"]
    assert sorted(starts) == list(range(1, 61))


def claim_within(path, barrier, results):
    barrier.wait(60)
    db, count = store.write(path), 0

    def below_limit(queued, running, holds, completed):
        return queued[0] if queued and len(running) < 3 else None

    while db.claim(below_limit, "x", store.now() + 60):
        count += 1
    results.put(count)


def test_no_limit_is_passed_by_claiming_at_once(db):
    db.enqueue([project(name=str(number)) for number in range(20)])
    barrier, results = FORK.Barrier(4), FORK.SimpleQueue()
    all_of([FORK.Process(target=claim_within, args=(db.path, barrier, results)) for _ in range(4)])
    assert sum(results.get() for _ in range(4)) == 3


def test_a_claim_sees_the_queue_by_priority_then_age(db):
    db.enqueue([project(name="a"), project(name="b", priority=5), project(name="c", priority=5)])
    seen = []
    db.claim(lambda queued, running, holds, completed: seen.extend(row["name"] for row in queued), "x", 1.0)
    assert seen == ["b", "c", "a"]
    assert db.claim(lambda *_: None, "x", 1.0) is None


def test_nobody_writes_between_a_look_and_its_claim(db):
    db.enqueue([project()])

    def choose(queued, running, holds, completed):
        with (
            contextlib.closing(sqlite3.connect(db.path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("UPDATE project_queue SET status = 'cancelled'")
        return queued[0]

    assert db.claim(choose, "x", 1.0)["status"] == "initializing"


def toggle(path, barrier, results):
    barrier.wait(60)
    db, won = store.write(path), 0
    for _ in range(40):
        row = db.project(1)
        won += db.update("project_queue", {"id": 1, "priority": row["priority"]}, {"priority": row["priority"] + 1})
    results.put(won)


def test_compare_and_set_loses_no_change_between_processes(db):
    db.enqueue([project(priority=0)])
    barrier, results = FORK.Barrier(4), FORK.SimpleQueue()
    all_of([FORK.Process(target=toggle, args=(db.path, barrier, results)) for _ in range(4)])
    assert db.project(1)["priority"] == sum(results.get() for _ in range(4)) > 0


def test_rows_are_plain_json(db):
    db.enqueue([project()])
    json.dumps([db.projects(), db.events(), db.transitions(), db.all_holds()])
