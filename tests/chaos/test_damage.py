"""Database files truncated or with bytes changed at random: a clear report, never a traceback, never a write to the file,
and what is recovered is a whole database."""

import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys

from harness import ROOT

sys.path.insert(0, str(ROOT / "tests" / "unit"))
import old_system  # noqa: E402


def spoil(chance, path):
    """Truncate a file, or change some of its bytes."""
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        if chance.random() < 0.3:
            file.truncate(chance.randrange(size))
            return
        for _ in range(chance.choice((1, 3, 30, 300))):
            file.seek(chance.choice((chance.randrange(100), chance.randrange(size), chance.randrange(size))))
            file.write(bytes([chance.randrange(256)]))


def test_damaged_files(tmp_path, request):
    chance, number = random.Random(request.config.getoption("--seed")), request.config.getoption("--damages")
    env = os.environ | {
        "HOME": str(tmp_path),
        "TMO_DB": f"{tmp_path}/ours/x.db",
        "TMO_SOCKET": f"{tmp_path}/tmux",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    rows = [{"spec_path": f"/{n}.md", "status": "failed", "error_message": "x" * 100} for n in range(300)]
    old = old_system.build(tmp_path / "old.db", rows=rows, indexes=True)
    subprocess.run([ROOT / "bin" / "tmo-import", old], env=env, check=True, capture_output=True, timeout=60)
    with sqlite3.connect(f"{tmp_path}/ours/x.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    found = {0: 0, 1: 0, 2: 0}
    for case in range(number):
        ours = case % 2 == 0
        folder = tmp_path / str(case)
        folder.mkdir()
        path = str(folder / "task_queue.db")
        shutil.copy(f"{tmp_path}/ours/x.db" if ours else old, path)
        spoil(chance, path)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
        words = ["--check"] if ours else ["--check", path]
        done = run("tmo-repair-db", words, env | {"TMO_DB": path})
        with open(path, "rb") as file:
            assert hashlib.sha256(file.read()).digest() == digest, f"case {case} was written to"
        assert "Traceback" not in done.stderr and done.returncode in found, (case, done.stderr)
        assert done.returncode == 0 or done.stderr.strip(), case
        found[done.returncode] += 1
        if os.path.exists(f"{path}.recovered"):
            again = ["--check"] if ours else ["--check", f"{path}.recovered"]
            checked = run("tmo-repair-db", again, env | {"TMO_DB": f"{path}.recovered"})
            assert "integrity" not in checked.stderr, (case, checked.stderr)
        if not ours:
            taken = run("tmo-import", [path], env | {"TMO_DB": f"{folder}/new.db"})
            assert "Traceback" not in taken.stderr and taken.returncode in (0, 2), (case, taken.stderr)
        shutil.rmtree(folder)
    assert found[1] > 0
    print(f"whole, recovered, unreadable: {list(found.values())}")


def run(command, words, env):
    return subprocess.run([ROOT / "bin" / command, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
