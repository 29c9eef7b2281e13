"""Waiting: for a condition and never for a time, and never for ever."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .errors import Later

T = TypeVar("T")
SHORTEST_S, LONGEST_S = 0.001, 86400.0  # what an alarm is set to: 0 would switch it off, and its clock ends somewhere


def until(check: Callable[[], T], wait_s: float, poll_s: float) -> T:
    """Call `check`, poll_s apart and at first more often, until it returns something true or wait_s are over; what it
    returned last."""
    end, wait = time.monotonic() + wait_s, poll_s / 8
    while not (found := check()) and time.monotonic() < end:
        time.sleep(wait)
        wait = min(wait * 2, poll_s)
    return found


@contextlib.contextmanager
def deadline(seconds: float, message: str) -> Iterator[None]:
    """Raise Later when the block takes longer: it bounds what has no timeout of its own, a blocking flock or libtmux. No
    time is a very short one, and an endless one a day."""

    def late(*_: object) -> None:
        raise Later(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, min(max(seconds, SHORTEST_S), LONGEST_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def locked(path: str, wait_s: float, message: str) -> Iterator[None]:
    """Hold a file's lock; Later when it is not free in time. The file stays, since unlinking it lets two hold the lock,
    and nothing that is started meanwhile inherits it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with deadline(wait_s, message):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
