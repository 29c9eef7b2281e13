"""steps.takeover on real files: every era and variant of the older database is taken over whole, once, and only read."""

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import old_system as old
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tmuxorch import config, store
from tmuxorch.errors import Error
from tmuxorch.steps import takeover
from tmuxorch.store import copies

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # each case makes databases anew, and a disk is slow to say so


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def files(folder):
    """What is in a directory, with what is in each file but our own database."""
    return {
        name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest()
        for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)) and not name.startswith("new.db")
    }  # fmt: skip


def take(folder, path, dry=False, adopt=False, done=None):
    environ = {
        "HOME": str(folder),
        "TMO_DB": f"{folder}/new.db",
        "TMO_SOCKET": f"{folder}/none/tmux",
        "PATH": os.environ["PATH"],
    }
    values = config.load(environ)
    db = store.read(values.db) if dry else store.write(values.db)
    try:
        taker = takeover.Taker(values, db, dry, None, lambda *numbers: done and done.append(numbers))
        return list(taker.run(str(path), adopt))
    finally:
        if db:
            db.connection.close()


def query(folder, sql):
    connection = sqlite3.connect(f"{folder}/new.db")
    rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def raw(folder):
    return {
        number: json.loads(text) for number, text in query(folder, "SELECT old_id, raw FROM imported WHERE kind = 'project'")
    }


def whole(folder, path, before):
    """Every record of the old file is there, once, as it stood; a second run changes nothing; the file is as it was."""
    connection = sqlite3.connect(
        f"file:{path}?mode=ro" if os.path.exists(f"{path}-wal") else f"file:{path}?immutable=1", uri=True
    )
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    cursor = connection.execute("SELECT * FROM project_queue")
    names = [column[0].lower() for column in cursor.description]
    expected = {}
    for values in cursor:
        record = dict(zip(names, values, strict=True))
        expected[record["id"]] = json.loads(takeover.importing.kept(record))
    connection.close()
    assert raw(folder) == expected
    projects = query(folder, "SELECT id, status FROM project_queue ORDER BY id")
    assert len(projects) == len(expected) == query(folder, "SELECT count(DISTINCT project_id) FROM imported")[0][0]
    history = query(folder, "SELECT count(*) FROM event WHERE kind <> 'import'")
    rows = [row for row in take(folder, path) if row["kind"] == "project"]
    assert all(row["result"] == "left" for row in rows) and len(rows) == len(expected)
    assert query(folder, "SELECT id, status FROM project_queue ORDER BY id") == projects
    assert query(folder, "SELECT count(*) FROM event WHERE kind <> 'import'") == history
    assert files(os.path.dirname(path)) == before


DIRT = [
    {"spec_path": spec, "status": word, "enqueued_at": 1755000000.0 + n, "queued_at": 1755000000.0 + n,
     "started_at": old.TIMES[n % len(old.TIMES)], "completed_at": old.TIMES[(3 * n) % len(old.TIMES)],
     "session_name": old.NAMES[n % len(old.NAMES)], "main_session": old.NAMES[(5 * n) % len(old.NAMES)],
     "orchestrator_session": old.NAMES[(7 * n) % len(old.NAMES)], "project_path": None if n % 3 else f"/src/{n}",
     "priority": n % 4 or "high", "a column": b"\x00\xff", 'quote"d': "x", "notes": "mine", "merged_status": "merged"}
    for n, (word, spec) in enumerate((word, spec) for word in old.WORDS for spec in old.SPECS)
]  # fmt: skip


