"""proc on real processes: trees below a pid, by /proc and by psutil, and ending them."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tmuxorch import proc

WAIT = "import sys, time\nprint('up', flush=True)\nsys.stdin.read()"


def all_trees(roots):
    """{pid: the processes at and below it}."""
    walk = proc.walker()
    return {root: list(walk(root)) for root in roots}


@pytest.fixture
def start():
    """Start a command in a session of its own, wait for its first line; all of the session is ended afterwards."""
    started = []

    def run(*words, **more):
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, **more)
        started.append(process)
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(20)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(params=["proc", "psutil"])
def trees(request, monkeypatch):
    """The processes below some pids, by each way of reading them."""
    if request.param == "proc":
        assert os.path.exists(f"/proc/self/task/{os.getpid()}/children"), "this kernel lists no children"
        return all_trees

    def by_psutil(roots):
        with monkeypatch.context() as patch:
            exists = os.path.exists
            patch.setattr(proc.os.path, "exists", lambda path: not path.endswith("/children") and exists(path))
            return all_trees(roots)

    return by_psutil


def shape(tree):
    return [(one["pid"], one["ppid"], one["argv"]) for one in tree]


FAMILY = "sleep 600 & (sleep 601 & echo up; wait) & wait"
MEMBERS = {("sh", "-c", FAMILY), ("sleep", "600"), ("sleep", "601")}


@pytest.fixture
def family(start, until):
    """The pid of a shell with children and a grandchild, all of them up."""
    root = start("sh", "-c", FAMILY).pid
    until(lambda: {tuple(one["argv"]) for one in all_trees([root])[root]} == MEMBERS, "the family")
    return root


def child_of(root, path, until):
    """The child that runs the program at path, once its shell has become it."""
    return until(lambda: next((one for one in all_trees([root])[root] if one["argv"][:1] == [path]), None), path)


def test_the_tree_below_a_pid_parents_first(trees, family):
    root = family
    (tree,) = trees([root]).values()
    assert tree[0]["pid"] == root
    assert {tuple(one["argv"]) for one in tree} == MEMBERS
    seen = {root}
    for one in tree[1:]:
        assert one["ppid"] in seen
        seen.add(one["pid"])
    assert len(seen) == len(tree) == 4


def test_both_ways_tell_the_same(family, monkeypatch):
    root = family
    fast = all_trees([root])[root]
    with monkeypatch.context() as patch:
        patch.setattr(proc.os.path, "exists", lambda path: False)
        slow = all_trees([root])[root]
    for key in ("pid", "ppid", "group", "name", "argv", "exe"):
        assert {one["pid"]: one[key] for one in fast} == {one["pid"]: one[key] for one in slow}, key
    names = {"pid", "ppid", "group", "name", "argv", "exe", "state", "started"}
    assert fast[0].keys() - {"threads"} == slow[0].keys() == names
    assert {one["state"] for one in fast + slow} <= {"S", "R", "D"}
    assert all(isinstance(one["started"], str) for one in fast + slow)


def test_each_root_has_its_own_tree(trees, start):
    one, two = (start(sys.executable, "-c", WAIT).pid for _ in range(2))
    found = trees([one, two])
    assert [process["pid"] for process in found[one]] == [one]
    assert [process["pid"] for process in found[two]] == [two]
    assert trees([]) == {}


def test_a_process_that_is_gone_has_an_empty_tree(trees, start):
    process = start(sys.executable, "-c", WAIT)
    process.kill()
    process.wait(20)
    assert trees([process.pid]) == {process.pid: []}
    assert proc.read(process.pid) is None


def test_a_stopped_process_is_told(trees, start, until):
    process = start(sys.executable, "-c", WAIT)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: trees([process.pid])[process.pid][0]["state"] == "T", "its stop")
    os.kill(process.pid, signal.SIGCONT)
    until(lambda: trees([process.pid])[process.pid][0]["state"] in "SR", "its going on")


def test_a_zombie_is_told(trees, start, until):
    script = "import subprocess, sys\nchild = subprocess.Popen(['true'])\nprint('up', flush=True)\nsys.stdin.read()"
    root = start(sys.executable, "-c", script).pid
    zombie = until(lambda: [one for one in trees([root])[root] if one["state"] == "Z"], "the zombie")
    assert zombie[0]["ppid"] == root
    assert zombie[0]["argv"] == []
    assert zombie[0]["name"] == "true"


THREAD = """
import subprocess, sys, threading
def work():
    subprocess.Popen(['sleep', '602'])
    print('up', flush=True)
    sys.stdin.read()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_children_of_threads_are_children(trees, start, until):
    root = start(sys.executable, "-c", THREAD).pid
    until(lambda: ["sleep", "602"] in [one["argv"] for one in trees([root])[root]], "the thread's child")


@pytest.mark.parametrize("name", ["a) S 1 (b", "two words", "é", "new\nline", "(", ")"])
def test_a_program_of_any_name(name, start, tmp_path, until):
    path = str(tmp_path / name)
    shutil.copy(shutil.which("sleep"), path)
    root = start("sh", "-c", '"$0" 600 & echo up; wait', path).pid
    child = child_of(root, path, until)
    assert (child["argv"], child["exe"], child["ppid"], child["name"]) == ([path, "600"], path, root, name)
    assert child["state"] in "SRD"


