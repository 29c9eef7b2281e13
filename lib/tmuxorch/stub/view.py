"""How the agent looks: a scene in, lines and a cursor's place out. Nothing here touches a terminal."""

import functools
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import NamedTuple

from .dialog import Dialog

NAME, VERSION = "Stub Agent", "1.0"
OFF, REVERSE, BOLD = "\x1b[0m", "\x1b[7m", "\x1b[1m"
GREY, RULE, BLUE, RED, YELLOW = (f"\x1b[38;5;{n}m" for n in (246, 244, 153, 211, 220))
SPIN, ECHO = "\x1b[38;5;174m", "\x1b[48;5;237m\x1b[38;5;231m"
GLYPHS = "·✢✳✶✻✽"
MODES = {
    "manual": "⏸ manual mode on", "plan": "⏸ plan mode on", "acceptEdits": "⏵⏵ accept edits on", "auto": "⏵⏵ auto mode on",
    "bypassPermissions": "⏵⏵ bypass permissions on", "dontAsk": "⏵⏵ don't ask on",
}  # fmt: skip
COMMANDS = {
    "/clear": "Start a new session with empty context", "/compact": "Clear the history but keep a summary of it",
    "/exit": "Exit the program", "/login": "Sign in again",
}  # fmt: skip


class Block(NamedTuple):
    """One finished piece of the conversation: prompt, say, error, api, note, tool, shell or command."""

    kind: str
    text: str
    detail: str = ""


class Frame(NamedTuple):
    lines: list[str]
    row: int
    col: int


@dataclass
class Scene:
    cwd: str
    mode: str
    blocks: tuple[Block, ...] = ()
    running: str = ""  # the tool call that is not finished
    spinner: str = ""
    queued: tuple[str, ...] = ()
    dialog: Dialog | None = None
    draft: str = ""
    at: int = 0
    pasted: bool = False
    place: str = ""  # "3/7" while going through the history
    ghost: str = ""
    hint: str = ""


def cells(text: str) -> int:
    return sum(map(_cell, text))


