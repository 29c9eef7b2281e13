"""waiting: what is waited for has a limit, however small or large the number that gives it."""

import fcntl
import threading
import time

import pytest
from tmuxorch import waiting
from tmuxorch.errors import Later

DEADLINE_S = 30.0


@pytest.mark.parametrize("seconds", [0, 0.0, -1.0, 1e-9, 0.01])
def test_no_time_at_all_is_a_limit_too(seconds):
    with pytest.raises(Later, match="too late"), waiting.deadline(seconds, "too late"):
        threading.Event().wait(DEADLINE_S)


@pytest.mark.parametrize("seconds", [1e5, 1e18, 1e300])
def test_a_limit_beyond_all_clocks_is_a_long_one(seconds):
    with waiting.deadline(seconds, "too late"):
        time.sleep(0)


def test_a_lock_that_another_holds_is_not_waited_for_without_end(tmp_path):
    path = str(tmp_path / "lock")
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Were the wait without an end, this would give the lock back.
        rescue = threading.Timer(DEADLINE_S, fcntl.flock, (file, fcntl.LOCK_UN))
        rescue.start()
        with pytest.raises(Later, match="busy"), waiting.locked(path, 0.0, "busy"):
            pass
        rescue.cancel()
    with waiting.locked(path, DEADLINE_S, "busy"):
        pass
