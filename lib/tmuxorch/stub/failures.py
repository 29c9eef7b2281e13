"""How the program words what the server refuses: for the transcript, the hooks and the screen."""

import math
import os
import time
from typing import NamedTuple

RESEND, FIX = "Resend your message to try again", "Once fixed, resend your message"
USUAL = "This is a server-side issue, usually temporary — try again in a moment."


class Failure(NamedTuple):
    status: int
    error: str
    text: str  # what the transcript says
    ghost: str  # what the empty composer shows afterwards
    kind: str = "api"  # of the block on the screen
    screen: str = ""  # what the screen says, where that differs


LOGIN_REJECTED = Failure(401, "authentication_failed", "Invalid API key · Please run /login", FIX, "error")
LOGGED_OUT = LOGIN_REJECTED._replace(text="Not logged in · Please run /login")
CONTEXT_FULL = Failure(
    400, "invalid_request", "Prompt is too long", FIX, "error", "Context limit reached · /compact or /clear to continue"
)
_WORDS = {
    429: "Request rejected (429) · This request would exceed your account's rate limit. Please try again later.",
    500: f"500 Internal server error. {USUAL}",
    529: "Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary. Try again in a moment.",
}


def of(status: int) -> Failure:
    if status == 401:
        return LOGIN_REJECTED
    words = _WORDS.get(status, f"{status}. {USUAL}")
    return Failure(status, "rate_limit" if status == 429 else "server_error", f"API Error: {words}", RESEND)


def limited(until: float) -> Failure:
    """The usage limit, with its reset in the local zone, to the whole minute that it is surely over."""
    moment = time.localtime(math.ceil(until / 60) * 60)
    clock = time.strftime("%-I:%M%p" if moment.tm_min else "%-I%p", moment).lower()
    day = time.strftime("%b %-d, ", moment) if until - time.time() > 86400 else ""
    return Failure(429, "rate_limit", f"You've hit your limit · resets {day}{clock} ({zone_name()})", "", "error")


def zone_name() -> str:
    name = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    return name.lstrip(":") or time.tzname[0]


class Retry(NamedTuple):
    label: str
    started: float
    period: float
    total: int

    def line(self, now: float) -> str:
        """What stands in the spinner's place; the first attempt has failed already."""
        passed = int((now - self.started) / self.period)
        left = math.ceil(self.started + (passed + 1) * self.period - now)
        return f"✻ {self.label} · retrying in {left}s · attempt {2 + passed}/{self.total}"
