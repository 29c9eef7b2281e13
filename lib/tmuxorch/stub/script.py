"""The script, in the place of a model: one step a line, taken from a file or from the prompt."""

import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

NUMBER, OPTIONAL_NUMBER, TEXT, ANY = "number", "optional number", "text", "any"
VERBS = {
    "work": NUMBER, "say": TEXT, "write": TEXT, "commit": ANY, "run": TEXT, "background": TEXT, "ask": ANY, "dialog": TEXT,
    "login-lost": ANY, "limit": NUMBER, "error": NUMBER, "retry": NUMBER, "context-full": ANY, "swallow-enter": ANY,
    "draft": TEXT, "hang": ANY, "deaf": NUMBER, "crash": OPTIONAL_NUMBER, "kill": ANY, "kill-pane": ANY, "exit": ANY,
    "done": ANY, "finish": ANY, "loop": ANY,
}  # fmt: skip
DEFAULT = ["work 2", "commit", "done"]  # what an agent does with a spec that holds no script
SPEC_BYTES = 1 << 20

_BLOCK = re.compile(r"^[ \t]*```stub[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"[^\s'\"`()<>\[\],;]+")


@dataclass
class Progress:
    """Where a conversation stands in its script; kept on disk for `--resume`."""

    steps: list[str] = field(default_factory=list)
    at: int = 0
    context_full: bool = False

    @property
    def under_way(self) -> bool:
        return self.at < len(self.steps)


def parse(text: str) -> list[str]:
    """The steps of a script, one a line; ValueError names the first line that is none."""
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        step = line.strip()
        if step and not step.startswith("#"):
            fault = _fault(step)
            if fault:
                raise ValueError(f"stub script, line {number}: {fault}")
            steps.append(step)
    return steps


def split(step: str) -> tuple[str, str]:
    verb, _, argument = step.partition(" ")
    return verb, argument.strip()


def _fault(step: str) -> str:
    verb, argument = split(step)
    if verb == "maybe":
        chance, inner = split(argument)
        return _fault(inner) if _is_number(chance) else "maybe needs a probability and a step"
    if verb not in VERBS:
        return f"unknown step '{verb}'"
    needs = VERBS[verb]
    if needs == TEXT and not argument:
        return f"{verb} needs a text"
    if needs == NUMBER or (needs == OPTIONAL_NUMBER and argument):
        return "" if _is_number(argument) else f"{verb} needs a number"
    return ""


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?|\.\d+", text) is not None


def resolve(step: str, at: int, seed: int) -> tuple[str, str] | None:
    """The verb and argument to act on; None where a `maybe` says no. The same seed and place decide alike."""
    verb, argument = split(step)
    while verb == "maybe":
        chance, inner = split(argument)
        if random.Random(f"{seed}:{at}:{inner}").random() >= float(chance):
            return None
        verb, argument = split(inner)
    return verb, argument


def read_spec(path: str) -> str | None:
    """The text of a file that a prompt names, None if there is none to read."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(SPEC_BYTES)
    except (OSError, ValueError):
        return None


def block(text: str) -> str | None:
    match = _BLOCK.search(text + "\n")
    return match.group(1) if match else None


def again(progress: Progress) -> Progress:
    """What a conversation does that is given its own spec again: it goes on, or says again that it is done."""
    if progress.under_way or "done" not in (verbs := [split(step)[0] for step in progress.steps]):
        return progress
    return replace(progress, at=len(verbs) - 1 - verbs[::-1].index("done"))


def choose(prompt: str, progress: Progress, read: Callable[[str], str | None] = read_spec) -> Progress:
    """The script that goes on after this prompt: a new one that it brings, else the one under way."""
    text, named = block(prompt), False
    for word in _PATH.findall(prompt) if text is None else ():
        if "/" in word or "." in word:
            content = read(word) or read(word.rstrip(".:!?"))
            named = named or content is not None
            text = block(content or "")
        if text is not None:
            break
    if text is not None:
        steps = parse(text)
        if steps != progress.steps or (not named and not progress.under_way):
            return replace(progress, steps=steps, at=0)
        return again(progress)  # its own spec (a recovery briefing) is no new task
    return replace(progress, steps=list(DEFAULT), at=0) if named and not progress.under_way else progress
