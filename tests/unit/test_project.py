"""project: names, roles, sizes, and which one is due."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tmuxorch import project

ROLES = [  # the fifteen roles and their windows
    ("orchestrator", "Orchestrator"), ("project_manager", "Project-Manager"), ("developer", "Developer"),
    ("tester", "Tester"), ("testrunner", "TestRunner"), ("researcher", "Researcher"), ("documentation", "Documentation"),
    ("devops", "DevOps"), ("code_reviewer", "Code-Reviewer"), ("logtracker", "LogTracker"), ("sysadmin", "SysAdmin"),
    ("securityops", "SecurityOps"), ("networkops", "NetworkOps"), ("monitoringops", "MonitoringOps"),
    ("databaseops", "DatabaseOps"),
]  # fmt: skip
HOSTILE = [
    "#(touch x)",
    "#{pid}",
    "a;b;",
    "$(x)",
    "`x`",
    "-t foo",
    "=x",
    "a:b.c",
    "%1",
    "a\nb",
    "a'b\"c",
    "..",
    "",
    " ",
    "日本",
    "\x1b[31m",
]


# Names: [a-z0-9_-], at most 40 characters


@given(st.text(max_size=120))
@example("x" * 39 + "-y")
@example("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}")
@example("-_-")
def test_a_slug_is_safe_and_stays_as_it_is(name):
    found = project.slug(name)
    assert re.fullmatch(r"[a-z0-9_-]{1,40}", found)
    assert not found.startswith("-")
    assert not found.endswith("-")
    assert project.slug(found) == found


@given(st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=40))
def test_a_safe_name_is_its_own_slug(name):
    assert project.slug(name) == name


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Shop Front", "shop-front"),
        ("a--b", "a-b"),
        ("#(touch x)", "touch-x"),
        ("--x--", "x"),
        ("", "project"),
        ("日本", "project"),
    ],
)
def test_slug(name, slug):
    assert project.slug(name) == slug


@pytest.mark.parametrize("name", HOSTILE)
def test_a_session_name_is_safe_and_names_its_project(name):
    found = project.session_name({"name": name, "id": 7})
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_-]*-7", found)


def test_sessions_of_different_projects_differ():
    names = {project.session_name({"name": name, "id": number}) for number, name in enumerate(HOSTILE * 2)}
    assert len(names) == 2 * len(HOSTILE)


# Roles


@pytest.mark.parametrize(("role", "window"), ROLES)
def test_a_role_has_its_window_and_is_found_by_it(role, window):
    assert project.window_name(role) == window
    assert project.role_key(window) == role
    assert project.role_key(role) == role
    assert project.role_key(window.upper()) == role


def test_there_are_fifteen_roles():
    assert dict(ROLES) == project.WINDOWS


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("pm", "project_manager"), ("PM", "project_manager"), ("dev", "developer"), ("reviewer", "code_reviewer"),
        ("documentation_writer", "documentation"), ("Project Manager", "project_manager"), ("UX Designer", "ux_designer"),
    ],
)  # fmt: skip
def test_role_key(name, role):
    assert project.role_key(name) == role


@given(st.text(max_size=60))
def test_any_role_is_stored_safely_and_stays_as_it_is(name):
    role = project.role_key(name)
    assert re.fullmatch(r"[a-z0-9_]+", role)
    assert project.role_key(role) == role


@pytest.mark.parametrize(
    ("roles", "lead"),
    [
        ("developer", "developer"),
        ("developer,tester", ""),
        ("developer,orchestrator", "orchestrator"),
        ("orchestrator", "orchestrator"),
    ],
)
def test_the_lead_is_the_orchestrator_else_the_only_agent(roles, lead):
    assert project.lead({"roles": roles}) == lead


# Sizes


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (None, "medium"),  # it cannot be read
        ("", "small"),
        ("size: large", "large"),
        ("# Shop\n\nSize: SMALL\n" + "word " * 9999, "small"),
        ("**Size:** xlarge", "xlarge"),
        ("- project size = x-large", "xlarge"),
        ("Project size: medium", "medium"),
        ("the size: large of it", "small"),  # in the middle of a line it states nothing
        ("size: enormous", "small"),
        ("word " * 599, "small"),
        ("word " * 600, "medium"),
        ("word " * 2999, "medium"),
        ("word " * 3000, "large"),
        ("word " * 8999, "large"),
        ("word " * 9000, "xlarge"),
        ("- a\n" * 9, "small"),  # 9 items and 18 words
        ("- a\n" * 10, "medium"),
        ("1. a\n2) b\n* c\n+ d\n" * 3, "medium"),
        ("-a\n1.a\n" * 50, "small"),  # no list items
        # effort, in the words of published plans
        ("**Total estimated effort: ~20 hours**", "medium"),
        ("Total estimated effort: **3 weeks** (can be done incrementally)", "large"),
        ("- **Total Estimated Effort**: 4-5 days to address all gaps", "medium"),
        ("**Total Estimated Effort**: ~363 hours (9+ weeks of full-time work)", "xlarge"),
        ("**Total estimated effort**: 9-14 hours across 3-4 implementation phases.", "small"),
        ("**Total effort: ~3h**", "small"),
        ("## Total Effort: ~10 hours (~1.5 days)", "small"),
        ("- Estimated Total Effort: 10-12 hours", "small"),
        ("**Total Estimated Timeline:** 24\u201331 Days", "xlarge"),
        ("| **Total Estimated Time** | **1.5-2 days** | |", "small"),
        ("**Total Estimate: 10-13 weeks for MVP**", "xlarge"),
        ("**Total estimate: 68\u201399 hours** (roughly 2\u20133 weeks)", "large"),
        ("> Total estimate: 22-34 days dispatch over 4-6 weeks calendar.", "xlarge"),
        ("**Estimated Effort**: 3 engineer-days", "small"),  # of whom?
        ("**Estimated effort**: S (< 2h)" + " word" * 600, "medium"),
        ("Estimated effort: 30 minutes to 1 hour" + " word" * 9999, "small"),
        ("- Estimated effort: 2 hours\n" * 5 + "\nTotal effort: 2 months\n", "xlarge"),
        ("size: small\nTotal effort: 3 months", "small"),
        ("the total effort: 3 months of it", "small"),  # in the middle of a line
        ("Total estimated LOC: 25000 days", "small"),
        ("\n" * 200_000, "small"),  # in linear time
    ],
)
def test_the_size_of_a_spec(spec, size):
    assert project.size_of(spec) == size


@given(st.text(max_size=300))
def test_any_spec_has_a_size(spec):
    assert project.size_of(spec) in project.SIZES


# What is due


def row(number, path=None, depends=None, agent="claude", batch=None, status="processing"):
    where = {"project_path": path or f"/p{number}", "status": status, "claimed_by": None, "claimed_until": None}
    return {"id": number, "depends_on": depends, "agent": agent, "batch_id": batch, **where}


def waiting(number, path=None, claimed_until=None):
    return {**row(number, path, status="authenticating"), "claimed_by": "h/1", "claimed_until": claimed_until}


ALL, NOW = {"observe": False, "enabled": 100}, 1000.0


def due(queued, running=(), holds=(), completed=(), limit=4, settings=ALL, wanted=None):
    found = project.next_due(
        list(queued), list(running), [{"name": name} for name in holds], set(completed), limit, settings, NOW, wanted
    )
    return found and found["id"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"queued": [row(1), row(2)]}, 1),  # they come in their order
        ({"queued": [row(2), row(1)]}, 2),
        ({"queued": []}, None),
        ({"queued": [row(1)], "running": [row(8), row(9)], "limit": 2}, None),
        ({"queued": [row(1)], "running": [row(8)], "limit": 2}, 1),
        ({"queued": [row(1)], "limit": 0}, None),
        ({"queued": [row(1)], "running": [row(8), waiting(9)], "limit": 2}, 1),  # what has no session takes no place
        ({"queued": [row(1)], "running": [row(8), row(9, status="initializing")], "limit": 2}, None),  # it may get one
        ({"queued": [row(1)], "running": [row(8), waiting(9, None, NOW + 9)], "limit": 2}, None),  # so may this, by a start
        ({"queued": [row(1)], "running": [row(8), waiting(9, None, NOW - 9)], "limit": 2}, 1),
        ({"queued": [row(1, "/same"), row(2)], "running": [waiting(9, "/same")]}, 2),
        ({"queued": [row(1, "/same"), row(2)], "running": [row(9, "/same")]}, 2),  # never two in one directory
        ({"queued": [row(1, depends="5"), row(2)]}, 2),
        ({"queued": [row(1, depends="5,6")], "completed": {5}}, None),
        ({"queued": [row(1, depends="5,6")], "completed": {5, 6}}, 1),
        ({"queued": [row(1, depends="5;6"), row(2)], "completed": {5, 6}}, 2),  # no number is never met
        ({"queued": [row(1)], "holds": ["all"]}, None),
        ({"queued": [row(1), row(2, agent="stub")], "holds": ["agent/claude"]}, 2),
        ({"queued": [row(1, batch="b"), row(2)], "holds": ["batch/b"]}, 2),
        ({"queued": [row(1), row(2)], "holds": ["project/1"]}, 2),
        ({"queued": [row(11)], "holds": ["project/1"]}, 11),
        ({"queued": [row(1)], "holds": ["agent/claude-2", "batch/None2", "project/12"]}, 1),
        ({"queued": [row(1), row(2)], "wanted": {2}}, 2),
        ({"queued": [row(1)], "wanted": {2}}, None),
        ({"queued": [row(1)], "settings": {"observe": True, "enabled": 100}}, None),
        ({"queued": [row(1)], "settings": {"observe": False, "enabled": 0}}, None),
    ],
)
def test_next_due(given, found):
    assert due(**given) == found


def test_a_hold_on_a_batch_does_not_hold_what_has_none():
    assert project.held(row(1), [{"name": "batch/x"}]) is None


def test_held_names_the_hold():
    assert project.held(row(1), [{"name": "project/2"}, {"name": "all"}]) == {"name": "all"}


@given(st.integers(1, 10**9), st.integers(0, 100), st.integers(0, 100))
def test_the_rollout_is_stable_and_only_grows(number, one, two):
    less, more = sorted((one, two))
    chosen = project.in_rollout(number, {"observe": False, "enabled": less})
    assert chosen is project.in_rollout(number, {"observe": False, "enabled": less})
    assert not chosen or project.in_rollout(number, {"observe": False, "enabled": more})
    assert not project.in_rollout(number, {"observe": True, "enabled": 100})
    assert not project.in_rollout(number, {"observe": False, "enabled": 0})
    assert project.in_rollout(number, ALL)


def test_the_rollout_is_about_its_share():
    chosen = sum(project.in_rollout(number, {"observe": False, "enabled": 10}) for number in range(1, 2001))
    assert 120 < chosen < 280


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (None, []), ("", []), ("1", [1]), ("1,22,3", [1, 22, 3]), (" 1, 2,", [1, 2]),
        ("1;3", ["1;3"]), ("1,shop", [1, "shop"]), ("-1", ["-1"]), ("1.0", ["1.0"]), ("\u00b2", ["\u00b2"]),
    ],
)  # fmt: skip
def test_ids(text, ids):
    assert project.ids(text) == ids


@pytest.mark.parametrize(
    ("depends", "why"),
    [
        (None, None),
        ("1,2", None),
        ("1,3", "depends on 3, which failed"),
        ("4", "depends on 4, which was cancelled"),
        ("1;3", "depends on '1;3', which is no project's number"),
        ("1,99", "depends on 99, which is not there"),
    ],
)
def test_what_waits_for_ever(depends, why):
    statuses = {1: "completed", 2: "processing", 3: "failed", 4: "cancelled"}
    assert project.stranded(row(9, depends=depends), statuses) == why


@pytest.mark.parametrize(("path", "name"), [("/a/shop", "shop"), ("/a/shop/", "shop"), ("/", "root")])
def test_a_project_is_named_after_its_directory(path, name):
    assert project.window_of(path) == name
