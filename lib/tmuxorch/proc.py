"""Processes: the one module that knows /proc and psutil.

Where the kernel lists a process's children (Linux with CONFIG_PROC_CHILDREN) the trees below the panes are
read from /proc, which costs by the panes, not by the machine; elsewhere psutil lists all processes once.

A process is a dict: pid, ppid, group (its process group), name, argv, exe, state (the kernel's letter: R S D T Z …; T is
stopped), threads (from /proc only) and started (field 22 of /proc/PID/stat, elsewhere psutil's create_time), which with the
pid names it for good.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator

PAGE, PAGES = 4096, 65536
NOT_READ = {"ppid": 0, "group": 0, "name": "?", "argv": [], "exe": "", "state": "?", "started": ""}


def walker() -> Callable[[int], Iterator[dict]]:
    """What yields the processes at and below a pid, parents first: where /proc tells, each is read when it is asked for,
    else all are listed at the first question. A pid that is gone yields nothing; what is below it and could not be read
    (it may have ended meanwhile) has the state `?`."""
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return lambda root: below(root, read, children)
    listed = functools.cache(psutil_map)
    return lambda root: below(root, lambda pid: listed()[0].get(pid), lambda one: listed()[1].get(one["pid"], []))


def below(root: int, get: Callable[[int], dict | None], kin: Callable[[dict], list[int]]) -> Iterator[dict]:
    todo = [root]
    for pid in todo:
        process = get(pid)
        if process:
            yield process
            todo += kin(process)
        elif pid != root:
            yield {**NOT_READ, "pid": pid}


def children(process: dict) -> list[int]:
    """The kernel keeps them by the thread that made them; most processes have one."""
    pid = process["pid"]
    found: list[int] = []
    try:
        tasks = [pid] if process["threads"] == 1 else os.listdir(f"/proc/{pid}/task")
        for task in tasks:
            found += [int(word) for word in slurp(f"/proc/{pid}/task/{task}/children").split()]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile
    except OSError:
        found.append(-1)  # it may have some, nobody can tell
    return found


def read(pid: int) -> dict | None:
    """One process from /proc, None when it is gone."""
    try:
        stat = slurp(f"/proc/{pid}/stat")
        argv = slurp(f"/proc/{pid}/cmdline").split("\0")[:-1]
    except OSError:
        return None
    try:
        exe = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        exe = ""
    return {**parse_stat(pid, stat), "argv": argv, "exe": exe}


def parse_stat(pid: int, stat: str) -> dict:
    head, _, tail = stat.rpartition(")")  # a name may hold blanks and parentheses
    fields = tail.split(None, 20)
    return {"pid": pid, "ppid": int(fields[1]), "group": int(fields[2]), "name": head.partition("(")[2], "argv": [],
            "exe": "", "state": fields[0], "started": fields[19], "threads": int(fields[17])}  # fmt: skip


def again(pid: int, started: str, name: str) -> dict | None:
    """A process that was seen before, where /proc tells that it is still that one: without argv and exe, which are known."""
    try:
        process = parse_stat(pid, slurp(f"/proc/{pid}/stat"))
    except OSError:
        return None
    same = (process["started"], process["name"]) == (started, name)
    return process if same and process["state"] != "Z" else None


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that a process got with its program, None where there is none, or nobody may know."""
    try:
        words = slurp(f"/proc/{pid}/environ").split("\0")
    except OSError:
        return None if os.path.exists("/proc/self/environ") else psutil_variable(pid, name)
    return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), None)


def psutil_variable(pid: int, name: str) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).environ().get(name)
    except psutil.Error:
        return None


