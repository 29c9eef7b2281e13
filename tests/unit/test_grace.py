"""grace: how long a project may take, term by term."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import grace

START = 1_700_000_000.0
KEYS = {
    "size", "base_s", "auth_s", "activity_s", "held_s", "total_s", "started_at", "deadline_at", "left_s", "expired",
}  # fmt: skip


def project(size="medium", status="processing", started=START):
    return {"id": 1, "size": size, "status": status, "started_at": started}


def hold(since, released=None, until=None, cause="manual"):
    return {"since_at": since, "released_at": released, "until_at": until, "cause": cause}


def event(dest="login", kind="health"):
    return {"kind": kind, "dest": dest, "name": dest}


def pause(since, until):
    return {"kind": "health", "dest": None, "name": "pause", "evidence": {"since_at": since, "until_at": until}}


@pytest.mark.parametrize(("size", "base"), [("small", 14400), ("medium", 21600), ("large", 28800), ("xlarge", 43200)])
def test_the_base_is_by_size(size, base, defaults):
    found = grace.judge(project(size), [], [], None, defaults, START)
    assert set(found) == KEYS
    assert (found["size"], found["base_s"], found["total_s"], found["left_s"]) == (size, base, base, base)
    assert (found["auth_s"], found["activity_s"], found["held_s"]) == (0, 0, 0)
    assert (found["started_at"], found["deadline_at"], found["expired"]) == (START, START + base, False)


@pytest.mark.parametrize(
    ("events", "holds", "more"),
    [
        ([event("login")], [], 3600),
        ([event("login"), event("login")], [], 3600),  # once
        ([event("idle")], [], 0),
        ([event("login", "message")], [], 0),
        ([], [hold(START, START, cause="login")], 3600),
        ([], [hold(START, START, cause="limit")], 0),
    ],
)
def test_login_trouble_adds_an_hour(events, holds, more, defaults):
    assert grace.judge(project(), events, holds, None, defaults, START + 1)["auth_s"] == more


@pytest.mark.parametrize(
    ("spans", "holds", "held"),
    [
        ([(100, 700)], [], 600),
        ([(-500, 100)], [], 100),  # it began before
        ([(100, 700), (100, 700)], [], 600),  # two looks at once saw it
        ([(100, 700)], [hold(START + 600, START + 900)], 800),
        ([], [], 0),
    ],
)
def test_time_in_which_nobody_looked_does_not_count(spans, holds, held, defaults):
    events = [pause(START + since, START + until) for since, until in spans]
    found = grace.judge(project(), events, holds, None, defaults, START + 1000)
    assert (found["held_s"], found["auth_s"], found["left_s"]) == (held, 0, 21600 + held - 1000)


@pytest.mark.parametrize(
    ("age", "status", "more"),
    [
        (0, "processing", 1800),
        (1799, "processing", 1800),
        (1800, "processing", 0),
        (-500, "processing", 1800),  # ahead of the clock counts as now
        (None, "processing", 0),
        (0, "completing", 0),
    ],
)
def test_verifiable_work_adds_half_an_hour(age, status, more, defaults):
    now = START + 90_000
    activity = None if age is None else now - age
    assert grace.judge(project(status=status), [], [], activity, defaults, now)["activity_s"] == more


def test_activity_moves_the_deadline_of_an_overdue_project_only_by_its_term(defaults):
    now = START + 21600 + 1799
    assert not grace.judge(project(), [], [], now, defaults, now)["expired"]
    assert grace.judge(project(), [], [], None, defaults, now)["expired"]
    assert grace.judge(project(), [], [], now + 1, defaults, now + 1)["expired"]


def test_all_time_held_is_added(defaults):
    holds = [hold(START + 100, START + 400, cause="limit"), hold(START + 300, START + 600), hold(START - 999, START + 10)]
    found = grace.judge(project(), [], holds, None, defaults, START + 1000)
    assert found["held_s"] == 510
    assert found["total_s"] == 21600 + 510
    assert found["left_s"] == 21600 + 510 - 1000


def test_the_deadline_is_when_nothing_is_left(defaults):
    assert not grace.judge(project(), [], [], None, defaults, START + 21599.5)["expired"]
    found = grace.judge(project(), [], [], None, defaults, START + 21600)
    assert (found["expired"], found["left_s"]) == (True, 0)
    assert grace.judge(project(), [], [], None, defaults, START + 21700)["left_s"] == -100


def test_a_project_that_has_not_started_has_no_deadline(defaults):
    found = grace.judge(project(started=None, status="queued"), [], [hold(START)], None, defaults, START + 9_999_999)
    assert (found["deadline_at"], found["left_s"], found["expired"], found["held_s"]) == (None, None, False, 0)
    assert found["base_s"] == 21600


def test_the_terms_come_from_the_settings(defaults):
    settings = {**defaults, "grace": {**defaults["grace"], "medium": 10.0, "auth": 5.0}}
    found = grace.judge(project(), [event()], [], None, settings, START + 16)
    assert (found["base_s"], found["auth_s"], found["expired"]) == (10, 5, True)


# held_s: overlapping holds are not counted twice

SECONDS = st.integers(-50, 150)
HOLDS = st.lists(
    st.builds(hold, since=SECONDS, released=st.none() | st.integers(1, 150), until=st.none() | st.integers(1, 150)),
    max_size=6,
)


@given(HOLDS, st.integers(0, 60), st.integers(0, 120))
def test_held_s_is_the_number_of_seconds_in_which_any_hold_was_in_force(holds, since, now):
    seconds = {
        second
        for one in holds
        for second in range(since, now)
        if second >= one["since_at"]
        and (one["released_at"] is None or second < one["released_at"])
        and (one["until_at"] is None or second < one["until_at"])
    }
    assert grace.held_s(holds, since, now) == len(seconds)


@given(HOLDS, HOLDS, st.integers(0, 60), st.integers(0, 120))
def test_more_holds_never_hold_less_and_order_does_not_count(holds, more, since, now):
    both = grace.held_s(holds + more, since, now)
    assert both == grace.held_s(more + holds, since, now)
    assert max(grace.held_s(holds, since, now), grace.held_s(more, since, now)) <= both
    assert 0 <= both <= max(now - since, 0)
