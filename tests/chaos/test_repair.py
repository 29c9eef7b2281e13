"""tmo-repair-db --apply is killed at random moments, and runs beside the watch pipeline: each row is as it was or as it
should be, its event is there with it, and the backup is whole."""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import time

from harness import ROOT, until

ROWS = 12  # of each kind
PIPELINES = 6


def template(path, env):
    """A database with rows that contradict, of the kinds that need no tmux server."""
    for words in (["all"], ["-r", "all"]):  # it makes the database; what is held would be left
        subprocess.run([ROOT / "bin" / "tmo-hold", *words], env=env, check=True, capture_output=True, timeout=60)
    with contextlib.closing(sqlite3.connect(path)) as db:
        project = (
            "INSERT INTO project_queue (name, status, session_name, completed_at, agent, roles, enqueued_at, started_at)"
        )
        for n in range(ROWS):
            db.execute(f"{project} VALUES ('stale', 'queued', 'old-{n}', NULL, 'stub', 'developer', 1, NULL)")
            db.execute(f"{project} VALUES ('end', 'cancelled', NULL, NULL, 'stub', 'developer', 1, NULL)")
            db.execute(f"{project} VALUES ('gone', 'processing', 'gone-{n}', NULL, 'stub', 'developer', 1, 1)")
            for status in ("failed", "failed"):
                db.execute(f"{project} VALUES ('twin', '{status}', 'twin-{n}', 5, 'stub', 'developer', 1, NULL)")
            db.execute(
                f"INSERT INTO hold (name, cause, actor, since_at, until_at) VALUES ('batch/{n}', 'manual', 't', 1, 2)"
            )
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {
            ("p", *row[:1]): row[1:]
            for row in db.execute("SELECT id, status, session_name, completed_at IS NULL FROM project_queue")
        }
        found |= {
            ("h", *row[:1]): row[1:] for row in db.execute("SELECT id, released_at FROM hold WHERE until_at IS NOT NULL")
        }
        told = db.execute("SELECT evidence ->> 'table', evidence ->> 'id' FROM event WHERE kind = 'repair'").fetchall()
    return found, {(table[0], number) for table, number in told}, len(told)


def test_a_repair_that_is_killed_leaves_each_row_before_or_after(tmp_path, request):
    chance, kills = random.Random(request.config.getoption("--seed")), request.config.getoption("--repairs")
    path = tmp_path / "first" / "task_queue.db"
    env = os.environ | {
        "HOME": str(tmp_path),
        "TMO_DB": str(path),
        "TMO_SOCKET": str(tmp_path / "tmux"),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    command = [ROOT / "bin" / "tmo-repair-db", "--apply"]
    template(path, env)
    original = tmp_path / "original.db"
    shutil.copy(path, original)
    before, _, _ = rows(path)
    started = time.monotonic()
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)
    took = time.monotonic() - started
    after, _, _ = rows(path)
    assert {key for key in before if before[key] != after[key]} == {
        key for key in before if key[0] == "h" or differs(before[key])
    } - kept(before)
    killed = 0
    for number in range(kills):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "task_queue.db"
        shutil.copy(original, path)
        here = env | {"TMO_DB": str(path)}
        work = subprocess.Popen(command, env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * took * 1.1)  # this is what is tested: any moment
        killed += work.poll() is None
        work.kill()
        work.wait(60)
        now, told, events = rows(path)
        changed = {key for key in before if now[key] != before[key]}
        assert all(now[key] in (before[key], after[key]) for key in before)
        assert changed == told and events == len(changed)  # a row and its event, together
        assert changed == set() or any(".backup-" in name and ".part" not in name for name in os.listdir(folder))
        for name in os.listdir(folder):
            if ".backup-" in name and ".part" not in name:
                assert rows(folder / name)[0] == before  # whole, and as it was before the first change
        done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=60, check=True)
        assert rows(path)[0] == after, done.stderr
        assert subprocess.run(command, env=here, capture_output=True, timeout=60, check=True).stdout == b""
        shutil.rmtree(folder)
    assert killed > kills / 3
    print(f"{killed} repairs killed")


def differs(row):
    status, session, no_end = row
    return status in ("processing", "failed") or session is not None or (no_end and status == "cancelled")


def kept(before):
    """The twins that keep their session: the newer one of each pair."""
    return {
        key
        for key, row in before.items()
        if row[0] == "failed" and ("p", key[1] - 1) in before and before["p", key[1] - 1][:2] == row[:2]
    }


def test_repairs_beside_the_watch_pipeline(world, request):
    chance = random.Random(request.config.getoption("--seed"))
    for number in range(4):
        folder = world.dir / f"p{number}"
        folder.mkdir()
        spec = world.dir / f"s{number}.md"
        spec.write_text(world.program.does(f"Project {number}", ("say", "ready")))
        world.tmo("tmo-enqueue", "-p", folder, spec)
    world.cron("start")
    until(lambda: len(world.tmo("tmo-project", "-s", "processing").rows) == 4, "the projects", 120)
    failed = 0
    for _ in range(PIPELINES):
        victims = chance.sample(range(1, 5), 2)
        for number in victims:
            with contextlib.suppress(sqlite3.IntegrityError):
                world.write(f"UPDATE project_queue SET status = 'failed', why = 'Phantom' WHERE id = {number}")
                failed += 1
        lines = (["tmo-repair-db", "--apply"], ["tmo-crontab", "--run", "watch"], ["tmo-repair-db", "--apply"])
        pipe = subprocess.PIPE
        jobs = [subprocess.Popen(words, env=world.env, stdout=pipe, stderr=pipe, text=True) for words in lines]
        for job in jobs:
            _, said = job.communicate(timeout=120)
            assert job.returncode == 0 and "busy" not in said and "Traceback" not in said, said
    world.tmo("tmo-repair-db", "--apply")
    assert [row["status"] for row in world.tmo("tmo-project").rows] == ["processing"] * 4
    repaired = world.sql("SELECT * FROM event WHERE kind = 'repair' AND name = 'recover'")
    moves = world.sql("SELECT * FROM event WHERE kind = 'status' AND name = 'recovery_complete'")
    assert len(repaired) == len(moves) == failed  # each was repaired once, by whichever of the two came first