@pytest.mark.parametrize("wal", [False, True], ids=["delete", "wal"])
@pytest.mark.parametrize("schema", old.SCHEMAS)
def test_every_era_and_variant_is_taken_over_whole(schema, wal, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    path = str(old.build(folder / "task_queue.db", schema, DIRT, wal=wal))
    before = files(folder)
    assert take(tmp_path, path, dry=True)
    assert not os.path.exists(f"{tmp_path}/new.db")
    rows = [row for row in take(tmp_path, path) if row["kind"] == "project"]
    assert {row["result"] for row in rows} <= {"taken", "changed"}
    assert all(row["why"] for row in rows if row["result"] == "changed")
    assert [row["project_id"] for row in rows] == [row["old_id"] for row in rows]  # numbers are kept
    whole(tmp_path, path, before)


RECORDS = st.fixed_dictionaries(
    {"spec_path": st.sampled_from([*old.SPECS, "/specs/b.md"]), "status": st.sampled_from(old.WORDS)},
    optional={
        **{name: st.sampled_from(old.TIMES) for name in ("enqueued_at", "started_at", "completed_at", "queued_at")},
        **{name: st.sampled_from(old.NAMES) for name in ("session_name", "main_session", "orchestrator_session")},
        "id": st.integers(-3, 200) | st.just(2**62), "project_path": st.sampled_from([None, "/src/a", "/src/b", "auto"]),
        "priority": st.integers() | st.text(max_size=3), "error_message": st.text(max_size=9),
        "a column": st.binary(max_size=3), "ended_at": st.floats(),
    },
)  # fmt: skip


@settings(max_examples=40)
@given(st.sampled_from(list(old.SCHEMAS)), st.lists(RECORDS, max_size=12), st.booleans(), st.booleans())
def test_any_database_is_taken_over_whole(schema, rows, wal, indexes):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        os.mkdir(f"{folder}/old")
        path = old.build(f"{folder}/old/x.db", schema, wal=wal, indexes=indexes)
        connection = sqlite3.connect(path)
        for row in rows:
            try:
                old.insert(connection, "project_queue", {name: v for name, v in row.items() if not big(v)})
            except sqlite3.IntegrityError:
                continue  # as there
        connection.commit()
        connection.close()
        before = files(f"{folder}/old")
        take(folder, path)
        whole(folder, path, before)


def big(value):
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def test_a_file_that_is_being_written_is_read_with_its_wal(tmp_path):
    path = old.build(tmp_path / "x.db", rows=[{"spec_path": "/a.md"}], wal=True)
    writer = sqlite3.connect(path)
    writer.execute("INSERT INTO project_queue (spec_path) VALUES ('/b.md')")
    writer.commit()
    assert os.path.getsize(f"{path}-wal") > 0
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO project_queue (spec_path) VALUES ('/not-committed.md')")
    assert len([row for row in take(tmp_path, path) if row["kind"] == "project"]) == 2
    writer.rollback()
    writer.close()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_what_a_dead_writer_left_is_read_from_a_copy(mode, tmp_path):
    """A directory that nobody may write to: SQLite could not even open what has to be rolled forward or back."""
    path = str(old.build(tmp_path / "x.db", rows=[{"spec_path": f"/{n}.md"} for n in range(50)], wal=mode == "wal"))
    script = f"""import os, sqlite3
db = sqlite3.connect({path!r}, isolation_level=None)
db.execute("PRAGMA cache_size = 2"); db.execute("PRAGMA synchronous = FULL")
db.execute("INSERT INTO project_queue (spec_path) VALUES ('/kept.md')")
db.execute("BEGIN"); db.execute("UPDATE project_queue SET project_path = hex(randomblob(4000))")
os.kill(os.getpid(), 9)"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert os.path.exists(f"{path}-wal") or os.path.exists(f"{path}-journal")
    rows = [row for row in take(tmp_path, path) if row["kind"] == "project"]
    assert len(rows) == 51
    assert all(record["project_path"] is None for record in raw(tmp_path).values())


def test_a_wal_of_another_file_is_left_out(tmp_path):
    path = str(old.build(tmp_path / "x.db", rows=[{"spec_path": f"/{n}.md"} for n in range(300)]))
    other = sqlite3.connect(old.build(tmp_path / "y.db", "bare", wal=True, others=False))
    other.execute("INSERT INTO project_queue (spec_path) VALUES ('/other.md')")
    other.commit()
    with open(f"{tmp_path}/y.db-wal", "rb") as source, open(f"{path}-wal", "wb") as target:
        target.write(source.read())
    other.close()
    assert len([row for row in take(tmp_path, path) if row["kind"] == "project"]) == 300


def test_what_is_no_such_database_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all\n" * 500)
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x (y)").connection.close()
    store.write(f"{tmp_path}/ours.db").connection.close()
    for name, words in (("text", "not a database"), ("empty.db", "no table project_queue"), ("none", "cannot read"),
                        ("ours.db", "of tmuxorch itself")):  # fmt: skip
        with pytest.raises(Error, match=words):
            take(tmp_path, tmp_path / name)
    assert query(tmp_path, "SELECT count(*) FROM project_queue") == [(0,)]


def test_numbers_that_are_in_use_here_are_not_taken(tmp_path):
    first = old.build(tmp_path / "a.db", rows=[{"spec_path": "/a.md", "id": 5, "enqueued_at": 1755000000.0}])
    second = old.build(tmp_path / "b.db", rows=[{"spec_path": "/b.md", "id": 5, "enqueued_at": 1755000001.0}])
    take(tmp_path, first)
    row = take(tmp_path, second)[0]
    assert (row["old_id"], row["project_id"], row["result"]) == (5, 6, "changed")
    copy = old.build(tmp_path / "c.db", "bare", rows=[], others=False)
    os.rename(first, copy)  # the same records in another file
    assert take(tmp_path, copy)[0]["result"] == "left"


def test_what_was_interrupted_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(takeover, "BATCH", 10)
    path = old.build(tmp_path / "x.db", rows=[{"spec_path": f"/{n}.md", "status": "failed"} for n in range(95)])

    def stop(done, total):
        if done >= 40:
            raise KeyboardInterrupt

    values = config.load(
        {"HOME": str(tmp_path), "TMO_DB": f"{tmp_path}/new.db", "TMO_SOCKET": f"{tmp_path}/n", "PATH": os.environ["PATH"]}
    )
    db = store.write(values.db)
    with pytest.raises(KeyboardInterrupt):
        list(takeover.Taker(values, db, False, None, stop).run(str(path), False))
    db.connection.close()
    assert query(tmp_path, "SELECT count(*) FROM project_queue") == [(40,)]
    done = [(0, 0)]
    results = [row["result"] for row in take(tmp_path, path, done=done) if row["kind"] == "project"]
    assert results == ["left"] * 40 + ["taken"] * 55
    assert done[-1] == (95, 95)


# -- damaged files


def file_page(file, number):
    file.seek(4096 * number)
    return file.read(4096)


def damaged(folder):
    """An old database of 400 rows, of which three pages are gone."""
    rows = [{"spec_path": f"/{n}.md", "status": "failed", "error_message": "x" * 200} for n in range(400)]
    path = str(old.build(folder / "x.db", rows=rows, indexes=True))
    with open(path, "r+b") as file:
        pages = os.path.getsize(path) // 4096
        holding = [n for n in range(pages) if b"x" * 150 in file_page(file, n)]
        for page in (holding[3], holding[4], holding[10]):
            file.seek(4096 * page)
            file.write(b"\xff" * 4096)
    return path


def in_wal(path):
    """A connection that adds a project to a damaged database, later than whatever lies beside it; its -wal stays while it
    is open."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    os.utime(path, (1, 1))
    connection.execute("INSERT INTO project_queue (id, spec_path) VALUES (1000, '/late.md')")
    os.utime(path + "-wal", (os.stat(path + "-wal").st_mtime + 5,) * 2)
    return contextlib.closing(connection)


def late(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT spec_path FROM project_queue WHERE id = 1000").fetchall() == [("/late.md",)]


def test_what_is_readable_of_a_damaged_file_is_recovered(tmp_path):
    path = damaged(tmp_path)
    before = files(tmp_path)
    with pytest.raises(Error, match="--check"):
        take(tmp_path, path)
    target, found = copies.recover(path)
    assert {name: digest for name, digest in files(tmp_path).items() if name != "x.db.recovered"} == before
    (projects,) = [row for row in found if row["table"] == "project_queue"]
    lost = sum(last - first + 1 for first, last in projects["lost"])
    assert projects["rows"] > 300 and projects["rows"] + lost == 400
    assert len([row for row in take(tmp_path, target) if row["kind"] == "project"]) == projects["rows"]


def test_what_was_recovered_stays_until_more_is_written(tmp_path):
    path = damaged(tmp_path)
    target, _ = copies.recover(path)
    assert copies.recover(path) == (target, [])
    with in_wal(path):
        assert copies.recover(path)[1]  # a commit does not touch the file itself
        assert late(target)


def test_what_was_written_after_a_recovery_is_swapped_in_too(tmp_path):
    path = damaged(tmp_path)
    target, _ = copies.recover(path)
    with in_wal(path):
        os.utime(target, (2**32, 2**32))  # whatever the clock said
        aside, found = copies.renew(path)
    assert late(path) and found and os.path.exists(aside) and not os.path.exists(target)


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("links", [True, False])
def test_a_swap_that_is_killed_leaves_a_database_and_is_done_again(tmp_path, monkeypatch, step, links):
    path, left = damaged(tmp_path), [step]
    with in_wal(path):
        target, _ = copies.recover(path)
        with monkeypatch.context() as patch:
            for name in ("link", "rename", "replace"):
                patch.setattr(copies.os, name, dying(getattr(os, name), left))
            if not links:
                patch.setattr(copies.os, "link", refusing)
            with pytest.raises(KeyboardInterrupt):
                copies.swap(path, target)
        assert os.path.exists(path)
        aside, _ = copies.renew(path)
    assert late(path) or not links  # without links nobody knows that its companions went away
    assert copies.check(path) == [] and os.path.exists(aside)


def dying(real, left):
    """A call that is done only so often."""

    def call(*words):
        if not left[0]:
            raise KeyboardInterrupt
        real(*words)
        left[0] -= 1

    return call


def refusing(*_):
    raise OSError


def test_a_swap_that_was_killed_is_told(tmp_path):
    path = damaged(tmp_path)
    target, _ = copies.recover(path)
    assert copies.unfinished(path) == []
    os.link(path, f"{path}.damaged-1")
    assert [one["kind"] for one in copies.unfinished(path)] == ["integrity"]
    os.unlink(path)
    (one,) = copies.unfinished(path)
    assert one["kind"] == "missing" and target in one["reason"]
    with pytest.raises(Error, match="is gone, but"):
        store.write(path)
    os.rename(target, path)
    assert copies.unfinished(path) == []
    os.unlink(path)
    (one,) = copies.unfinished(path)
    assert one["kind"] == "missing" and "damaged-1" in one["reason"]
    store.write(path).connection.close()  # whoever wants an empty one has one
