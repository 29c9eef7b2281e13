"""What a person is told of: the decisions of the notifications."""

import pytest
from tmuxorch import config, notify

NOW = 1_800_000_000.0
HOLD = {"name": "agent/claude", "cause": "login", "released_at": None}
PROJECT = {"id": 7, "name": "shop", "status": "processing", "error_message": None}


def event(kind, **more):
    return {"id": 5, "at": NOW - 100, "kind": kind, "name": None, "project_id": 7, "role": None, "run": None,
            "source": None, "dest": None, "why": "because", **more}  # fmt: skip


def told(**more):
    return {"event_id": 4, "state": "sent", "subject": "x", "attempted_at": NOW - 10, **more}


def test_the_settings_name_each_reason():
    assert set(config.LISTS["notify_on"]) == set(notify.WORDS)
    assert set(config.DEFAULTS["notify_on"]) < set(notify.WORDS)


@pytest.mark.parametrize(
    ("row", "hold", "reason"),
    [
        (event("notice"), None, "needs_human"),
        (event("auth"), None, "waiting"),
        (event("status", dest="failed"), None, "failed"),
        (event("status", dest="completed"), None, "completed"),
        (event("status", dest="queued"), None, None),
        (event("hold", name="hold", dest="agent/claude"), HOLD, "login"),
        (event("hold", name="hold", dest="agent/claude"), {**HOLD, "cause": "limit"}, "limit"),
        (event("hold", name="hold", dest="all"), {**HOLD, "cause": "manual"}, None),
        (event("hold", name="hold", dest="agent/claude"), None, None),
        (event("health"), None, None),
    ],
)
def test_reasons(row, hold, reason):
    assert notify.reason(row, hold) == reason


@pytest.mark.parametrize(
    ("row", "why", "project", "agent", "hold", "over"),
    [
        (event("status", dest="failed"), "failed", {**PROJECT, "status": "failed"}, None, None, False),
        (event("status", dest="failed"), "failed", {**PROJECT, "status": "queued"}, None, None, True),
        (event("status", dest="failed"), "failed", None, None, None, True),
        (event("notice", role="developer"), "needs_human", PROJECT, {"needs_human": 1}, None, False),
        (event("notice", role="developer"), "needs_human", PROJECT, {"needs_human": 0}, None, True),
        (event("notice", role="developer"), "needs_human", PROJECT, None, None, True),
        (event("notice", project_id=None), "needs_human", None, None, None, False),
        # of a project as a whole: while it works on, or waits for what it waited for
        (event("notice"), "needs_human", {**PROJECT, "status": "processing"}, None, None, False),
        (event("notice"), "needs_human", {**PROJECT, "status": "completed"}, None, None, True),
        (event("notice"), "needs_human", {**PROJECT, "status": "queued", "error_message": "because"}, None, None, False),
        (event("notice"), "needs_human", {**PROJECT, "status": "queued", "error_message": None}, None, None, True),
        (event("auth"), "waiting", {**PROJECT, "error_message": "because"}, None, None, False),
        (event("auth"), "waiting", {**PROJECT, "error_message": "another"}, None, None, True),
        (event("hold"), "login", None, None, HOLD, False),
        (event("hold"), "login", None, None, {**HOLD, "released_at": NOW}, True),
    ],
)
def test_what_is_over_is_not_told(row, why, project, agent, hold, over):
    assert notify.over(row, why, project, agent, hold) is over


def test_one_missing_login_is_one_subject_however_many_wait_for_it():
    hold = notify.subject(event("hold", dest="agent/claude", project_id=None), "login")
    assert hold == notify.subject(event("auth", project_id=7), "waiting")
    assert hold == notify.subject(event("auth", project_id=8), "waiting")
    assert hold != notify.subject(event("auth", why="no trust"), "waiting")


def test_subjects_differ_by_whom_and_what():
    rows = [
        (event("notice", role="developer"), "needs_human"),
        (event("notice", role="tester"), "needs_human"),
        (event("notice", role="tester", why="another"), "needs_human"),
        (event("status"), "failed"),
        (event("status", project_id=8), "failed"),
        (event("status"), "completed"),
        (event("hold", dest="agent/claude", project_id=None), "limit"),
        (event("hold", dest="agent/codex", project_id=None), "limit"),
    ]
    assert len({notify.subject(*row) for row in rows}) == len(rows)


def test_another_start_or_another_cause_is_another_subject():
    about = {notify.subject(event("status", run=run, why=why), "failed") for run in (None, "a", "b") for why in ("x", "y")}
    assert len(about) == 6


@pytest.mark.parametrize(
    ("row", "why", "project", "text"),
    [
        (event("notice", role="developer", why="3 nudges\n in vain"), "needs_human", PROJECT,
         "tmuxorch on h: project 7 (shop), developer needs a person: 3 nudges in vain"),
        (event("status", why=None), "completed", PROJECT, "tmuxorch on h: project 7 (shop) is completed"),
        (event("hold", dest="agent/claude"), "login", None,
         "tmuxorch on h: agent/claude is held until somebody logs in: because"),
        (event("notice"), "needs_human", None, "tmuxorch on h: this needs a person: because"),
    ],
)  # fmt: skip
def test_texts(row, why, project, text):
    assert notify.text(row, why, project, "h") == text


@pytest.mark.parametrize(
    ("attempts", "state", "age", "waits"),
    [
        (0, "queued", 29, True), (0, "queued", 30, False), (0, "queued", -5, False),
        (1, "queued", 49, True), (1, "queued", 50, False), (2, "queued", 99, True), (2, "queued", 101, False),
        (50, "queued", 599, True), (50, "queued", 600, False), (1, "queued", -5, False),
        (1, "sending", 1, False),  # its sender died
    ],
)  # fmt: skip
def test_waits(attempts, state, age, waits):
    row = {"attempts": attempts, "state": state, "attempted_at": NOW - age if attempts else None}
    assert notify.waits(row, event("notice", at=NOW - (5 if attempts else age)), 30.0, NOW) is waits


def test_what_nobody_wants():
    assert notify.skipped("failed", ["failed"], "cat") is None
    assert notify.skipped("failed", ["login"], "cat")
    assert notify.skipped("", ["login"], "cat")
    assert notify.skipped("failed", ["failed"], "")


def test_the_same_again():
    before, after = event("notice", at=NOW - 20), event("notice", at=NOW - 5)  # it was told in between
    assert notify.again("x", [told()], before, NOW - 60) == "skipped"
    assert notify.again("x", [told()], after, NOW - 60) == "queued"
    assert notify.again("x", [told(), told(attempted_at=NOW - 1)], after, NOW - 60) == "skipped"
    assert not notify.again("y", [told()], before, NOW - 60)
    assert not notify.again("x", [told(event_id=5)], before, NOW - 60)  # itself
    assert not notify.again("x", [told()], after, NOW - 10)  # long ago
    assert not notify.again("x", [told(state="queued")], before, NOW - 60)  # in vain


def test_the_limit():
    lately = [told(event_id=number) for number in range(3)]
    assert notify.full(lately, 9, 3, NOW)
    assert not notify.full(lately, 9, 4, NOW)
    assert not notify.full(lately, 2, 3, NOW)  # itself
    assert not notify.full([{**row, "attempted_at": NOW - 3600} for row in lately], 9, 3, NOW)
    assert not notify.full([{**row, "state": "queued"} for row in lately], 9, 3, NOW)
