"""recovery: the step for an agent that cannot go on by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import recovery

NOW = 1_700_000_000.0
ACTIONS = {"none", "relaunch", "submit", "nudge", "compact", "wait", "report"}
RESULTS = {"done", "planned", "waiting", "held", "failed", "needs_human"}
STATES = [
    "starting", "working", "idle", "draft", "dialog", "login", "limited", "api_error", "context_full", "hung", "shell",
    "dead", "missing", "unknown",
]  # fmt: skip
HOLD = {"name": "agent/claude", "why": "login lost", "cause": "login"}


def project(status="processing"):
    return {"id": 7, "status": status}


def agent(attempts=0, next_at=None, last_at=None, needs_human=0):
    return {
        "recovery_attempts": attempts,
        "next_recovery_at": next_at,
        "last_recovery_at": last_at,
        "needs_human": needs_human,
    }


def health(state, **changed):
    found = {
        "state": state, "detail": None, "dialog": None, "confirmed": True, "since_at": NOW - 60, "reset_at": None,
        "is_stuck": state not in ("starting", "working", "login", "limited", "unknown"), "last_activity_at": None,
    }  # fmt: skip
    return {**found, **changed}


def context(hold=None, pilot=False, released=None, restarts=0, told=False, nudges=0, gave_up=None, failures=None):
    return {"hold": hold, "pilot": pilot, "released": released, "restarts": restarts, "told": told, "nudges": nudges,
            "gave_up": gave_up, "failures": failures or {}}  # fmt: skip


def plan(seen, known=None, around=None, settings=None, status="processing", defaults=None):
    return recovery.plan(project(status), known or agent(), seen, around or context(), settings or defaults, NOW)


@pytest.mark.parametrize(
    ("seen", "action", "result"),
    [
        (health("shell", detail="bare"), "relaunch", "planned"),
        (health("dead", detail="status 1"), "relaunch", "planned"),
        (health("missing"), "relaunch", "planned"),
        (health("hung"), "relaunch", "planned"),
        (health("shell", detail="program"), "report", "needs_human"),
        (health("shell", detail="stopped"), "report", "needs_human"),
        (health("idle"), "nudge", "planned"),
        (health("draft", detail="ours"), "submit", "planned"),
        (health("draft", detail="not ours"), "report", "needs_human"),
        (health("draft", detail=None), "report", "needs_human"),
        (health("api_error"), "nudge", "planned"),
        (health("context_full"), "compact", "planned"),
        (health("limited", reset_at=NOW + 500), "wait", "held"),
        (health("login"), "wait", "held"),
        (health("dialog", dialog="permission"), "report", "needs_human"),
        (health("dialog", dialog="other"), "report", "needs_human"),
        (health("dialog", dialog="trust"), "submit", "planned"),
        (health("working"), "none", None),
        (health("starting"), "none", None),
        (health("unknown"), "none", None),
        (health("idle", is_stuck=False), "none", None),
    ],
)
def test_the_step_by_state(seen, action, result, defaults):
    found = plan(seen, defaults=defaults)
    assert found["action"] == action
    if result:
        assert found["result"] == result


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "status", ["queued", "initializing", "setting_up", "completing", "completed", "failed", "cancelled"]
)
def test_only_agents_of_processing_projects_are_acted_on(state, status, defaults):
    assert plan(health(state, detail="bare"), status=status, defaults=defaults)["action"] == "none"


@pytest.mark.parametrize("state", STATES)
def test_only_a_confirmed_state_is_acted_on(state, defaults):
    found = plan(health(state, detail="bare", confirmed=False), defaults=defaults)
    assert found["action"] in ACTIONS
    if found["action"] != "none":
        assert found["result"] == "waiting"
        assert found["next_at"] == NOW - 60 + 20


@pytest.mark.parametrize(
    ("kind", "policy", "action"),
    [
        ("permission", "report", "report"),
        ("permission", "accept", "submit"),
        ("bypass", "accept", "submit"),
        ("new", "report", "report"),
    ],
)
def test_a_dialog_is_answered_by_policy(kind, policy, action, defaults):
    settings = {**defaults, "dialog": {**defaults["dialog"], kind: policy, "other": "report"}}
    assert plan(health("dialog", dialog=kind), settings=settings)["action"] == action


def test_a_dialog_of_a_kind_without_a_policy_is_reported(defaults):
    assert plan(health("dialog", dialog="brand new"), defaults=defaults)["action"] == "report"


# Holds


@pytest.mark.parametrize("state", ["shell", "idle", "api_error", "dead", "login", "limited", "draft", "context_full"])
def test_a_hold_stops_everything(state, defaults):
    found = plan(health(state, detail="bare"), around=context(hold=HOLD), defaults=defaults)
    assert (found["action"], found["result"]) == ("wait", "held")
    assert "agent/claude" in found["reason"]


@pytest.mark.parametrize("state", ["login", "limited"])
def test_the_pilot_comes_back_first_and_the_rest_after_the_hold(state, defaults):
    found = plan(health(state), around=context(hold=HOLD, pilot=True), defaults=defaults)
    assert (found["action"], found["result"]) == ("nudge", "planned")
    found = plan(health(state), around=context(released=HOLD), defaults=defaults)
    assert (found["action"], found["result"]) == ("nudge", "planned")
    found = plan(health(state), defaults=defaults)
    assert (found["action"], found["result"]) == ("wait", "held")


def test_a_limit_names_when_it_is_over(defaults):
    assert plan(health("limited", reset_at=NOW + 500), defaults=defaults)["next_at"] == NOW + 500


# Giving up, waiting


def test_five_restarts_are_a_crash_loop(defaults):
    seen = health("shell", detail="bare")
    assert plan(seen, around=context(restarts=4), defaults=defaults)["result"] == "planned"
    found = plan(seen, around=context(restarts=5), defaults=defaults)
    assert (found["action"], found["result"]) == ("report", "needs_human")
    assert "crash loop" in found["reason"]


def test_three_nudges_of_an_idle_agent_are_enough(defaults):
    assert plan(health("idle"), agent(attempts=2), context(nudges=2), defaults=defaults)["result"] == "planned"
    found = plan(health("idle"), agent(attempts=3), context(nudges=3), defaults=defaults)
    assert (found["action"], found["result"]) == ("report", "needs_human")
    # other attempts (a login that came back, a compacted context) were none
    assert plan(health("idle"), agent(attempts=5), context(nudges=2), defaults=defaults)["result"] == "planned"


def test_an_error_of_the_api_is_tried_again_for_as_long_as_it_takes(defaults):
    """Its waits grow; nobody can help in the night that the API is down, and it comes back by itself."""
    for attempts in (3, 10, 100):
        found = plan(health("api_error"), agent(attempts=attempts), defaults=defaults)
        assert (found["action"], found["result"]) == ("nudge", "planned"), attempts


def test_what_waits_for_a_person_is_not_acted_on(defaults):
    for state in ("shell", "idle", "api_error", "context_full"):
        found = plan(health(state, detail="bare"), agent(needs_human=1), context(gave_up="relaunch"), defaults=defaults)
        assert (found["action"], found["result"]) == ("report", "needs_human")


def test_one_that_a_person_was_called_for_and_that_is_lost_then_is_brought_back(defaults):
    for gave_up, result in (("nudge", "planned"), ("compact", "planned"), (None, "planned"), ("relaunch", "needs_human")):
        found = plan(health("missing"), agent(needs_human=1), context(gave_up=gave_up), defaults=defaults)
        assert found["result"] == result, gave_up


def test_what_fails_every_time_is_given_up_and_a_person_called(defaults):
    for seen, action in (
        (health("shell", detail="bare"), "relaunch"), (health("draft", detail="ours"), "submit"),
        (health("context_full"), "compact"),
    ):  # fmt: skip
        assert plan(seen, around=context(failures={action: 4, "nudge": 9}), defaults=defaults)["result"] == "planned"
        found = plan(seen, around=context(failures={action: 5}), defaults=defaults)
        assert (found["action"], found["result"], found["tried"]) == ("report", "needs_human", action)
        assert found["reason"] == f"5 attempts ({action}) did not help"


@pytest.mark.parametrize(
    ("kinds", "state", "well"),
    [
        ({"assistant"}, "working", True),
        ({"turn_end"}, "limited", True),  # the look is older than the turn
        ({"assistant", "error"}, "limited", False),  # it began to answer, and then the limit was met again
        ({"assistant", "turn_end", "error"}, "idle", False),
        ({"error"}, "login", False),
        (set(), "working", None),
        ({"tool_result"}, "working", None),
        (None, "idle", True),
        (None, "limited", False),
        (None, "working", None),
    ],
)
def test_how_the_first_turn_after_a_hold_turned_out(kinds, state, well):
    assert recovery.turned_out(kinds, state) is well


@pytest.mark.parametrize(
    ("seen", "fresh", "same"),
    [
        (health("shell", detail="bare"), health("shell", detail="bare"), True),
        (health("shell", detail="bare"), health("shell", detail="program"), False),
        (health("shell", detail="bare"), health("shell", detail="stopped"), False),
        (health("shell", detail="bare"), health("dead"), False),
        (health("idle"), health("idle", is_stuck=False), False),
        (health("hung"), health("hung", detail="nothing moved for 99 s"), True),
        (health("hung"), health("hung", confirmed=False), False),
        (health("draft", detail="ours"), health("draft", detail="not ours"), False),
        (health("limited"), health("limited"), True),
    ],
)
def test_the_look_before_acting_has_to_find_the_same_thing_to_do(seen, fresh, same, defaults):
    assert recovery.still(seen, fresh, defaults) is same


def test_the_next_attempt_waits_for_its_time(defaults):
    found = plan(health("shell", detail="bare"), agent(attempts=1, next_at=NOW + 5), defaults=defaults)
    assert (found["action"], found["result"], found["next_at"]) == ("relaunch", "waiting", NOW + 5)
    assert plan(health("shell", detail="bare"), agent(attempts=1, next_at=NOW), defaults=defaults)["result"] == "planned"


@given(st.integers(0, 10_000))
def test_waits_grow_from_30_s_to_10_min(defaults, attempts):
    wait = recovery.next_attempt(attempts, defaults, NOW) - NOW
    assert 30 <= wait <= 600
    assert wait <= recovery.next_attempt(attempts + 1, defaults, NOW) - NOW
    if attempts == 0:
        assert wait == 30
    if attempts >= 5:
        assert wait == 600


@given(
    st.sampled_from(STATES), st.sampled_from([None, "bare", "program", "stopped", "ours", "not ours"]), st.booleans(),
    st.booleans(), st.integers(0, 9), st.booleans(), st.sampled_from([None, HOLD]), st.booleans(),
    st.sampled_from([None, HOLD]), st.integers(0, 9), st.sampled_from(["processing", "completing", "failed"]),
)  # fmt: skip
def test_every_plan_is_in_the_words_of_the_contract(
    defaults, state, detail, confirmed, stuck, attempts, needs_human, hold, pilot, released, restarts, status
):
    seen = health(state, detail=detail, confirmed=confirmed, is_stuck=stuck, dialog="trust" if state == "dialog" else None)
    known = agent(attempts, needs_human=int(needs_human))
    found = plan(seen, known, context(hold, pilot, released, restarts), status=status, defaults=defaults)
    assert found.keys() == {"action", "result", "reason", "next_at"}
    assert found["action"] in ACTIONS
    assert found["action"] == "none" or found["result"] in RESULTS
    if found["result"] == "planned":
        assert status == "processing"
        assert confirmed
        assert found["action"] not in ("none", "wait", "report")
        assert not hold or pilot
    if state in ("working", "starting", "unknown") and not stuck:
        assert found["action"] == "none"


# Coming back


@pytest.mark.parametrize(
    ("known", "seen", "over"),
    [
        (agent(0), health("working", is_stuck=False, last_activity_at=NOW), False),  # there is nothing to forget
        (agent(2, last_at=NOW - 60), health("working", is_stuck=False, last_activity_at=NOW - 30), True),
        (agent(2, last_at=NOW - 60), health("working", is_stuck=False, last_activity_at=NOW - 31), False),
        (agent(2, last_at=NOW - 60), health("idle", is_stuck=False, last_activity_at=NOW), True),
        (agent(2, last_at=NOW - 60), health("idle", is_stuck=True, last_activity_at=NOW), False),
        (agent(2, last_at=NOW - 60), health("shell", is_stuck=False, last_activity_at=NOW), False),
        (agent(2, last_at=NOW - 60), health("working", is_stuck=False, last_activity_at=None), False),
        (agent(0, needs_human=1), health("working", is_stuck=False, last_activity_at=NOW), True),
        (agent(2, last_at=NOW + 7200), health("working", is_stuck=False, last_activity_at=NOW), True),
    ],
)
def test_an_agent_that_went_on_well_starts_afresh(known, seen, over, defaults):
    assert recovery.recovered(known, seen, defaults, NOW) is over


@pytest.mark.parametrize(
    ("until", "lasts"), [(None, False), (NOW, False), (NOW + 1, True), (NOW + 600, True), (NOW + 601, False)]
)
def test_a_wait_that_was_set_by_a_clock_far_ahead_is_over(until, lasts):
    assert recovery.waits(until, NOW, 600.0) is lasts


def test_every_nudge_has_its_words():
    for state in ("idle", "api_error", "login", "limited"):
        text = recovery.NUDGE[state].format(project=7)
        assert text.strip() == text
        assert "\n" not in text
    assert "tmo-done" in recovery.NUDGE["idle"]
