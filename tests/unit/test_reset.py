"""reset: when a usage limit ends, by an agent's own words."""

import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import reset


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


NOW = at("2025-11-20T12:00:00")  # a Thursday


@pytest.mark.parametrize(
    ("text", "end"),
    [
        # the wordings of the docstring
        ("resets 4:20am (Europe/Warsaw)", at("2025-11-21T04:20", "Europe/Warsaw")),
        ("You've hit your limit · resets 3pm (UTC)", at("2025-11-20T15:00")),
        ("resets at 15:00 UTC", at("2025-11-20T15:00")),
        ("resets Nov 25 at 9am (UTC)", at("2025-11-25T09:00")),
        ("resets Mon 9am (UTC)", at("2025-11-24T09:00")),
        ("try again in 2 hours 5 minutes", NOW + 7500),
        ("usage limit reached|1735689600", 1735689600.0),
        ("limit reached|1735689600", 1735689600.0),
        # variants
        ("RESETS 3PM (UTC)", at("2025-11-20T15:00")),
        ("resets 12am (UTC)", at("2025-11-21T00:00")),
        ("resets 12pm (UTC)", at("2025-11-21T12:00")),
        ("resets 12:01pm (UTC)", at("2025-11-20T12:01")),
        ("resets 11:59am (UTC)", at("2025-11-21T11:59")),
        ("resets 0:00 UTC", at("2025-11-21T00:00")),
        ("resets Thu 3pm (UTC)", at("2025-11-20T15:00")),
        ("resets Thu 9am (UTC)", at("2025-11-27T09:00")),
        ("resets Thursday at 9am (UTC)", at("2025-11-27T09:00")),
        ("resets November 25, 9:30am (UTC)", at("2025-11-25T09:30")),
        ("resets Nov 25, 2026 at 9am (UTC)", at("2026-11-25T09:00")),
        ("resets Jan 2 at 9am (UTC)", at("2026-01-02T09:00")),
        ("resets Nov 20 at 9am (UTC)", at("2025-11-20T09:00")),  # three hours ago: it is over, not due in a year
        ("resets in 90s", NOW + 90),
        ("retry in 1h 30m", NOW + 5400),
        ("limit will reset at 2025-11-25 09:00:30Z", at("2025-11-25T09:00:30")),
        ("try again at\n3:28 PM (UTC)", at("2025-11-20T15:28")),  # broken by a narrow screen
        ("try again 3 times", None),
        ("available again in 1 day, 2 hours and 3 minutes", NOW + 86400 + 7200 + 180),
        # what says nothing
        ("", None),
        ("resets soon", None),
        ("resets 25:00 UTC", None),
        ("resets 9:75am (UTC)", None),
        ("resets Feb 30 at 9am (UTC)", None),
        ("in the morning", None),
        ("resets at 2025-13-45 09:00", None),
    ],
)
def test_the_words_and_their_moment(text, end):
    assert reset.parse(text, NOW) == end


@pytest.mark.parametrize(
    ("now", "text", "end"),
    [
        ("2025-02-20T12:00", "resets Feb 29 at 9am (UTC)", None),  # no such day in that year
        ("2024-02-20T12:00", "resets Feb 29 at 9am (UTC)", at("2024-02-29T09:00")),
        ("2024-12-01T12:00", "resets Feb 29 at 9am (UTC)", None),  # nor in the next
        ("2025-12-31T23:59", "resets Jan 1 at 12am (UTC)", at("2026-01-01T00:00")),
        ("2026-01-01T00:30", "resets Dec 31 at 11pm (UTC)", at("2026-12-31T23:00")),
    ],
)
def test_dates_near_the_ends_of_years(now, text, end):
    assert reset.parse(text, at(now)) == end