def open_files(pids: list[int]) -> list[str]:
    """The paths of the files that these processes have open; what may not be seen is left out."""
    if not os.path.exists("/proc/self/fd"):
        import psutil

        found = []
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                found += [file.path for file in psutil.Process(pid).open_files()]
        return found
    links = []
    for pid in pids:
        with contextlib.suppress(OSError):
            links += [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    found = []
    for link in links:
        with contextlib.suppress(OSError):
            found.append(os.readlink(link))
    return [path for path in found if path.startswith("/")]


def needs() -> None:
    """Raises ImportError where psutil is not there."""
    import psutil  # noqa: F401


def running() -> set[str]:
    """The names of all processes: of the process, and the base names of its first two words."""
    if os.path.exists("/proc/self/stat"):
        every = [one for name in os.listdir("/proc") if name.isdigit() and (one := read(int(name)))]
    else:
        every = list(psutil_map()[0].values())
    return {word.rpartition("/")[2] for one in every for word in (one["name"], *one["argv"][:2])}


def writers(path: str) -> list[dict]:
    """The other processes that have a file open for writing, as far as /proc tells and lets itself be read."""
    found = []
    for name in os.listdir("/proc") if os.path.exists("/proc/self/fdinfo") else ():
        if name.isdigit() and int(name) != os.getpid() and writes(f"/proc/{name}", path) and (one := read(int(name))):
            found.append(one)
    return found


def writes(process: str, path: str) -> bool:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"{process}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"{process}/fd/{number}") == path:
                    flags = re.search(r"^flags:\s*(\d+)", slurp(f"{process}/fdinfo/{number}"), re.M)
                    if flags and int(flags[1], 8) & os.O_ACCMODE:
                        return True
    return False


def limits(pid: int | None = None) -> tuple[int | None, int | None]:
    """(open files, processes) that a process, None: this one, may have; None for no limit, or one that cannot be read."""
    if pid is not None:
        try:
            text = slurp(f"/proc/{pid}/limits")
        except OSError:
            text = ""
        return limit(text, "Max open files"), limit(text, "Max processes")
    import resource

    both = (resource.getrlimit(which)[0] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    files, processes = (None if soft == resource.RLIM_INFINITY else soft for soft in both)
    return files, processes


def limit(text: str, name: str) -> int | None:
    found = re.search(rf"^{name}\s+(\d+)", text, re.M)
    return int(found[1]) if found else None


def memory_free() -> int:
    """Bytes that new programs may take without swapping."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", slurp("/proc/meminfo"), re.M)
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    import psutil

    return psutil.virtual_memory().available


def began_at(process: dict) -> float:
    """When a process began, in Unix seconds."""
    try:
        booted = next(int(line.split()[1]) for line in slurp("/proc/stat").splitlines() if line.startswith("btime "))
    except OSError:
        return float(process["started"])
    return booted + int(process["started"]) / os.sysconf("SC_CLK_TCK")


def slurp(path: str) -> str:
    """A small file of /proc, whole; by the plain calls, at half the price of a text file. The kernel fills at least half
    a page before it answers, so that less is the end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = part = os.read(descriptor, PAGES)
        while len(part) >= PAGE // 2:
            data += (part := os.read(descriptor, PAGES))
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "surrogateescape")


def psutil_map() -> tuple[dict[int, dict], dict[int, list[int]]]:
    """All processes by pid, and the children of each, by psutil."""
    import psutil

    letters = {psutil.STATUS_STOPPED: "T", psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_RUNNING: "R"}
    processes: dict[int, dict] = {}
    families: dict[int, list[int]] = {}
    for one in psutil.process_iter(["pid", "ppid", "name", "cmdline", "exe", "status", "create_time"]):
        facts = one.info
        processes[facts["pid"]] = {
            "pid": facts["pid"], "ppid": facts["ppid"], "group": group(facts["pid"]), "name": facts["name"] or "",
            "argv": facts["cmdline"] or [], "exe": facts["exe"] or "", "state": letters.get(facts["status"], "S"),
            "started": str(facts["create_time"]),
        }  # fmt: skip
        families.setdefault(facts["ppid"], []).append(facts["pid"])
    return processes, families


def group(pid: int) -> int:
    """A process's group, 0 when it is gone or not ours to ask about."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def end(processes: list[dict], wait_s: float = 3.0) -> None:
    """End those of these processes that still run: asked first, killed after `wait_s`. One whose pid went to another
    process since is left alone."""
    here = os.path.exists("/proc/self/stat")
    known = [process for process in processes if process["state"] != "?"]
    pids = [p["pid"] for p in known if not here or (now := read(p["pid"])) and now["started"] == p["started"]]
    if not pids:
        return
    import psutil

    alive = []
    for pid in pids:
        try:
            alive.append(psutil.Process(pid))  # it remembers its start, and refuses another of the same pid
        except psutil.NoSuchProcess:
            continue
    for signal_all in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            try:
                signal_all(process)
            except psutil.Error:  # gone, or of another user (sudo)
                continue
        alive = psutil.wait_procs(alive, wait_s)[1]


def boot_id() -> str:
    """One id a boot of this machine."""
    try:
        return slurp("/proc/sys/kernel/random/boot_id").strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))
