"""A line that the user wrote for a shell (a verify command, the notify command): the only ones that we hand to one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable

from . import waiting

KEPT = 4000  # bytes of its output that are kept, its end
POLL_S = 0.25
END_S = 5.0  # so long at most for what was killed to be gone: another user's process may not be
# $1 is the line, $2 a file for its stdin. Our end of the pipe on stdin closes with us, however we end: then the group ends
# too. The line keeps the pid of this shell; the one that reads is ended with the group.
GUARDED = """exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec 3<&-
exec /bin/sh -c "$1" <"$2"
"""


def run(
    line: str, directory: str, timeout: float, given: str = "", wanted: Callable[[], bool] = lambda: True
) -> tuple[int | None, str]:
    """Run a line by /bin/sh with `given` on its stdin: its exit status (None: it took longer than `timeout`, or was no
    longer `wanted`) and the end of what it printed. It has a process group of its own, which ends with it, and with us."""
    with contextlib.ExitStack() as stack:
        path = os.devnull
        if given:
            stdin = stack.enter_context(tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace"))
            stdin.write(given)
            stdin.flush()
            path = stdin.name
        source, sink = os.pipe()
        kept = bytearray()
        reader = threading.Thread(target=keep_end, args=(source, kept), daemon=True)
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, "sh", line, path],
                cwd=directory, stdin=subprocess.PIPE, stdout=sink, stderr=sink, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(sink)
            reader.start()
        try:
            waiting.until(lambda: process.poll() is not None or not wanted(), timeout, POLL_S)
            status = process.returncode
        finally:
            end_group(process)
            assert process.stdin
            process.stdin.close()
        reader.join(END_S)
        return status, bytes(kept).decode("utf-8", "replace")


def keep_end(source: int, kept: bytearray) -> None:
    """Read a pipe until nobody writes to it any more."""
    with open(source, "rb", buffering=0) as stream:
        while chunk := stream.read(65536):
            kept += chunk
            del kept[:-KEPT]


def end_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what is left may be another user's
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
