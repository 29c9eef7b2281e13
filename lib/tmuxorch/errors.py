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
