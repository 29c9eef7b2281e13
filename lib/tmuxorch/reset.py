"""When a usage limit ends: the reset time in an agent's own words, as Unix seconds.

Wordings seen, of Claude Code: "resets 4:20am (Europe/Warsaw)", "resets 3pm", "resets at 15:00", "resets Nov 25 at 9am
(UTC)", "resets Mon 9am", "limit will reset at 3pm", "limit reached|1735689600"; of Codex: "try again in 2 hours 5 minutes",
"try again at 3:28 PM", "try again at Aug 8th, 2026 12:30 PM", "resets_at":1777936568; of other providers behind either:
"limit will reset at 2026-09-21 18:55:29". tests/screens/README.md names the sources.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EPOCH = re.compile(r"(?:limit reached\||\bresets_at\W{1,3})(\d{10})\b")
STAMP = re.compile(r"\bresets? (?:at |on )?(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?Z?)", re.I)
SPAN = re.compile(r"\bin ((?:\d+ ?(?:d|h|m|s)[a-z]*[ ,]*(?:and )?)+)", re.I)
PART = re.compile(r"(\d+) ?([dhms])", re.I)
CLOCK = re.compile(
    r"\b(?:resets?(?: at| on)?|try again (?:at|on))[: ]+"
    rf"(?:(?P<month>{'|'.join(MONTHS)})[a-z]* (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?(?: at|,)? )?"
    rf"(?:(?P<weekday>{'|'.join(DAYS)})[a-z]*(?: at|,)? )?"
    r"(?P<hour>\d{1,2})(?!\d)(?::(?P<minute>\d\d))? ?(?P<half>[ap]m)?"
    r"(?: ?\(?(?P<zone>[A-Z][A-Za-z_]+/[A-Za-z_/+-]+|UTC|GMT)\)?)?",
    re.I,
)
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse(text: str, now: float) -> float | None:
    """The next moment after `now` that the text names, None when it names none that we understand."""
    text = " ".join(text.split())  # a narrow screen breaks the lines anywhere
    if found := EPOCH.search(text):
        return float(found[1])
    if found := STAMP.search(text):
        return stamp(found[1])
    if found := CLOCK.search(text):
        return clock(found, now)
    if found := SPAN.search(text):
        return now + sum(int(count) * SECONDS[unit.lower()] for count, unit in PART.findall(found[1]))
    return None


def stamp(text: str) -> float | None:
    """A date and time written as ISO 8601 has it; without a Z it is local."""
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except ValueError:
        return None


def clock(found: re.Match, now: float) -> float | None:
    zone = zone_of(found["zone"])
    today = datetime.fromtimestamp(now, zone).replace(second=0, microsecond=0, fold=0)
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    try:
        at = today.replace(hour=hour, minute=minute)
        if found["month"]:
            at = at.replace(month=MONTHS.index(found["month"].lower()) + 1, day=int(found["day"]))
            at = at.replace(year=int(found["year"])) if found["year"] else at
            if at.timestamp() <= now - 86400 and not found["year"]:
                at = at.replace(year=at.year + 1)
            return at.timestamp()
    except (ValueError, OverflowError):
        return None
    if found["weekday"]:
        at += timedelta(days=(DAYS.index(found["weekday"].lower()) - at.weekday()) % 7)
    later = at + timedelta(days=7 if found["weekday"] else 1)  # on the wall clock: summer time moves the instant
    for day in (at, later):
        moment = day.timestamp()
        again = day.replace(fold=1).timestamp()  # an hour that comes twice, at the end of summer time
        if max(moment, again) > now:
            return moment if moment > now else again
    return None


def zone_of(name: str | None) -> tzinfo | None:
    """None is the local zone."""
    if not name:
        return None
    if name.upper() in ("UTC", "GMT"):
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
