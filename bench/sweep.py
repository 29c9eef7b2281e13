"""One sweep over all agents (what tmo-health does), beside the least that any sweep needs: one list-panes -a, one pass
over /proc, one SQLite transaction. In process, the two in turn.

A tenth of the agents publish nothing, so that their screens have to be captured.
"""

import functools
import json
import math
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "lib"))

import psutil  # noqa: E402
from tmuxorch import config, proc, store, tmux  # noqa: E402
from tmuxorch.steps import look  # noqa: E402

SIZES = (10, 100, 500, 1000)
PLAIN = {10: 15, 100: 120}  # how much faster than the plain way


class Farm:
    """A tmux server with so many windows, an agent's process in each, and their rows in a database."""

    def __init__(self, count: int) -> None:
        self.folder = tempfile.mkdtemp(prefix="tmo-sweep-")
        self.socket = f"{self.folder}/tmux"
        self.env = {"HOME": self.folder, "PATH": os.environ["PATH"], "TMO_DB": f"{self.folder}/state/task_queue.db",
                    "TMO_SOCKET": self.socket, "TMO_STUB_HOME": f"{self.folder}/stub"}  # fmt: skip
        self.config = config.load(self.env)
        self.db = store.write(self.config.db)
        try:
            self.build(count)
        except BaseException:
            self.close()
            raise

    def build(self, count: int) -> None:
        agent = "exec -a tmo-stub-agent sleep 100000"
        client = ["tmux", "-S", self.socket, "-f", "/dev/null"]
        lines = [f"new-session -d -s p1 -x 80 -y 24 bash -c '{agent} & wait'\n"]
        lines += [f"new-session -d -s p{number} -x 80 -y 24 bash -c '{agent} & wait'\n" for number in range(2, count + 1)]
        for start in range(0, count, 50):
            subprocess.run([*client, "start-server", ";", "source-file", "-"], input="".join(lines[start : start + 50]),
                           text=True, check=True)  # fmt: skip
        self.tmux = tmux.Tmux(self.socket, 60.0)
        rows = [{"name": f"p{number}", "project_path": self.folder, "agent": "stub", "roles": "developer",
                 "spec_path": "/", "enqueued_at": 1.0, "actor": "bench", "host": store.host()}
                for number in range(1, count + 1)]  # fmt: skip
        self.db.enqueue(rows)
        self.tag()
        self.wait(count)
        self.publish()

    def tag(self) -> None:
        script = []
        with sqlite3.connect(self.config.db) as raw:
            for pane in self.tmux.panes():
                number = int(pane["session_name"][1:])
                script += [f"set-option -p -t '{pane['pane_id']}' @tmo_{name} '{value}'\n" for name, value in
                           (("role", "developer"), ("agent", "stub"), ("run", f"r{number}"))]  # fmt: skip
                script += [f"set-option -t 'p{number}:' @tmo_{name} '{value}'\n" for name, value in
                           (("project", number), ("start", f"s{number}"))]  # fmt: skip
                for status in ("initializing", "processing"):
                    raw.execute("UPDATE project_queue SET status = ?, session_name = ?, run = ?, server = ? WHERE id = ?",
                                (status, f"p{number}", f"s{number}", pane["server"], number))  # fmt: skip
                raw.execute(
                    """INSERT INTO agent_health (project_id, role, agent, run, conversation_id, agent_home, launched_at,
                       state, since_at, pane_id, window_index, host)
                       VALUES (?1, 'developer', 'stub', ?2, ?3, ?4, ?5, 'idle', ?5, ?6, 0, ?7)""",
                    (number, f"r{number}", f"c{number}", f"{self.folder}/stub", time.time(), pane["pane_id"], store.host()),
                )
        self.tmux.call("source-file", "-", text="".join(script))

    def wait(self, count: int) -> None:
        """Until each pane has its agent below it."""
        end = time.monotonic() + 120
        while True:
            walk = proc.walker()
            below = [process for pane in self.tmux.panes() for process in walk(pane["pane_pid"])]
            self.agents = [process for process in below if process["argv"][:1] == ["tmo-stub-agent"]]
            if len(self.agents) == count:
                return
            assert time.monotonic() < end, "the panes did not come up"

    def publish(self) -> None:
        slug = "".join(c if c.isalnum() else "-" for c in self.folder)
        os.makedirs(f"{self.folder}/stub/sessions")
        os.makedirs(f"{self.folder}/stub/projects/{slug}")
        turn = [{"type": "user", "message": {"content": "go on"}},
                {"type": "assistant", "message": {"content": [{"type": "text", "text": "Done. " * 20}]}}]  # fmt: skip
        for number, process in enumerate(self.agents, 1):
            if number % 10:
                entry = {"status": "busy", "procStart": process["started"], "sessionId": f"c{number}"}
                with open(f"{self.folder}/stub/sessions/{process['pid']}.json", "w", encoding="utf-8") as file:
                    json.dump(entry, file)
            with open(f"{self.folder}/stub/projects/{slug}/c{number}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in turn * 10)

    def sweep(self) -> list[dict]:
        return look.Look(self.config, self.db, store.now(), every=True).look_at(None)

    def floor(self) -> None:
        """What no sweep can do without."""
        self.tmux.call("list-panes", "-a", "-F", "\t".join(f"#{{{field}}}" for field in tmux.FIELDS))
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                    os.read(descriptor, 1024)
                    os.close(descriptor)
                except OSError:
                    continue
        self.db.event("notice", "bench", "bench")

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def the_plain_way(farm: Farm) -> None:
    """As scripts for this do it: a client for each window's command and activity, and every time a list of all processes."""
    client = ["tmux", "-S", farm.socket]

    def ask(*words: str) -> list[str]:
        return subprocess.run([*client, *words], capture_output=True, text=True, check=True).stdout.splitlines()

    for session in ask("list-sessions", "-F", "#{session_name}"):
        for window in ask("list-windows", "-t", f"={session}", "-F", "#{window_index}"):
            ask("display-message", "-p", "-t", f"={session}:{window}", "#{pane_current_command}")
            ask("display-message", "-p", "-t", f"={session}:{window}", "#{window_activity}")
            any(process.info["name"] == "tmux" for process in psutil.process_iter(["pid", "name", "cmdline"]))


def timed(act) -> float:
    before = time.perf_counter()
    act()
    return time.perf_counter() - before


def counted(act) -> tuple:
    """What it returned, and how many tmux clients it took."""
    client, calls = tmux.Client, []

    def count(*words):
        calls.append(words)
        return client(*words)

    tmux.Client = count
    try:
        return act(), len(calls)
    finally:
        tmux.Client = client


def run(say, sizes=SIZES) -> None:
    medians: dict[int, float] = {}
    for count in sizes:
        farm = Farm(count)
        try:
            rows, clients = counted(farm.sweep)
            states = {row["health"]["state"] for row in rows}
            assert len(rows) == count and states <= {"working", "unknown", "starting"}, states
            pairs = [(timed(farm.sweep), timed(farm.floor)) for _ in range(15)]
            ratio = statistics.median(a / b for a, b in pairs)
            sweep, floor = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
            medians[count] = sweep
            say(
                f"sweep over {count} panes / floor", ratio, "x", "<= 1.75", ratio <= 1.75, f"{sweep:.1f} ms / {floor:.1f} ms"
            )
            if count in PLAIN:
                ratio = statistics.median(timed(functools.partial(the_plain_way, farm)) for _ in range(3)) * 1000 / sweep
                say(f"a client and a process list a window, {count} panes / sweep", ratio, "x", f">= {PLAIN[count]}",
                    ratio >= PLAIN[count])  # fmt: skip
            say(f"sweep over {count} panes: tmux clients", clients, "", "<= 3", clients <= 3)
        finally:
            farm.close()
    if 100 in medians and 1000 in medians:
        exponent = math.log10(medians[1000] / medians[100])
        say("sweep: growth exponent from 100 to 1000 panes", exponent, "", "<= 1.05", exponent <= 1.05)
