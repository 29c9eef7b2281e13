"""What a user or the world can cause: one line on stderr and an exit status, never a traceback."""

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


def in_words(error: Error | OSError) -> str:
    """What went wrong, in one line: a file's trouble names the file."""
    if not isinstance(error, OSError):
        return str(error)
    what = f"cannot use '{error.filename}'" if error.filename else "system error"
    return f"{what}: {error.strerror or error}"
