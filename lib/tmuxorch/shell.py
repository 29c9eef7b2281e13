"""A line that the user wrote for a shell (a verify command, the notify command): the only ones that we hand to one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile

KEPT = 4000  # characters of its output that are kept, its end


def run(line: str, directory: str, timeout: float, given: str = "") -> tuple[int | None, str]:
    """Run a line by /bin/sh with `given` on its stdin: its exit status (None: it took longer than `timeout`) and the end
    of what it printed. It has a process group of its own, and what it leaves behind is ended."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(given.encode("utf-8", "replace"))
        stdin.seek(0)
        process = subprocess.Popen(
            ["/bin/sh", "-c", line], cwd=directory, stdin=stdin, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - KEPT))
        return status, output.read().decode("utf-8", "replace")


def end_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what is left may be another user's
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
