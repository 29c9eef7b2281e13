"""A large old database: bounded memory, interrupted and run again, and its progress where a person watches."""

import os
import pty
import signal
import sqlite3
import subprocess
import sys

from harness import ROOT, until

sys.path.insert(0, str(ROOT / "tests" / "unit"))
import old_system  # noqa: E402

MEMORY = 120 << 10  # kilobytes that the largest run may take, however many records there are


def test_a_large_database(tmp_path, request):
    number = request.config.getoption("--records")
    old, new = str(tmp_path / "old.db"), f"{tmp_path}/new/task_queue.db"
    db = sqlite3.connect(old_system.build(old, indexes=True))
    words = ("failed", "FAILED", "completed", "COMPLETED", "retried")
    projects = (
        (f"/specs/{n}.md", f"/src/{n % 500}", words[n % 5], 1.755e9 + n, f"s-impl-{n // 2}:0") for n in range(number)
    )
    db.executemany(
        "INSERT INTO project_queue (spec_path, project_path, status, enqueued_at, session_name) VALUES (?, ?, ?, ?, ?)",
        projects,
    )
    checkins = ((f"s-impl-{n}", 1e9) for n in range(number))
    db.executemany(
        """INSERT INTO tasks (session_name, agent_role, window_index, next_run, interval_minutes, note)
           VALUES (?, 'Developer', 1, ?, 0, 'look')""",
        checkins,
    )
    db.commit()
    db.close()
    env = os.environ | {
        "HOME": str(tmp_path),
        "TMO_DB": new,
        "TMO_SOCKET": f"{tmp_path}/tmux",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    command = [str(ROOT / "bin" / "tmo-import"), old]

    # Nobody reads its rows: it comes no further than a pipe holds.
    first = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    until(lambda: count(new) > 0, "the first projects")
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert (first.returncode, said) == (130, "")
    before = count(new)
    assert 0 < before < number

    screen, terminal = pty.openpty()
    with open(tmp_path / "rows", "wb") as rows:
        second = subprocess.Popen(command, env=env, stdout=rows, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(screen, 4096)
        except OSError:  # it has ended
            break
    os.close(screen)
    _, status, used = os.wait4(second.pid, 0)
    second.returncode = os.waitstatus_to_exitcode(status)
    assert second.returncode == 0
    assert f"tmo-import: {number} of {number} projects".encode() in shown and shown.count(b"\r") > 1
    assert used.ru_maxrss < MEMORY, f"{used.ru_maxrss} kB"
    assert count(new) == number
    with open(tmp_path / "rows", "rb") as rows:
        assert sum(1 for _ in rows) == 2 * number
    print(f"{before} of {number} projects before it was interrupted; {used.ru_maxrss >> 10} MB")


def heeds():
    """A job in the background of a script, as this test may be one, would ignore its interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def count(path):
    if not os.path.exists(path):
        return 0
    db = sqlite3.connect(path, timeout=20)
    try:
        return db.execute("SELECT count(*) FROM project_queue").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0
    finally:
        db.close()
