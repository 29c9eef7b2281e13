"""health: the state of one look, by the facts; and two looks together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import health

NOW = 1_700_000_000.0
STATES = {
    "starting", "working", "idle", "draft", "dialog", "login", "limited", "api_error", "context_full", "hung", "shell",
    "dead", "missing", "unknown",
}  # fmt: skip
AGENT = {"pid": 2, "name": "claude", "state": "S", "group": 1, "argv": ["claude"]}
SHELL = {"pid": 1, "name": "bash", "state": "S", "group": 1, "argv": ["/bin/bash"]}
VIM = {"pid": 2, "name": "vim", "state": "S", "group": 2, "argv": ["vim"]}


def pane(**changed):
    return {"pane_dead": False, "pane_dead_status": "", **changed}


def screen(**changed):
    shown = {"composer": True, "draft": "", "dialog": None, "selected": None, "busy": False, "said": None, "saying": ""}
    return {**shown, **changed}


def registry(status, waiting_for=None):
    return {"status": status, "waiting_for": waiting_for, "conversation_id": "c", "at": NOW}


def facts(**changed):
    """An agent that waits at its empty prompt, changed."""
    known = {
        "server": "up", "pane": pane(), "processes": [SHELL, AGENT], "agent": AGENT, "registry": registry("idle"),
        "turn": None, "turning": None, "untold": False, "under_way": False,
        "screen": screen(), "launching": False, "shell": "/bin/bash", "launched_at": NOW - 3600, "activity_at": NOW - 10,
        "watched_since": None,
    }  # fmt: skip
    return {**known, **changed}


def error(text="x", status=None, name=None, at=NOW):
    return {"kind": "error", "status": status, "error": name, "text": text, "at": at}


NO_AGENT = {"agent": None, "registry": None, "screen": None}
NO_PANE = {"pane": None, "processes": [], **NO_AGENT}


@pytest.mark.parametrize(
    ("changed", "state", "detail"),
    [
        ({}, "idle", None),
        # a failed probe is unknown, never dead
        ({"server": "silent", **NO_PANE}, "unknown", "tmux does not answer"),
        ({"processes": [], **NO_AGENT}, "unknown", "the process table could not be read"),
        ({"registry": None, "screen": None}, "unknown", "no trace and no screen"),
        ({"registry": None, "screen": screen(composer=False)}, "unknown", "no composer on the screen"),
        # no server is a fact
        ({"server": "none", **NO_PANE}, "missing", "no tmux server is running"),
        (NO_PANE, "missing", "no such pane"),
        # somebody launches it at this moment, or was killed before it could
        ({"under_way": True, "launched_at": NOW - 5, **NO_PANE}, "starting", "its launch is under way"),
        ({"under_way": True, "launched_at": NOW - 5, "server": "none", **NO_PANE}, "starting", "its launch is under way"),
        ({"under_way": True, "launched_at": NOW - 500, **NO_PANE}, "missing", "no such pane"),
        ({"pane": pane(pane_dead=True, pane_dead_status="1"), "processes": [], **NO_AGENT}, "dead", "status 1"),
        ({"pane": pane(pane_dead=True), "processes": [], **NO_AGENT}, "dead", "by a signal"),
        ({"pane": pane(pane_dead=True, pane_dead_status="0"), "processes": [], **NO_AGENT}, "dead", "status 0"),
        # shells
        ({"processes": [SHELL], **NO_AGENT}, "shell", "bare"),
        ({"processes": [{**SHELL, "name": "-zsh"}], **NO_AGENT}, "shell", "bare"),
        ({"processes": [SHELL, VIM], **NO_AGENT}, "shell", "program"),
        ({"processes": [SHELL, {**VIM, "name": "claude", "state": "Z"}], **NO_AGENT}, "shell", "bare"),
        ({"agent": {**AGENT, "state": "T"}}, "shell", "stopped"),
        # starting
        ({"launching": True, "launched_at": NOW - 5, "processes": [SHELL], **NO_AGENT}, "starting", None),
        ({"launching": True, "launched_at": NOW + 5, "processes": [SHELL], **NO_AGENT}, "starting", None),  # counts as now
        ({"launching": True, "launched_at": NOW - 61, "processes": [SHELL], **NO_AGENT}, "shell", "bare"),
        ({"launched_at": NOW - 5, "processes": [SHELL], **NO_AGENT}, "shell", "bare"),
        ({"launched_at": NOW - 5, "registry": None, "screen": screen(composer=False)}, "starting", None),
        ({"launched_at": NOW - 61, "registry": None, "screen": screen(composer=False)}, "unknown", None),
        # at work
        ({"registry": registry("busy"), "screen": None}, "working", None),
        ({"registry": None, "screen": screen(busy=True)}, "working", None),
        ({"registry": registry("idle"), "screen": screen(busy=True)}, "idle", None),  # its own word is stronger
        ({"registry": registry("busy"), "screen": screen(composer=False)}, "working", None),
        ({"registry": registry("busy"), "activity_at": NOW - 1800}, "hung", "nothing moved for 1800 s"),
        ({"registry": registry("busy"), "activity_at": NOW - 1799}, "working", None),
        ({"registry": registry("busy"), "activity_at": NOW + 9999}, "working", None),
        ({"registry": registry("busy"), "activity_at": None, "launched_at": NOW - 1801}, "hung", None),
        ({"registry": registry("busy"), "activity_at": None, "launched_at": None}, "working", None),
        ({"registry": None, "screen": screen(busy=True), "activity_at": NOW - 1801}, "hung", None),  # a spinner
        # dialogs
        ({"screen": screen(composer=False, dialog="trust", selected="No, exit"), "registry": None}, "dialog", "No, exit"),
        ({"screen": screen(composer=False, dialog="permission"), "registry": registry("busy")}, "dialog", None),
        ({"registry": registry("waiting", "permission prompt"), "screen": screen()}, "dialog", "permission prompt"),
        # drafts
        ({"screen": screen(draft="half")}, "draft", None),
        ({"registry": None, "screen": screen(draft="half")}, "draft", None),
        # an error ended the last turn: idle is not healthy
        ({"turn": error("Please run /login", 403)}, "login", "Please run /login"),
        ({"turn": error("x", 401, "authentication_failed")}, "login", "x"),
        ({"turn": error("Context limit reached · /compact or /clear to continue", 400)}, "context_full", None),
        ({"turn": error("You've hit your 5-hour limit · resets 3pm (UTC)", 429)}, "limited", None),
        ({"turn": error("API Error: Request rejected (429) · account's rate limit", 429, "rate_limit")}, "api_error", None),
        ({"turn": error("API Error: Repeated 529 Overloaded errors", 529)}, "api_error", None),
        # what is typed to treat it would wait for the draft; a hold ends by itself
        ({"turn": error("x", 500), "screen": screen(draft="half")}, "draft", None),
        ({"turn": error("Context limit reached", 400), "screen": screen(draft="half")}, "draft", None),
        ({"turn": error("x", 401), "screen": screen(draft="half")}, "login", "x"),
        ({"turn": error("x", 401), "registry": registry("busy")}, "working", None),  # it tries again
        # without a transcript or registry its last words are all there is
        ({"registry": None, "screen": screen(said="login", saying="Please run /login")}, "login", None),
        ({"registry": None, "screen": screen(said="api_error")}, "api_error", None),
        ({"screen": screen(said="login")}, "idle", None),  # words alone are no evidence against the registry
    ],
)  # fmt: skip
def test_the_state_of_one_look(changed, state, detail, claude, defaults):
    seen = health.judge(facts(**changed), claude, defaults, NOW)
    assert seen["state"] == state
    if detail:
        assert detail == seen["detail"]
    if state in ("missing", "dead", "unknown") and "agent" in changed:
        assert seen["has_agent"] is False


@pytest.mark.parametrize(
    ("shown", "waiting_for", "kind"),
    [
        ("trust", None, "trust"),
        ("bypass", None, "bypass"),
        ("onboarding", None, "onboarding"),
        ("other", None, "other"),
        (None, "permission prompt", "permission"),
        (None, "something new", "other"),
        (None, None, "other"),
    ],
)
def test_a_dialog_has_its_kind(shown, waiting_for, kind, claude, defaults):
    known = facts(screen=screen(composer=False, dialog=shown), registry=registry("waiting", waiting_for))
    assert health.judge(known, claude, defaults, NOW)["dialog"] == kind


def test_a_limit_has_its_end_as_counted_from_the_error_itself(claude, defaults):
    turn = error("You've reached your usage limit, try again in 2 hours", at=NOW - 600)
    assert health.judge(facts(turn=turn), claude, defaults, NOW)["reset_at"] == NOW - 600 + 7200
    turn = error("You've hit your limit", at=None)
    assert health.judge(facts(turn=turn), claude, defaults, NOW)["reset_at"] is None
    said = screen(said="limited", saying="limit reached, resets in 90 minutes")
    seen = health.judge(facts(registry=None, screen=said), claude, defaults, NOW)
    assert (seen["state"], seen["reset_at"]) == ("limited", NOW + 5400)


@pytest.mark.parametrize(
    ("changed", "evidence"),
    [
        ({"server": "none", **NO_PANE}, ["tmux"]),
        ({"processes": [SHELL], **NO_AGENT}, ["process"]),
        ({"registry": registry("busy")}, ["registry"]),
        ({"registry": None, "screen": screen(busy=True)}, ["screen"]),
        ({"turn": error()}, ["transcript"]),
        ({}, ["registry", "screen"]),
        ({"server": "silent", **NO_PANE}, []),
    ],
)
def test_the_evidence_says_what_said_so(changed, evidence, claude, defaults):
    assert health.judge(facts(**changed), claude, defaults, NOW)["evidence"] == evidence


NU = {**SHELL, "name": "odd", "argv": ["/opt/odd"]}
SCRIPT = {**SHELL, "name": "odd", "argv": ["/usr/bin/python3", "-E", "/opt/odd"]}
HELPER = {**VIM, "name": "odd-prompt", "group": 1}
JOB = {**VIM, "name": "bash"}


@pytest.mark.parametrize(
    ("processes", "shell", "detail"),
    [
        # what our launch line became is a shell by any name, and so is what shares its group
        ([NU], "/opt/odd", "bare"),
        ([SCRIPT], "/opt/odd", "bare"),
        ([NU, HELPER], "/opt/odd", "bare"),
        ([SHELL, HELPER], "/bin/bash", "bare"),
        ([NU, JOB], "/opt/odd", "bare"),
        # what a person runs there never is
        ([NU, VIM], "/opt/odd", "program"),
        ([NU, HELPER, VIM], "/opt/odd", "program"),
        ([SHELL, {**VIM, "state": "T"}], "/bin/bash", "program"),
        ([{**VIM, "group": 1}], "/opt/odd", "program"),  # by exec
        ([{**VIM, "group": 1, "argv": ["/opt/odd", "-c", "vim"]}], "/opt/odd", "program"),
        ([{**NU, "argv": ["/opt/odd", "-c", "vim; true"]}, HELPER], "/opt/odd", "program"),
        ([{**NU, "name": "pwsh"}, HELPER], "/opt/odd", "program"),  # it gives a program no group
        # in another's pane the names tell
        ([NU], None, "program"),
        ([SHELL, HELPER], None, "program"),
        ([{**SHELL, "name": "nu"}, {**VIM, "name": "gitstatusd-linu"}], None, "bare"),
    ],
)
def test_a_shell_and_what_runs_beside_it(processes, shell, detail, claude, defaults):
    found = health.judge(facts(processes=processes, shell=shell, **NO_AGENT), claude, defaults, NOW)
    assert (found["state"], found["detail"]) == ("shell", detail)


BOOLEAN = st.booleans()
AT = st.none() | st.floats(NOW - 100_000, NOW + 100_000)


@given(
    server=st.sampled_from(["up", "none", "silent", "elsewhere"]), dead=BOOLEAN, there=BOOLEAN,
    agent=st.sampled_from([None, "S", "T", "Z", "R"]), processes=BOOLEAN,
    status=st.sampled_from([None, "idle", "busy", "waiting", "new"]), turn=BOOLEAN,
    shown=st.none() | st.fixed_dictionaries({
        "composer": BOOLEAN, "draft": st.sampled_from(["", "x"]), "dialog": st.sampled_from([None, "trust", "other"]),
        "selected": st.none(), "busy": BOOLEAN, "said": st.sampled_from([None, "login", "limited", "api_error"]),
        "saying": st.just("resets 3pm"),
    }), under_way=BOOLEAN, launching=BOOLEAN, launched_at=AT, activity_at=AT, watched_since=AT,
)  # fmt: skip
def test_any_facts_give_a_state_and_only_proof_says_that_an_agent_is_gone(
    claude, defaults, server, dead, there, agent, processes, status, turn, shown, under_way, launching, launched_at,
    activity_at, watched_since,
):  # fmt: skip
    known = {
        "server": server, "pane": pane(pane_dead=dead) if there else None, "processes": [SHELL] if processes else [],
        "agent": {**AGENT, "state": agent} if agent else None, "registry": registry(status) if status else None,
        "turn": error() if turn else None, "screen": shown, "under_way": under_way, "launching": launching,
        "shell": None,
        "launched_at": launched_at, "activity_at": activity_at, "watched_since": watched_since,
    }  # fmt: skip
    seen = health.judge(known, claude, defaults, NOW)
    assert seen["state"] in STATES
    assert seen.keys() == {"state", "detail", "dialog", "reset_at", "has_agent", "evidence"}
    if server in ("silent", "elsewhere") or (server == "up" and there and not dead and not processes and not under_way):
        assert seen["state"] == "unknown"
    if seen["state"] in ("missing", "dead", "shell"):
        assert seen["evidence"]
    if seen["state"] in ("idle", "working"):  # may be typed into
        assert agent
        assert agent != "T"
        assert not (shown and shown["dialog"])
    assert (seen["dialog"] is not None) == (seen["state"] == "dialog")


# Two looks


def seen(state="idle", **changed):
    return {
        "state": state,
        "detail": None,
        "dialog": None,
        "reset_at": None,
        "has_agent": True,
        "evidence": ["x"],
        **changed,
    }


def before(state="idle", since=NOW - 60, stuck_since=None, looked_at=NOW - 60, detail=None):
    return {"state": state, "detail": detail, "since_at": since, "is_stuck": int(stuck_since is not None),
            "stuck_since": stuck_since, "last_health_check_at": looked_at}  # fmt: skip


@pytest.mark.parametrize(
    ("last", "since"),
    [
        (None, None),
        (before("working", NOW - 900, looked_at=None), None),
        (before("working", NOW - 900), NOW - 900),
        (before("hung", NOW - 900), None),  # it is looked at as hung
        (before("idle", NOW - 900), None),
        (before("working", NOW - 900, looked_at=NOW - 301), NOW),
        (before("hung", NOW - 900, looked_at=NOW - 301), NOW),  # it may have moved while nobody looked
    ],
)
def test_an_agent_at_work_is_watched_since(last, since, defaults, claude):
    assert health.watched_since(last, defaults, NOW) == since
    known = facts(registry=registry("busy"), activity_at=NOW - 9999, launched_at=None, watched_since=since)
    watched = since is not None and NOW - since < 1800
    assert health.judge(known, claude, defaults, NOW)["state"] == ("working" if watched else "hung")


@pytest.mark.parametrize(
    ("last", "state", "confirmed", "since"),
    [
        (None, "shell", False, NOW),
        (before("idle"), "shell", False, NOW),
        (before("shell", NOW - 19), "shell", False, NOW - 19),
        (before("shell", NOW - 20), "shell", True, NOW - 20),
        (before("shell", NOW - 60), "shell", True, NOW - 60),
        (before("shell", None), "shell", False, NOW),
        (before("shell", NOW + 500), "shell", False, NOW),  # a stamp ahead of the clock counts as now
        (before("shell", NOW - 900, looked_at=NOW - 300), "shell", True, NOW - 900),
        (before("shell", NOW - 900, looked_at=NOW - 301), "shell", False, NOW),  # nobody looked for too long
        (before("shell", NOW - 900, looked_at=NOW + 500), "shell", True, NOW - 900),
        (before("shell", NOW - 900, looked_at=None), "shell", False, NOW),
    ],
)
def test_a_second_look_confirms(last, state, confirmed, since, defaults):
    found = health.settle(seen(state), last, "work", None, defaults, NOW)
    assert (found["confirmed"], found["since_at"]) == (confirmed, since)


def test_a_shell_is_confirmed_with_what_runs_in_it(defaults):
    """A person's editor in one look and their bare prompt in the next are no agent that is gone."""
    for detail, confirmed in (("bare", True), ("program", False), ("stopped", False)):
        found = health.settle(seen("shell", detail="bare"), before("shell", detail=detail), "work", None, defaults, NOW)
        assert found["confirmed"] is confirmed, detail


