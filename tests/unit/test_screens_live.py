"""The screens that tests/agents/test_states.py recorded from the real programs, in each renderer and size: judged by the
screen alone, whole and with other wording around."""

import functools
import glob
import os
import re

import pytest
from tmuxorch import agents, config, health, screen

SCREENS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "screens")
PATHS = sorted(glob.glob(f"{SCREENS}/*-live/*.ansi"))
NOW = 1_700_000_000.0
STATES = ("idle", "working", "draft", "dialog", "login", "limited", "api_error", "context_full", "shell")


def truth(path):
    """(agent, state) as the program was brought into it."""
    agent = os.path.basename(os.path.dirname(path)).partition("-")[0]
    name = os.path.basename(path).replace("-", "_")
    return agent, next(state for state in STATES if name.startswith(state))


@functools.cache
def profile(agent):
    return agents.profile(config.load({"HOME": "/nowhere"}), agent)


@functools.cache
def recorded(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def judged(name, text, **facts):
    shown = screen.read(text, profile(name)["screen"])
    known = {
        "server": "up", "pane": {"pane_dead": False}, "agent": {"state": "S"}, "shell": None,
        "processes": [{"name": "bash", "state": "S", "group": 1, "argv": ["bash"]}],
        "registry": None, "turn": None, "turning": None, "untold": False, "screen": shown, "launching": False,
        "under_way": False, "launched_at": None, "activity_at": None, "watched_since": None, **facts,
    }  # fmt: skip
    return health.judge(known, profile(name), config.load({"HOME": "/nowhere"}), NOW)


def allowed(agent, state):
    """What a screen alone may tell. Codex shows no sign of work while it writes: its rollout tells."""
    return {state, "unknown"} | ({"idle"} if (agent, state) == ("codex", "working") else set())


def ids(path):
    return "/".join(path.split("/")[-2:])


def test_there_are_screens_of_every_state():
    found = {truth(path) for path in PATHS}
    assert len(PATHS) > 200
    for agent in ("claude", "codex"):
        assert {state for name, state in found if name == agent} == set(STATES)


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_a_recorded_screen_is_judged_as_what_the_program_did(path):
    agent, state = truth(path)
    if state == "shell":  # it may still show all of the agent: only the processes tell
        assert judged(agent, recorded(path), agent=None)["state"] == "shell"
        return
    verdict = judged(agent, recorded(path))
    assert verdict["state"] in allowed(agent, state) - {"unknown"}
    if state == "dialog":
        assert verdict["dialog"] in os.path.basename(path)


def punctuation(text):
    return re.sub(r"[.,;:!?·'’()]", "¸", text)


def no_punctuation(text):
    return re.sub(r"[.,;:!?·'’]", "", text)


def other_glyphs(text):
    return re.sub(r"^(\s*)[^\w\s❯›●⎿─!$](?= )", r"\1✿", text)


def other_numbers(text):
    return re.sub(r"\d+", "9", text)


def upper_words(text):
    return re.sub(r"(?<=[a-z] )[a-z]+(?= [a-z])", lambda found: found[0].capitalize(), text)


@pytest.mark.parametrize("change", [punctuation, no_punctuation, other_glyphs, other_numbers, upper_words])
@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_another_wording_never_makes_it_another_state(path, change):
    """Perhaps it is not told any more what the screen shows, but nothing wrong is told."""
    agent, state = truth(path)
    if state == "shell":
        return
    parts = re.split(r"(\x1b\[[0-9;:]*m|\n)", recorded(path))
    text = "".join(part if number % 2 else change(part) for number, part in enumerate(parts))
    found = judged(agent, text)["state"]
    if found == "draft" and "working-draft" in path:
        return  # that is there too
    wrong = {"idle", "working", "draft"} if state in ("dialog", "login") else set(STATES) - allowed(agent, state) - {"idle"}
    assert found not in wrong, found
