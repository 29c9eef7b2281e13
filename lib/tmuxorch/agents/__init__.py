"""What is known of the agent programs: their profiles (TOML), and the files that they leave behind.

The profile of an agent is the packaged NAME.toml with the user's own agents/NAME.toml laid over it.
"""

from __future__ import annotations

import json
import os
import re
import uuid

from ..config import AGENT, NAMES, Config, fits, read_toml
from ..errors import Error

# The shapes of a profile's values, by dotted key: of what every profile has, and of all that one may have.
NEEDED: dict = {
    "title": str, "command": list[str], "home.env": str, "home.default": str, "process.names": list[str],
    "launch.new": list[str], "launch.resume": list[str], "launch.hooks": list[str], "launch.skip_permissions": list[str],
    "login.status": list[str], "login.config": str, "login.credentials": list[str], "login.environment": list[str],
    "login.mend": str, "login.trust.key": str, "login.trust.value": str | bool, "traces": dict[str, str],
    "compose.submit": str, "compose.command": str, "compose.compact": str, "errors.login": list[str],
    "errors.limited": list[str], "errors.context_full": list[str], "screen.prompt": str, "screen.cursor": str,
    "screen.paste": str,
}  # fmt: skip
SHAPES: dict = NEEDED | AGENT | {
    "launch.root_needs": str, "login.status_since": list[int], "login.legacy": list[str], "login.legacy_before": list[int],
    "login.logged_in": str, "login.logged_out": str, "login.config_in_home": bool, "login.trust.within": str,
    "login.onboarding": str, "login.probe": list[str], "login.probe_env": dict[str, str], "login.rejected": list[str],
    "login.unasked": list[tuple[str, str, object]], "compose.blank_after": str, "screen.rule": str, "screen.shell": str,
    "screen.folds": dict[str, int], "screen.busy": list[str], "screen.item": str, "screen.menu": list[str],
    "screen.dialog": dict[str, list[str]], "screen.answer": dict[str, str], "screen.said": dict[str, list[str]],
}  # fmt: skip
# Those that hold regular expressions, and the states that words on the screen may tell.
PATTERNS = ("compose.command", "compose.blank_after", "errors.limited", "errors.context_full", "login.logged_in",
            "login.logged_out", "login.rejected", "screen.paste", "screen.item", "screen.busy", "screen.menu",
            "screen.dialog", "screen.said", "screen.answer")  # fmt: skip
SAID = ("login", "limited", "api_error", "context_full")
HERE = os.path.dirname(os.path.realpath(__file__))
INTERPRETERS = ("python", "node")  # of agents that are scripts


def names(config: Config) -> list[str]:
    """The agents that there is a profile of."""
    found = set()
    for folder in (HERE, os.path.join(config.dir, "agents")):
        if os.path.isdir(folder):
            found |= {name.removesuffix(".toml") for name in os.listdir(folder) if name.endswith(".toml")}
    return sorted(found)


def profile(config: Config, name: str) -> dict:
    """An agent's profile, the user's settings of [agents.NAME] included. Raises Error when there is none, or when it is
    not one that can be worked with."""
    values: dict = {}
    for folder in (HERE, os.path.join(config.dir, "agents")):
        path = os.path.join(folder, f"{name}.toml")
        if re.fullmatch(r"[\w-]+", name) and os.path.exists(path):
            overlay(values, read_toml(path, "profile"))
            if folder != HERE and (fault := flaw(values)):  # a packaged one is tried by a test
                raise Error(f"profile '{path}' {fault}")
    if not values:
        raise Error(f"no profile of agent '{name}' (there are {', '.join(names(config))})")
    own = config.agent(name)
    return {"args": [], "env": {}, "skip_permissions": False, **values, **own, "name": name}


def overlay(values: dict, more: dict) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            overlay(values[key], value)
        else:
            values[key] = value


def flaw(values: dict) -> str | None:
    """What is wrong with a profile, None when nothing is. What is not seen here stops the work on all agents later."""
    return wrong_shape(values) or wrong_pattern(values)


def wrong_shape(values: dict) -> str | None:
    for key, shape in SHAPES.items():
        found = value_at(values, key)
        if found is None and key in NEEDED:
            return f"lacks {key}"
        if found is not None and not fits(found, shape):
            return f"should have {NAMES[shape]} in {key}"
    if not values["command"]:
        return "should not have an empty command"
    strange = next((state for state in values["screen"].get("said", {}) if state not in SAID), None)
    return f"has screen.said.{strange}, which is no state that is told so" if strange else None


def wrong_pattern(values: dict) -> str | None:
    for key in PATTERNS:
        for pattern in leaves(value_at(values, key)):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                return f"has a pattern in {key} that is none: {error}"
    counts = re.compile(values["screen"]["paste"]).groupindex.keys() & {"lines", "chars"}
    return None if counts else "should have a group lines or chars in screen.paste"


def value_at(values: dict, key: str) -> object:
    """The value at a dotted key, None when there is none."""
    found: object = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def leaves(value: object) -> list:
    """All that a table or an array holds, or the one value; nothing of None."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [] if value is None else [value]


def surroundings(profile: dict, environ: dict) -> dict:
    """The environment of an agent that is launched from this one: what its settings name goes first."""
    return {**environ, **profile["env"]}


def home(profile: dict, environ: dict) -> str:
    """Where this agent keeps its registry and transcripts."""
    where, environ = profile["home"], surroundings(profile, environ)
    path = environ.get(where["env"]) or where["default"].replace("~", environ.get("HOME") or "/", 1)
    return os.path.realpath(path)


def find(profile: dict, processes: list[dict]) -> dict | None:
    """The agent among the processes of a pane."""
    return next((process for process in processes if is_agent(profile, process)), None)


def is_agent(profile: dict, process: dict) -> bool:
    """By the base name of its executable, of argv[0], or of a script: argv[1], or past an interpreter's options."""
    argv = process["argv"]
    rest = argv[1:]
    if argv and argv[0].rpartition("/")[2].startswith(INTERPRETERS):  # pipx writes `#!…/python -E`
        rest = [word for word in rest if not word.startswith("-")]
    words = (process["exe"].removesuffix(" (deleted)"), *argv[:1], *rest[:1])
    names = profile["process"]["names"]
    return process["state"] != "Z" and any(word.rpartition("/")[2] in names for word in words)


def new_conversation(profile: dict) -> str | None:
    """The id of a conversation to come; None for an agent that chooses its own."""
    return new_id() if any("{conversation}" in word for word in profile["launch"]["new"]) else None


def argv(profile: dict, hook: str, conversation: str | None, resume: bool = False) -> list[str]:
    """The words that launch the agent. `hook` is the path of tmo-hook."""
    launch = profile["launch"]
    settings = {"hooks": {name: [{"hooks": [{"type": "command", "command": quote(hook)}]}] for name in launch["hooks"]}}
    words = [*launch["resume" if resume else "new"], *profile["args"]]
    if profile["skip_permissions"]:
        words += launch["skip_permissions"]
    values = {"conversation": conversation, "settings": json.dumps(settings)}
    return [*profile["command"], *[fill(word, values) for word in words]]


def quote(word: str) -> str:
    """One word of a shell line."""
    return "'" + word.replace("'", "'\\''") + "'"


def fill(text: str, values: dict) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), text)


def new_id() -> str:
    return str(uuid.uuid4())
