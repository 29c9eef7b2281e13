"""git: what a work tree shows of the work in it. A directory without a repository, or a git that fails, is None."""

from __future__ import annotations

import contextlib
import os
import subprocess

TIMEOUT_S = 20.0
# Set for a git hook that calls us: they would make another repository answer.
LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


def ask(directory: str, *args: str) -> str | None:
    # No hook or monitor of the repository is run by merely looking at it.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", directory, *args]
    environ = {name: value for name, value in os.environ.items() if name not in LOCAL}
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def top(directory: str) -> str | None:
    """Where the work tree begins that holds a directory. git is asked for the way up: a name may be no UTF-8."""
    out = ask(directory, "rev-parse", "--show-cdup")
    return None if out is None else os.path.normpath(os.path.join(directory, out.rstrip("\n")))


def head(directory: str) -> str | None:
    out = ask(directory, "rev-parse", "--verify", "-q", "HEAD")
    return out.strip() if out else None


def dirty(directory: str) -> int | None:
    """Changed and untracked files, our own marker's folder not counted."""
    out = ask(directory, "status", "--porcelain", "--no-renames", "-z", "--", ".", ":(exclude).tmuxorch")
    return None if out is None else sum(1 for entry in out.split("\0") if entry[2:3] == " ")


def changed(directory: str) -> float:
    """When the youngest file was changed that is not as committed, 0 when there is none."""
    out = ask(directory, "ls-files", "--modified", "--others", "--exclude-standard", "-z", "--", ".", ":(exclude).tmuxorch")
    youngest = 0.0
    for name in (out or "").split("\0")[:-1]:
        with contextlib.suppress(OSError, ValueError):  # a deleted one
            youngest = max(youngest, os.lstat(os.path.join(directory, name)).st_mtime)
    return youngest


def commits(directory: str, base: str | None) -> int | None:
    """How many commits since base (None: since the repository was empty)."""
    out = ask(directory, "rev-list", "--count", f"{base}..HEAD" if base else "HEAD")
    return int(out) if out else None


def commits_since(directory: str, at: float) -> int | None:
    """How many commits of the present branch are younger than a time."""
    out = ask(directory, "rev-list", "--count", f"--since=@{int(at)}", "HEAD")
    return int(out) if out else None


def log(directory: str, count: int) -> list[str]:
    """The last commits, a line each."""
    out = ask(directory, "log", f"-{count}", "--format=%h %s (%cr)")
    return out.splitlines() if out else []
