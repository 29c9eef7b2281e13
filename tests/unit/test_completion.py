"""completion: a verdict over evidence, with its reasons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import completion

VERDICTS = {"working", "completing", "completed", "failed", "unknown"}


def project(roles="developer", status="processing", base_dirty=0, rework=0):
    return {"id": 1, "roles": roles, "status": status, "base_dirty": base_dirty, "rework_count": rework}


def evidence(**changed):
    known = {
        "done": {}, "commits": 0, "dirty": 0, "told": False, "open": 0, "busy": [], "moving": [], "exhausted": False,
        "running": {}, "held": False, "expired": False, "asking": [], "unclear": {},
    }  # fmt: skip
    return {**known, **changed}


DONE = {"developer": "all done"}
GIVEN_UP = {"expired": True, "exhausted": True}


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (evidence(), "working"),
        (evidence(done=DONE), "completing"),
        # what speaks against completion
        (evidence(done=DONE, dirty=1), "working"),
        (evidence(done=DONE, dirty=1, told=True), "completing"),  # they said again that it is meant so
        (evidence(done=DONE, open=1), "working"),
        (evidence(done=DONE, open=1, told=True), "working"),
        (evidence(done=DONE, busy=["developer"]), "working"),
        (evidence(done=DONE, asking=["developer"]), "working"),  # its turn is not over
        (evidence(done=DONE, running={"developer": ["sleep"]}), "working"),
        (evidence(done=DONE, running={"developer": ["sleep"]}, told=True), "completing"),
        (evidence(done=DONE, dirty=None), "working"),  # git cannot tell, and could at the start
        (evidence(done=DONE, commits=None), "completing"),
        # nobody answers what speaks against it: not for ever
        (evidence(done=DONE, open=1, expired=True), "unknown"),
        (evidence(done=DONE, open=1, expired=True, moving=["developer"]), "working"),
        (evidence(done=DONE, open=1, expired=True, held=True), "working"),
        # failed is past grace AND no activity AND recovery exhausted
        (evidence(**GIVEN_UP), "failed"),
        (evidence(**GIVEN_UP, busy=["developer"]), "unknown"),  # a look that failed ends nothing
        (evidence(**GIVEN_UP, asking=["developer"]), "failed"),
        (evidence(expired=True), "unknown"),
        (evidence(exhausted=True), "working"),
        (evidence(**GIVEN_UP, moving=["developer"]), "working"),
        (evidence(expired=True, moving=["developer"]), "working"),
        (evidence(**GIVEN_UP, held=True), "working"),
        (evidence(**GIVEN_UP, done=DONE), "completing"),
        # words, commits and a quiet hour alone are no verdict
        (evidence(commits=50), "working"),
        (evidence(dirty=9), "working"),
    ],
)
def test_the_verdict_over_a_processing_project(known, verdict):
    found = completion.judge(project(), known)
    assert found.keys() == {"verdict", "reasons", "verified"}
    assert found["verdict"] == verdict
    assert found["reasons"]


@pytest.mark.parametrize(
    ("known", "stalled"),
    [
        (evidence(done=DONE, open=1), True),
        (evidence(busy=["developer"], unclear={"developer": "why"}), True),
        (evidence(done=DONE, busy=["developer"], unclear={"developer": "why"}), True),
        (evidence(done=DONE, busy=["developer"]), False),  # one look that failed
        (evidence(busy=["developer"]), False),
        (evidence(), False),  # recovery goes on
    ],
)
def test_a_person_is_called_where_nobody_else_will_be(known, stalled):
    assert completion.stalled(project(), known) is stalled


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("completed", "completed"), ("failed", "failed"), ("cancelled", "unknown"), ("completing", "completing"),
        ("queued", "unknown"), ("initializing", "unknown"), ("authenticating", "unknown"), ("setting_up", "unknown"),
        ("recovering", "unknown"),
    ],
)  # fmt: skip
def test_a_project_that_does_not_work_is_what_its_status_says(status, verdict):
    assert completion.judge(project(status=status), evidence())["verdict"] == verdict
    assert completion.judge(project(status=status), evidence(**GIVEN_UP, done=DONE))["verdict"] == verdict


@pytest.mark.parametrize(
    ("roles", "done", "verdict"),
    [
        ("developer", ["developer"], "completing"),
        ("orchestrator,developer,tester", ["orchestrator"], "completing"),  # the lead
        ("developer,orchestrator", ["orchestrator"], "completing"),
        ("orchestrator,developer", ["developer"], "working"),
        ("developer,tester", ["developer"], "working"),
        ("developer,tester", ["developer", "tester"], "completing"),  # all roles
        ("developer,tester", ["tester", "stranger"], "working"),
        ("orchestrator,developer", [], "working"),
    ],
)
def test_done_is_what_the_lead_or_all_roles_said(roles, done, verdict):
    found = completion.judge(project(roles), evidence(done=dict.fromkeys(done, "")))
    assert found["verdict"] == verdict
    if verdict == "working":
        missing = set(roles.split(",")) - set(done)
        assert any(role in found["reasons"][-1] for role in missing)


@pytest.mark.parametrize(
    ("base", "dirty", "verdict"), [(3, 3, "completing"), (3, 2, "completing"), (3, 4, "working"), (None, 1, "working")]
)
def test_only_a_work_tree_dirtier_than_at_the_start_speaks_against_it(base, dirty, verdict):
    found = completion.judge(project(base_dirty=base), evidence(done=DONE, dirty=dirty))
    assert found["verdict"] == verdict


def test_the_reasons_name_all_that_speaks_against_it():
    found = completion.judge(project("developer"), evidence(done=DONE, dirty=2, open=3, busy=["developer"]))
    reasons = " ".join(found["reasons"])
    for words in ("2 uncommitted", "3 messages", "developer"):
        assert words in reasons


@given(
    st.sampled_from(["developer", "developer,tester", "orchestrator,developer"]), st.integers(0, 9), st.integers(0, 9),
    st.fixed_dictionaries({
        "done": st.dictionaries(st.sampled_from(["developer", "tester", "orchestrator"]), st.just("x")),
        "commits": st.none() | st.integers(0, 3), "dirty": st.none() | st.integers(0, 9), "told": st.booleans(),
        "running": st.dictionaries(st.just("developer"), st.just(["sleep"])),
        "open": st.integers(0, 2), "busy": st.lists(st.just("developer"), max_size=1),
        "asking": st.lists(st.just("developer"), max_size=1),
        "moving": st.lists(st.just("developer"), max_size=1), "exhausted": st.booleans(), "held": st.booleans(),
        "expired": st.booleans(),
    }),
)  # fmt: skip
def test_no_evidence_ends_a_project_that_is_alive_or_that_nobody_called_done(roles, base, rework, known):
    found = completion.judge(project(roles, base_dirty=base, rework=rework), known)
    assert found["verdict"] in VERDICTS - {"completed"}  # that takes the verify command first
    if found["verdict"] == "completing":
        said = known["done"].keys()
        assert "orchestrator" in said if "orchestrator" in roles else said >= set(roles.split(","))
        assert not known["open"]
        assert not known["busy"]
        assert not known["asking"]
        assert not known["running"] or known["told"]
    if found["verdict"] == "failed":
        assert known["expired"]
        assert known["exhausted"]
        assert not known["moving"]
        assert not known["busy"]
        assert not known["held"]
    assert found["verified"] is None


# The verify command


@pytest.mark.parametrize(
    ("status", "rework", "event", "words"),
    [
        (0, 0, "finalize", "succeeded"),
        (0, 99, "finalize", "succeeded"),
        (1, 0, "rework", "status 1"),
        (127, 2, "rework", "status 127"),
        (-9, 0, "rework", "status -9"),
        (None, 0, "rework", "too long"),
        (1, 3, "error", "after 3 rounds"),
        (None, 3, "error", "too long"),
    ],
)
def test_what_follows_from_the_verify_command(status, rework, event, words):
    found, why = completion.after_verify(project(status="completing", rework=rework), status, 3)
    assert found == event
    assert words in why


def test_a_directory_in_which_git_never_told_anything_speaks_against_nothing():
    assert completion.judge(project(base_dirty=None), evidence(done=DONE, dirty=None))["verdict"] == "completing"


@pytest.mark.parametrize(
    ("known", "called"),
    [
        ({"expired": True, "nursed": 3}, ("helped", "its grace is over, and one of its agents was helped 3 times since")),
        ({"expired": True, "nursed": 2}, None),
        ({"expired": True, "nursed": 9, "held": True}, None),
        ({"unclear": {"developer": "odd"}}, ("unknown", "the state of the developer's agent cannot be told: odd")),
        ({"unclear": {"developer": "odd"}, "held": True}, None),
        ({}, None),
    ],
)
def test_a_person_is_called_to_what_help_alone_keeps_going_or_nobody_can_tell(known, called):
    verdict, seen = {"verdict": "working", "reasons": []}, {"done": {}, "held": False, "unclear": {}, **known}
    assert completion.call(project(), verdict, seen, {"nudges": 3}) == called


@pytest.mark.parametrize(
    ("messages", "states", "found"),
    [
        (0, {"developer": "idle", "tester": "shell"}, None),
        (0, {"developer": "unknown"}, None),  # a look that failed sends nobody back to work
        (1, {}, "1 messages are still on their way"),
        (0, {"developer": "idle", "tester": "working"}, "at work again: tester"),
    ],
)
def test_what_came_up_while_the_verify_command_ran(messages, states, found):
    assert completion.taken_up(messages, states) == found


def test_without_nudges_nobody_is_called_for_help_that_nobody_gave():
    seen = {"done": {}, "held": False, "unclear": {}}
    assert completion.call(project(), {"verdict": "working", "reasons": []}, seen, {"nudges": 0}) is None
