"""`make bench`: what is measured, as ratios inside one run, beside what each is compared with.

Times differ from machine to machine and from minute to minute; a ratio of two commands that were run in turn
differs little. Nothing here is a test: the goals are printed beside the figures, and a miss makes the status 1.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "lib"))

import idle  # noqa: E402
import sweep  # noqa: E402
from delivery import Delivery  # noqa: E402
from tmuxorch import store  # noqa: E402

ROUNDS = 25


class Bench:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.missed = 0
        self.python = os.path.join(ROOT, ".venv/bin/python")
        self.env = {
            "PATH": f"{folder}/root/bin:/usr/bin:/bin", "HOME": folder, "TMO_DB": f"{folder}/state/task_queue.db",
            "TMO_SOCKET": f"{folder}/tmux",
        }  # fmt: skip

    def install(self) -> None:
        """The commands as a user has them: `make install` into a directory of their own."""
        make = ["make", "-s", "-C", ROOT, "install", f"PREFIX={self.folder}/root", f"PYTHON={self.python}"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)

    def say(self, name: str, value: float, unit: str, goal: str, met: bool, detail: str = "") -> None:
        self.missed += not met
        print(f"{name:58} {value:8.2f} {unit:6} goal {goal:14} {'met' if met else 'MISSED':7} {detail}", flush=True)

    def wall(self, command: list[str], **more) -> float:
        before = time.perf_counter()
        subprocess.run(command, env=self.env, stdout=subprocess.DEVNULL, check=False, **more)
        return time.perf_counter() - before

    def ratio(self, name: str, command: list[str], base: list[str], goal: float) -> None:
        """The median of the ratios of pairs, the two run in turn."""
        pairs = [(self.wall(command), self.wall(base)) for _ in range(ROUNDS)]
        value = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
        self.say(name, value, "x", f"<= {goal}", value <= goal, f"{a:.1f} ms / {b:.1f} ms")

    # -- what is measured

    def start_up(self) -> None:
        spec = os.path.join(self.folder, "spec.md")
        with open(spec, "w", encoding="utf-8") as file:
            file.write("# A spec\n")
        subprocess.run(["tmo-enqueue", "-a", "stub", spec], env=self.env, stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["tmux", "-S", f"{self.folder}/tmux", "-f", "/dev/null", "new-session", "-d", "cat"], check=True)
        nothing = [self.python, "-c", "pass"]
        self.ratio("start-up: open the database, print a row (tmo-project 1)", ["tmo-project", "1"], nothing, 3.2)
        self.ratio("start-up: the same with one tmux client (tmo-ls)", ["tmo-ls"], nothing, 3.6)
        for command in ("tmo-project", "tmo-ls", "tmo-log", "tmo-hold"):
            heavy = self.imports(command) & {"libtmux", "psutil"}
            self.say(f"heavy imports of {command}", len(heavy), "", "= 0", not heavy, " ".join(heavy))

    def imports(self, command: str) -> set[str]:
        path = os.path.join(self.folder, "root/bin", command)
        command = [self.python, "-X", "importtime", path]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}

    def volley(self) -> None:
        """64 commands at once on a database that is not there."""
        failures = 0
        spec = os.path.join(self.folder, "spec.md")
        for number in range(10):
            env = {**self.env, "TMO_DB": f"{self.folder}/volley{number}/task_queue.db"}
            command = ["tmo-enqueue", "-a", "stub", spec]
            running = [subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) for _ in range(64)]
            failures += sum(process.wait() != 0 for process in running)
        self.say("64 commands at once on a missing database, 10 times: failures", failures, "", "= 0", failures == 0)

    def writers(self, count: int = 64, seconds: float = 10.0) -> None:
        """64 processes that append events for 10 s."""
        path = f"{self.folder}/writers/task_queue.db"
        store.write(path)
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from tmuxorch import store, errors; import time\n"
            "db = store.write(sys.argv[2]); end = float(sys.argv[3]); done = late = 0\n"
            "while time.time() < end:\n"
            "    try:\n        db.event('notice', 'bench', 'bench'); done += 1\n"
            "    except errors.Later:\n        late += 1\n"
            "print(done, late)"
        )
        end = time.time() + seconds + 2
        command = [sys.executable, "-c", code, os.path.join(ROOT, "lib"), path, str(end)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        results = [[int(word) for word in process.communicate()[0].split()] for process in running]
        done, late = zip(*results, strict=True)
        self.say("64 writers for 10 s: `database is locked`", sum(late), "", "= 0", not sum(late), f"{sum(done)} events")
        least = min(done) / max(done)
        spread = f"{min(done)} / {max(done)}"
        self.say("64 writers: the least served to the most served", least, "x", ">= 0.125", least >= 0.125, spread)

    def enqueue(self) -> None:
        """100 specs in one call beside 100 calls of nq."""
        if not shutil.which("nq"):
            subprocess.run([os.path.join(ROOT, "dev/need"), "nq"], check=True)
        specs = []
        for number in range(100):
            specs.append(os.path.join(self.folder, f"spec{number}.md"))
            shutil.copy(os.path.join(self.folder, "spec.md"), specs[-1])
        jobs = os.path.join(self.folder, "nq")
        os.makedirs(jobs)
        ratios = []
        for _ in range(5):
            ours = self.wall(["tmo-enqueue", "-a", "stub", *specs])
            before = time.perf_counter()
            for _ in range(100):
                subprocess.run(["nq", "-q", "true"], env={**self.env, "NQDIR": jobs}, stdout=subprocess.DEVNULL, check=True)
            ratios.append(ours / (time.perf_counter() - before))
        value = statistics.median(ratios)
        self.say("enqueue 100 specs in one call / 100 calls of nq", value, "x", "< 1", value < 1)


def main() -> int:
    folder = tempfile.mkdtemp(prefix="tmo-bench-")
    bench = Bench(folder)
    try:
        bench.install()
        bench.start_up()
        bench.volley()
        bench.writers()
        bench.enqueue()
        Delivery(bench.say).run()
        sweep.run(bench.say)
        idle.run(bench.say)
        return 1 if bench.missed else 0
    finally:
        subprocess.run(["tmux", "-S", f"{folder}/tmux", "kill-server"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
