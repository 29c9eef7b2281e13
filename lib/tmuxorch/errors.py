"""What a user or the world can cause: one line on stderr and an exit status, never a traceback."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

OK, NO, WRONG, LATER = 0, 1, 2, 75


class Error(Exception):
    """A wrong call or broken input."""

    status = WRONG


class Refused(Error):
    """The answer is no."""

    status = NO


class Later(Error):
    """Not now, try again: tmux does not answer, the database is busy, a hold is in force."""

    status = LATER


@contextlib.contextmanager
def deadline(seconds: float, message: str) -> Iterator[None]:
    """Raise Later when the block takes longer: it bounds what has no timeout of its own, a blocking flock or libtmux."""

    def late(*_: object) -> None:
        raise Later(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