@functools.lru_cache(4096)
def _cell(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fold(text: str, width: int) -> list[str]:
    """Breaks at the width, as an editor does."""
    lines = []
    for line in text.split("\n"):
        start = used = 0
        for index, char in enumerate(line):
            if used + _cell(char) > width:
                lines.append(line[start:index])
                start, used = index, 0
            used += _cell(char)
        lines.append(line[start:])
    return lines


@functools.lru_cache(512)
def fit(line: str, width: int) -> str:
    """A finished line, cut where the screen ends; escape sequences take no room."""
    used = 0
    for match in re.finditer(r"\x1b\[[0-9;]*m|(.)", line):
        used += _cell(match[1]) if match[1] else 0
        if used > width:
            return line[: match.start()]
    return line


def wrap(text: str, width: int) -> list[str]:
    """Breaks between words where it can."""
    lines = []
    for line in text.split("\n"):
        current = ""
        for word in re.findall(r"\S+\s*|\s+", line):
            if current and cells(current + word.rstrip()) > width:
                lines.append(current.rstrip())
                current = ""
            *full, current = fold(current + word, width)
            lines += full
        lines.append(current.rstrip())
    return lines


def _hang(first: str, text: str, width: int) -> list[str]:
    lines = wrap(text, max(8, width - cells(first) - 2))
    return [(first if not index else " " * cells(first)) + line for index, line in enumerate(lines)]


@functools.lru_cache(512)
def _block_lines(block: Block, width: int) -> tuple[str, ...]:
    text, detail = printable(block.text), printable(block.detail)
    if block.kind in ("prompt", "shell"):
        glyph = "❯ " if block.kind == "prompt" else "! "
        lines = [ECHO + line for line in _hang(glyph, text, width)]
        lines += [GREY + line for line in _hang("  ⎿  ", detail, width)] if detail else []
    elif block.kind == "error":
        lines = [RED + line for line in _hang("  ⎿  ", text, width)]
    elif block.kind == "note":
        lines = [GREY + line for line in _hang("✻ ", text, width)]
    else:
        colour = YELLOW if block.kind == "api" else ""
        lines = [colour + line for line in _hang("● ", text, width)]
        lines += [GREY + line for line in _hang("  ⎿  ", detail, width)] if detail else []
    return tuple(lines if block.kind == "error" else ["", *lines])


def printable(text: str) -> str:
    """What a command printed must not steer our own terminal."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", " ", text)


def body(scene: Scene, width: int) -> list[str]:
    logo = ("▗▄▄▄▖", "▐█▟▙█▌", "▝▀▘▝▀▘")
    words = (
        f"{BOLD}{NAME}{OFF} {GREY}v{VERSION}",
        f"{GREY}scripted · no model, no network",
        GREY + scene.cwd[-width + 12 :],
    )
    lines = [f" {SPIN}{left:7}{OFF} {right}" for left, right in zip(logo, words, strict=True)] + [""]
    return [fit(line, width) for line in lines] + [line for block in scene.blocks for line in _block_lines(block, width)]


def live(scene: Scene, width: int, height: int) -> Frame:
    """The part that still changes: the running tool, the queue, the spinner, and the composer or dialog."""
    above: list[str] = []
    if scene.running:
        above += ["", *_hang("● ", scene.running, width), f"{GREY}  ⎿  {'Waiting' if scene.dialog else 'Running'}…"]
    for text in scene.queued:
        above += ["", *(GREY + line for line in _hang("❯ ", printable(text), width))]
    if scene.queued:
        above.append(f"{GREY}  ⎿  Queued · ctrl+x ctrl+s to send now")
    if scene.spinner and not scene.dialog:
        above += ["", SPIN + scene.spinner]
    low = dialog(scene.dialog, width) if scene.dialog else composer(scene, width, height)
    lines = above + [""] + low.lines
    skip = max(0, len(lines) - height)
    row = max(0, len(lines) - len(low.lines) + low.row - skip)
    return Frame([fit(line, width) for line in lines[skip:]], row, min(low.col, width - 1))


def fullscreen(scene: Scene, width: int, height: int) -> Frame:
    """Exactly `height` lines: the composer is at the bottom, a dialog right below the conversation."""
    low = live(scene, width, height)
    space = height - len(low.lines)
    if len(scene.blocks) > height:  # each has a line at least: the rest is out of sight
        scene = replace(scene, blocks=scene.blocks[-height:])
    above = ["", *body(scene, width)]
    if len(above) <= space:
        fill = [""] * (space - len(above))
        if scene.dialog:
            return Frame(above + low.lines + fill, len(above) + low.row, low.col)
        return Frame(above + fill + low.lines, space + low.row, low.col)
    return Frame(above[len(above) - space :] + low.lines, space + low.row, low.col)


def dialog(shown: Dialog, width: int) -> Frame:
    colour, lines = (YELLOW if shown.kind == "trust" else RED if shown.kind == "bypass" else BLUE), []
    for line in shown.head.split("\n"):
        text = colour + "─" * width if line == "─" else GREY + "╌" * width if line == "╌" else ""
        lines += [text] if text else [shown.margin + part for part in wrap(printable(line), width - 2)]
    row = 0
    for index, option in enumerate(shown.options):
        chosen, number = index == shown.selected, f"{index + 1}. " if shown.numbered else ""
        row = len(lines) if chosen else row
        mark = f"{shown.margin}{'❯' if chosen else ' '} {number}"
        lines += [(BLUE if chosen else "") + line for line in _hang(mark, option, width)]
    lines += ["", shown.margin + GREY + shown.foot]
    return Frame([fit(line, width) for line in lines], row, len(shown.margin))


def composer(scene: Scene, width: int, height: int) -> Frame:
    """Two rules with the text between them; a draft that is too tall shows its end only."""
    shell = scene.draft.startswith("!")
    draft, at = (scene.draft[1:], max(0, scene.at - 1)) if shell else (scene.draft, scene.at)
    rows = fold(printable(draft.replace("\r", "")), width - 4)
    before = fold(printable(draft[:at].replace("\r", "")), width - 4)
    row, col = len(before) - 1, cells(before[-1]) if not draft[:at].endswith("\r") else 0
    first = f"{RED}!{OFF}\xa0" if shell else f"{GREY if scene.spinner and not draft else ''}❯{OFF}\xa0"
    texts = [
        (first if not index else "  ") + _with_cursor(line, col if index == row else -1) for index, line in enumerate(rows)
    ]
    if not scene.draft and scene.ghost:
        texts = [f"{first}{REVERSE}{scene.ghost[0]}\x1b[0;2m{scene.ghost[1:]}"]
    most = max(3, height // 2 - 5)
    skip = min(max(0, len(texts) - most), row)
    label = f"↑ {skip} more" if skip else f"History {scene.place}" if scene.place else ""
    top = f"─── {label} ".ljust(width, "─") if label else "─" * width
    return Frame([RULE + top, *texts[skip : skip + most], RULE + "─" * width, *footer(scene)], 1 + row - skip, 2 + col)


def _with_cursor(line: str, col: int) -> str:
    if col < 0:
        return line
    index = next((i for i in range(len(line)) if cells(line[:i]) >= col), len(line))
    return f"{line[:index]}{REVERSE}{line[index : index + 1] or ' '}{OFF}{line[index + 1 :]}"


def footer(scene: Scene) -> list[str]:
    draft = scene.draft
    matches = [name for name in COMMANDS if draft.startswith("/") and name.startswith(draft)]
    if matches:
        return [("" if index else BLUE) + f"  {name:28}{COMMANDS[name]}" for index, name in enumerate(matches)]
    if scene.hint or scene.pasted or draft.startswith("!"):
        text = scene.hint or ("! for shell mode" if draft.startswith("!") else "paste again to expand")
        return [GREY + f"  {text}"]
    parts = [MODES[scene.mode] + ("" if scene.mode == "manual" else " (shift+tab to cycle)")]
    if not draft and scene.spinner:
        parts.append("esc to interrupt")
    elif not draft and scene.mode == "manual":
        parts.append("? for shortcuts")  # the other modes give the room to their own hint
    return [GREY + f"  {' · '.join(parts)}"]