@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize("wanted", ["work", "later", "nothing"])
def test_stuck_means_that_it_cannot_go_on_without_someone_acting(state, wanted, defaults):
    """login and limited are held, not stuck; detection counts from the first look."""
    acts = {"draft", "dialog", "api_error", "context_full", "hung", "shell", "dead", "missing"}
    found = health.settle(seen(state, has_agent=False), None, wanted, None, defaults, NOW)
    assert found["is_stuck"] is (state in acts and wanted != "nothing")
    assert found["stuck_s"] == (0 if found["is_stuck"] else None)


def test_a_shell_where_nobody_wants_an_agent_is_just_a_shell(defaults):
    assert not health.settle(seen("shell", has_agent=False), None, "nothing", None, defaults, NOW)["is_stuck"]
    assert health.settle(seen("dialog", has_agent=True), None, "nothing", None, defaults, NOW)["is_stuck"]


@pytest.mark.parametrize(
    ("since", "activity", "wanted", "stuck"),
    [
        (NOW - 1800, None, "work", True),
        (NOW - 1799, None, "work", False),
        (NOW - 9999, NOW - 1800, "work", True),
        (NOW - 9999, NOW - 60, "work", False),  # something moved lately
        (NOW - 9999, NOW + 9999, "work", False),
        (NOW - 9999, None, "later", False),  # something is on its way to it
        (NOW - 9999, None, "nothing", False),
    ],
)
def test_idle_is_stuck_only_after_its_time_and_with_work_to_do(since, activity, wanted, stuck, defaults):
    found = health.settle(seen("idle"), before("idle", since), wanted, activity, defaults, NOW)
    assert found["is_stuck"] is stuck