def test_without_a_zone_it_is_the_local_one(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert reset.parse("resets 3pm", NOW) == at("2025-11-20T15:00", "America/New_York")
        assert reset.parse("resets 3pm (Nowhere/Atall)", NOW) == at("2025-11-20T15:00", "America/New_York")
        assert reset.parse("resets 3pm (America/Argentina)", NOW) == at("2025-11-20T15:00", "America/New_York")  # a folder
    finally:
        monkeypatch.undo()
        time.tzset()


# Changes of summer time

ZONES = ["Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata", "UTC"]
CHANGES = [  # an hour around each, UTC
    at("2025-03-30T01:00"), at("2025-10-26T01:00"),  # Warsaw
    at("2025-03-09T07:00"), at("2025-11-02T06:00"),  # New York
    at("2025-04-05T15:00"), at("2025-10-04T15:30"),  # Lord Howe, half an hour
    at("2011-12-30T10:00"),  # Apia lost a day
]  # fmt: skip


def first_moment(zone, hour, minute, now):
    """By looking at every minute: the first one after now at which a clock there shows this time."""
    moment = now // 60 * 60 + 60
    while True:
        shown = datetime.fromtimestamp(moment, zone)
        if (shown.hour, shown.minute) == (hour, minute):
            return moment
        moment += 60


@given(
    st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(-30 * 60, 30 * 60), st.integers(0, 23),
    st.sampled_from([0, 1, 15, 29, 30, 45, 59]), st.booleans(),
)  # fmt: skip
def test_a_clock_time_is_its_next_moment_whatever_summer_time_does(name, change, minutes, hour, minute, half):
    zone, now = ZoneInfo(name), change + 60 * minutes + 7
    words = f"{(hour - 1) % 12 + 1}:{minute:02d}{'am' if hour < 12 else 'pm'}" if half else f"{hour}:{minute:02d}"
    found = reset.parse(f"limit reached, resets {words} ({name})", now)
    assert found > now
    wanted = first_moment(zone, hour, minute, now)
    if found == wanted:
        return
    # Only an hour that the clocks leave out may be told otherwise, then at most by what they leave out.
    naive = datetime.fromtimestamp(now, zone).replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    left_out = [
        day for day in (naive, naive + timedelta(days=1))
        if datetime.fromtimestamp(day.replace(tzinfo=zone).timestamp(), zone).replace(tzinfo=None) != day
    ]  # fmt: skip
    assert left_out
    assert found < wanted


def test_the_hour_that_comes_twice_is_named_twice():
    first = at("2025-10-26T00:45")  # 02:45 in Warsaw, the first time
    assert reset.parse("resets 2:30am (Europe/Warsaw)", first) == at("2025-10-26T01:30")
    assert reset.parse("resets 2:50am (Europe/Warsaw)", first) == first + 300
    second = at("2025-10-26T01:45")
    assert reset.parse("resets 2:30am (Europe/Warsaw)", second) == at("2025-10-27T02:30", "Europe/Warsaw")


@given(st.integers(1, 99), st.sampled_from("dhms"), st.integers(1, 99), st.sampled_from("hms"))
def test_spans_add_up(first, one, second, two):
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    text = f"limit hit, try again in {first}{one} {second}{two}"
    assert reset.parse(text, NOW) == NOW + first * seconds[one] + second * seconds[two]


WORDS = st.lists(
    st.sampled_from(
        ["resets", "reset", "at", "on", "in", "Nov", "Feb", "29", "31", "0001", "9999", "12", "25", "3pm", "4:20am", "0:60",
         "Mon", "(UTC)", "(Europe/Warsaw)", "(A/B)", "2 hours", "limit", "reached|1735689600", ",", "·"]
    ), max_size=8,
).map(" ".join)  # fmt: skip


@given(WORDS | st.text(max_size=40), st.sampled_from([NOW, at("2024-02-29T23:59:59"), at("2025-03-30T01:30"), 0.0]))
def test_any_words_give_a_moment_or_nothing(text, now):
    found = reset.parse(text, now)
    assert found is None or isinstance(found, float)


def test_this_machine_has_zones():
    assert os.path.isdir("/usr/share/zoneinfo") or ZoneInfo("Europe/Warsaw")
    assert datetime(2025, 7, 1, tzinfo=ZoneInfo("Europe/Warsaw")).utcoffset() != datetime(2025, 7, 1, tzinfo=UTC).utcoffset()
