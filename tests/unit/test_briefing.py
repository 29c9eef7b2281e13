"""briefing: what an agent is told; the packaged texts for every role, and the words around odd names."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import briefing, config, project
from tmuxorch.errors import Error

ROLES = sorted(project.WINDOWS)
FACTS = {"commits": [], "open": 0, "state": None, "now": 1_700_000_000.0}


def row(**changed):
    known = {
        "id": 7, "name": "Shop", "roles": "developer", "project_path": "/src/shop", "spec_path": "/src/shop/spec.md",
        "verify_command": None,
    }  # fmt: skip
    return {**known, **changed}


def compose(settings, kind, role, known=None, facts=None):
    whole, part, source = settings.briefing(kind, role)
    values = briefing.values(known or row(), role, facts or FACTS)
    return briefing.fill(whole, {**values, "role_text": briefing.fill(part, values, "part")}, source)


# The packaged texts


def test_what_an_agent_has_forgotten_is_repeated(defaults):
    text = compose(defaults, "recovery", "developer", facts={**FACTS, "forgotten": ["mend\nthe {roof} " + "x" * 5000, "b"]})
    assert "- You were told this just before, and may not remember it:\n  mend\n  the {roof} xxx" in text
    assert text.count("x") < 2100 and " […]\n" in text
    assert text.count("may not remember it") == 2
    assert "remember" not in compose(defaults, "recovery", "developer")


@pytest.mark.parametrize("kind", briefing.KINDS)
@pytest.mark.parametrize("role", [*ROLES, "unheard_of"])
def test_every_role_has_both_briefings(kind, role, defaults):
    whole, part, source = defaults.briefing(kind, role)
    assert part
    assert os.path.basename(source) == f"{kind}.md"
    text = compose(defaults, kind, role)
    assert "{" not in text
    for word in (role, "Shop", "7", "/src/shop", "/src/shop/spec.md", "tmo-done", "tmo-send"):
        assert word in text


@pytest.mark.parametrize("kind", briefing.KINDS)
def test_each_of_the_fifteen_roles_has_words_of_its_own(kind, defaults):
    parts = {role: defaults.briefing(kind, role)[1] for role in [*ROLES, "unheard_of"]}
    assert len(set(parts.values())) == 16


def test_a_recovery_says_what_happened_and_what_was_done(defaults):
    facts = {"commits": ["abc123 one (2 hours ago)", "def456 two"], "open": 3, "state": "dead", "now": 1_700_000_000.0}
    text = compose(defaults, "recovery", "developer", facts=facts)
    for word in ("Your program had ended.", "abc123 one (2 hours ago)", "def456 two", "3"):
        assert word in text


@pytest.mark.parametrize("state", ["shell", "dead", "missing", "hung", "login", "limited"])
def test_every_state_that_an_agent_is_brought_back_from_has_its_words(state):
    said = briefing.values(row(), "developer", {**FACTS, "state": state})["what_happened"]
    assert said == briefing.HAPPENED[state] != briefing.values(row(), "developer", FACTS)["what_happened"]


# Values


@pytest.mark.parametrize(
    ("key", "known", "role", "value"),
    [
        ("team", row(), "developer", "you alone"),
        ("team", row(roles="orchestrator,developer,tester"), "developer", "orchestrator, tester"),
        ("verify", row(verify_command="make test"), "developer", "What you deliver is checked with: make test."),
        ("verify", row(), "developer", "No check command was given."),
        ("name", row(name="two\nlines  here"), "developer", "two lines here"),
        ("directory", row(project_path=None), "developer", "$''"),
        ("open_messages", row(), "developer", "none"),
        ("commits", row(), "developer", "  none yet"),
        ("project_id", row(), "developer", 7),
    ],
)
def test_values(key, known, role, value):
    assert briefing.values(known, role, FACTS)[key] == value


def test_fill_puts_values_in_and_looks_into_none_of_them():
    values = {"a": "{b} {unknown} #(touch x) $(x)", "b": 2}
    assert briefing.fill("{a} and {b}", values, "x") == "{b} {unknown} #(touch x) $(x) and 2"


def test_an_unknown_placeholder_is_named_with_its_file():
    with pytest.raises(Error, match=r"briefing 'mine.md': unknown placeholder '\{colour\}'"):
        briefing.fill("{colour}", {"a": 1}, "mine.md")


@pytest.mark.parametrize("text", ["{}", "{ a }", "{A}", "{1}", 'say {"json": 1}', "a { b", "${HOME}"])
def test_other_braces_stay(text):
    assert briefing.fill(text, {}, "x") == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_hostile_name_never_becomes_a_placeholder_or_a_second_line(name, command):
    found = briefing.values(row(name=name, verify_command=command), "developer", FACTS)
    assert len(found["name"].splitlines()) <= 1
    assert len(found["verify"].splitlines()) == 1
    assert briefing.fill("<{name}>", found, "x") == f"<{found['name']}>"


# Paths


@pytest.mark.parametrize("name", ["/src/shop", "/a b/c", "/a@b+c=d~e#f", "/über/日本", "/x,y:z;w"])
def test_a_plain_path_stays_as_it_is(name):
    assert briefing.path(name) == name


NAMES = [
    "/it's", '/say "x"', "/back\\slash", "/new\nline", "/tab\there", "/$(touch x)", "/`touch x`", "/a'\\''b", "/$HOME",
    "/!x", "/*", "/ret\rurn", "/(x)", "/{a,b}", "/\\n",
]  # fmt: skip


def test_an_odd_path_is_given_as_a_shell_would_take_it(tmp_path):
    script = "".join(f"printf '%s\\0' {briefing.path(name)}\n" for name in NAMES)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=20, check=True)
    assert done.stdout.decode().split("\0")[:-1] == NAMES
    assert not list(tmp_path.iterdir())
    assert all(len(briefing.path(name).splitlines()) == 1 for name in NAMES)


# The user's own


def test_the_users_own_briefings_go_before_the_packaged_ones(tmp_path):
    own = tmp_path / "briefings"
    (own / "start").mkdir(parents=True)
    (tmp_path / "config.toml").write_text("")
    settings = config.load({"HOME": "/nowhere", "TMO_CONFIG": str(tmp_path / "config.toml")})
    (own / "start" / "tester.md").write_text("Test it twice, {role}.\n")
    assert "Test it twice, tester." in compose(settings, "start", "tester")
    assert "Test it twice" not in compose(settings, "recovery", "tester")
    (own / "start.md").write_text("Only {role_text}")
    assert compose(settings, "start", "tester") == "Only Test it twice, tester."
    assert settings.briefing("start", "tester")[2] == str(own / "start.md")
    (own / "start" / "default.md").write_text("Do something.")
    assert settings.briefing("start", "unheard_of")[1] == "Do something."
    assert settings.briefing("start", "developer")[1] != "Do something."  # its packaged part is closer than a default