def test_how_long_it_is_stuck_counts_from_the_first_look_that_saw_it(defaults):
    found = health.settle(seen("draft"), before("shell", NOW - 60, stuck_since=NOW - 500), "work", None, defaults, NOW)
    assert found["stuck_s"] == 500
    found = health.settle(seen("draft"), before("draft", NOW - 60, stuck_since=NOW + 500), "work", None, defaults, NOW)
    assert found["stuck_s"] == 0  # a stamp ahead of the clock counts as now
    found = health.settle(seen("working"), before("draft", NOW - 60, stuck_since=NOW - 500), "work", None, defaults, NOW)
    assert found["stuck_s"] is None


def test_the_row_has_the_keys_of_the_contract(defaults):
    found = health.settle(seen(), None, "work", None, defaults, NOW)
    assert set(found) == {
        "state", "detail", "confirmed", "since_at", "is_stuck", "stuck_s", "has_agent", "last_activity_at", "evidence",
        "reset_at", "dialog",
    }  # fmt: skip


# The breaker


def looks(lost, kept, never=0, state="shell"):
    return (
        [{"had_agent": True, "state": state}] * lost
        + [{"had_agent": True, "state": "idle"}] * kept
        + [{"had_agent": False, "state": "missing"}] * never
    )


@pytest.mark.parametrize(
    ("lost", "kept", "never", "broken"),
    [
        (5, 4, 0, True),
        (5, 5, 0, False),
        (4, 0, 0, False),
        (5, 0, 0, True),
        (6, 5, 100, True),
        (0, 5, 100, False),
        (0, 0, 0, False),
    ],
)
@pytest.mark.parametrize("state", ["shell", "dead", "missing"])
def test_more_than_half_and_at_least_five_at_once_is_a_wrong_look(lost, kept, never, broken, state):
    assert health.mass_death(looks(lost, kept, never, state)) is broken


def test_other_states_are_no_death():
    assert not health.mass_death(looks(9, 0, state="unknown"))
    assert not health.mass_death(looks(9, 0, state="hung"))