def test_a_deleted_program_is_still_known(start, tmp_path, until):
    path = str(tmp_path / "claude")
    shutil.copy(shutil.which("sleep"), path)
    root = start("sh", "-c", '"$0" 600 & echo up; wait', path).pid
    child_of(root, path, until)
    os.unlink(path)
    assert child_of(root, path, until)["exe"] == f"{path} (deleted)"


def test_odd_arguments_come_as_they_are(trees, start):
    words = ["a b", "", "new\nline", "tab\t", "日本", "'\""]
    root = start(sys.executable, "-c", WAIT, *words).pid
    assert trees([root])[root][0]["argv"] == [sys.executable, "-c", WAIT, *words]


def test_started_tells_two_processes_apart():
    mine = proc.read(os.getpid())
    assert mine["started"] == proc.read(os.getpid())["started"]
    with open(f"/proc/{os.getpid()}/stat", encoding="utf-8") as file:
        assert mine["started"] == file.read().rpartition(")")[2].split()[19]


def test_a_job_of_a_shell_has_a_group_of_its_own(trees, start, until):
    root = start("bash", "-c", "sleep 600 & set -m; sleep 601 & echo up; wait").pid
    until(lambda: {("sleep", "600"), ("sleep", "601")} <= {tuple(one["argv"]) for one in all_trees([root])[root]}, "both")
    shell, *others = trees([root])[root]
    assert shell["group"] == os.getpgid(root)
    assert {one["argv"][1]: one["group"] for one in others} == {"600": shell["group"], "601": others[1]["pid"]}


def test_a_variable_that_a_process_was_started_with(start, monkeypatch):
    root = start(sys.executable, "-c", WAIT, env={"SHELL": "/a=b", "SHELLS": "x"}).pid
    assert (proc.variable(root, "SHELL"), proc.variable(root, "LESS")) == ("/a=b", None)
    assert proc.variable(2**22 + 1, "SHELL") is None
    assert (proc.psutil_variable(root, "SHELL"), proc.psutil_variable(2**22 + 1, "SHELL")) == ("/a=b", None)


def test_a_program_that_rewrites_its_own_words(start):
    """Some agents do, to show what they work on."""
    script = "import ctypes, sys\nctypes.CDLL(None).prctl(15, b'my ) title')\nprint('up', flush=True)\nsys.stdin.read()"
    assert ctypes.CDLL(None)
    root = start(sys.executable, "-c", script).pid
    assert proc.read(root)["name"] == "my ) title"


def test_a_process_seen_before_is_known_again(start, until):
    process = start(sys.executable, "-c", WAIT)
    seen = until(lambda: (one := proc.read(process.pid)) and one["argv"] and one, "it to run")
    found = proc.again(seen["pid"], seen["started"], seen["name"])
    assert {**found, "argv": seen["argv"], "exe": seen["exe"], "state": ""} == {**seen, "state": ""}
    assert proc.again(seen["pid"], "1", seen["name"]) is None  # another one of the same pid
    assert proc.again(seen["pid"], seen["started"], "sh") is None  # it has become another program
    process.kill()
    until(lambda: proc.read(process.pid)["state"] == "Z", "its end")
    assert proc.again(seen["pid"], seen["started"], seen["name"]) is None
    process.wait(20)
    assert proc.again(seen["pid"], seen["started"], seen["name"]) is None


def test_the_boot_has_one_id():
    assert proc.boot_id() == proc.boot_id()
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert proc.boot_id() == file.read().strip()


def test_without_proc_the_boot_is_named_by_its_time(monkeypatch):
    def nowhere(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(proc, "slurp", nowhere)
    assert 0 < int(proc.boot_id()) <= time.time()


# Ending


STUBBORN = "import signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\nsys.stdin.read()"


def ended(process):
    now = proc.read(process["pid"])
    return now is None or now["state"] == "Z" or now["started"] != process["started"]


def test_a_tree_is_ended(family):
    tree = all_trees([family])[family]
    assert len(tree) == 4
    proc.end(tree, 2.0)
    assert all(ended(one) for one in tree)


def test_what_does_not_listen_is_killed(start):
    process = start(sys.executable, "-c", STUBBORN)
    tree = all_trees([process.pid])[process.pid]
    process.terminate()
    assert not ended(tree[0])
    proc.end(tree, 0.2)
    assert ended(tree[0])


def test_another_process_of_the_same_pid_is_left_alone(start):
    process = start(sys.executable, "-c", WAIT)
    (one,) = all_trees([process.pid])[process.pid]
    proc.end([{**one, "started": "1"}], 0.2)
    assert process.poll() is None
    assert all_trees([process.pid])[process.pid]


def test_what_is_gone_already_is_no_error(start):
    process = start(sys.executable, "-c", WAIT)
    tree = all_trees([process.pid])[process.pid]
    process.kill()
    process.wait(20)
    proc.end(tree, 0.2)
    proc.end([], 0.2)
