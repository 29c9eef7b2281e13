"""What a captured screen shows: pure text work by the patterns of an agent's profile.

The screen alone proves little (words in it may be an answer, a quotation, a file); what is sure is its
structure: the composer at the bottom, between two rules or around the cursor, or a menu in its place.
"""

from __future__ import annotations

import re

SGR = re.compile(r"\x1b\[([0-9;:]*)m")
OTHER = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b[()].|[\x0e\x0f]|\x1b.")
RULE = 10  # a rule has so many of its signs at least
MORE = "↑"  # there is more of the draft above
TAIL = 12  # a message about the last turn stands in so many lines above the composer


def cells(line: str) -> list[tuple[str, bool, bool]]:
    """The characters of a line of `capture-pane -e`, each with: is it dim, is it in reverse video."""
    found = []
    dim = reverse = False
    place = 0
    line = OTHER.sub(lambda m: m[0] if SGR.fullmatch(m[0]) else "", line)
    for match in [*SGR.finditer(line), None]:
        end = match.start() if match else len(line)
        found += [(char, dim, reverse) for char in line[place:end]]
        if match:
            dim, reverse = attributes(match[1], dim, reverse)
            place = match.end()
    return found


def attributes(codes: str, dim: bool, reverse: bool) -> tuple[bool, bool]:
    numbers = iter(codes.split(";"))
    for code in numbers:
        if code in ("38", "48", "58"):  # a colour: its numbers are no attributes
            for _ in range(1 if next(numbers, "") == "5" else 3):
                next(numbers, "")
        elif code in ("", "0"):
            dim = reverse = False
        elif code == "2":
            dim = True
        elif code == "22":
            dim = False
        elif code == "7":
            reverse = True
        elif code == "27":
            reverse = False
    return dim, reverse


def plain(line: str) -> str:
    return "".join(char for char, _, _ in cells(line)).rstrip()


def read(text: str, looks: dict, cursor_y: int | None = None) -> dict:
    """Read a screen (`capture-pane -p`, best with -e) by a profile's [screen] table, and by the line that the cursor
    is in, where that is known. Returns:

    composer  true when the composer is there to type into
    draft     what stands in it, "" when it is empty or shows only its dim placeholder
    dialog    the kind of the dialog that took the composer's place, else None
    selected  the dialog's item that Enter would choose, else None
    busy      true when the agent says that it works
    said      login, limited, api_error or context_full when the last lines above the composer say so, else None
    saying    those lines
    """
    rows = text.split("\n")
    lines = [plain(row) for row in rows]
    place = ruled(lines, looks) if "rule" in looks else open_composer(rows, lines, looks, cursor_y)
    found: dict = {"composer": place is not None, "draft": "", "dialog": None, "selected": None, "busy": False,
                   "said": None, "saying": ""}  # fmt: skip
    if place is None:
        return found | menu(lines, looks)
    top, bottom = place
    found["draft"] = draft(rows[top + 1 : bottom], looks)
    above = [line for line in lines[:top] if line.strip()][-TAIL:]
    below = lines[bottom + 1 :]
    found["busy"] = any_match(looks.get("busy", []), [*above[-4:], *below])
    found["saying"] = "\n".join(turn(above, looks))
    found["said"] = first_match(looks.get("said", {}), found["saying"])
    return found


def ruled(lines: list[str], looks: dict) -> tuple[int, int] | None:
    """The numbers of the two rules around the composer: the last two, a sign of it right below the first.

    A rule may hold a few words; of a draft too tall for the screen it says that there is more above.
    """
    rules = [number for number, line in enumerate(lines) if is_rule(line, looks["rule"])]
    if len(rules) < 2:
        return None
    top, bottom = rules[-2:]
    begins = bottom > top + 1 and (lines[top + 1].startswith(signs(looks)) or MORE in lines[top])
    return (top, bottom) if begins else None


def open_composer(rows: list[str], lines: list[str], looks: dict, cursor_y: int | None) -> tuple[int, int] | None:
    """The numbers of the lines before and after a composer without rules: it begins with the last sign that is not dim
    (prompts of earlier turns are) at or above the cursor, and ends with the blank line below the cursor, or above the
    foot of the screen. None while a menu's foot is the last thing on the screen."""
    shown = [number for number, line in enumerate(lines) if line.strip()]
    if not shown or any_match(looks.get("menu", []), [lines[shown[-1]]]):
        return None
    last = shown[-1] if cursor_y is None else cursor_y
    starts = [
        number for number in range(min(last + 1, len(rows)))
        if lines[number].startswith(signs(looks)) and not next(iter(cells(rows[number])))[1]
    ]  # fmt: skip
    if not starts or is_menu(lines[starts[-1] :], looks):
        return None
    blank = [number for number in range(starts[-1] + 1, len(lines)) if not lines[number].strip()]
    if cursor_y is None:
        ends = [number for number in blank if number < last][-1:]
    else:
        ends = [number for number in blank if number > cursor_y][:1]
    return starts[-1] - 1, ends[0] if ends else shown[-1] + 1


def is_menu(lines: list[str], looks: dict) -> bool:
    """Whether items stand one below the other, the first of them where a composer would begin."""
    return "item" in looks and all(re.search(looks["item"], line) for line in [line for line in lines if line.strip()][:2])


def is_rule(line: str, sign: str) -> bool:
    return line.startswith(sign * 3) and line.count(sign) >= max(RULE, len(line) // 2)


def signs(looks: dict) -> tuple[str, ...]:
    """What a composer may begin with: the prompt sign, or the sign of its shell mode, which is part of the draft."""
    return (looks["prompt"], looks["shell"]) if "shell" in looks else (looks["prompt"],)


def draft(rows: list[str], looks: dict) -> str:
    """The composer's text. A placeholder is dim but for its first character, which the cursor shows in reverse."""
    parts = [cells(row) for row in rows]
    if "rule" not in looks:  # an arrow at the right edge says that there is more above
        parts[0] = [cell for cell in parts[0] if not (cell[0] == MORE and cell[1])]
    if "".join(char for char, _, _ in parts[0]).startswith(looks["prompt"]):
        parts[0] = parts[0][len(looks["prompt"]) :]
    typed = [cell for part in parts for cell in part if cell[0].strip()]
    if (
        typed
        and all(dim or (reverse and number == 0) for number, (_, dim, reverse) in enumerate(typed))
        and any(dim for _, dim, _ in typed)
    ):
        return ""
    return "\n".join("".join(char for char, _, _ in part).strip() for part in parts).strip()


def turn(above: list[str], looks: dict) -> list[str]:
    """The lines since the last prompt: what an earlier turn said no longer counts."""
    for number in range(len(above) - 1, -1, -1):
        if above[number].startswith(looks["prompt"]):
            return above[number + 1 :]
    return above


def menu(lines: list[str], looks: dict) -> dict:
    """A dialog in place of the composer: its kind and the item that is selected."""
    shown = [line for line in lines if line.strip()]
    if not any_match(looks.get("menu", []), shown[-3:]):
        return {}
    kind = first_match(looks.get("dialog", {}), "\n".join(shown[-25:]))
    rules = [number for number, line in enumerate(shown) if "rule" in looks and is_rule(line, looks["rule"])]
    below = shown[rules[-1] :] if rules else shown  # above it stand the prompts of earlier turns
    chosen = [line.strip() for line in below if line.strip().startswith(looks["cursor"])]
    return {"dialog": kind or "other", "selected": chosen[-1].removeprefix(looks["cursor"]).strip() if chosen else None}


def any_match(patterns: list[str], lines: list[str]) -> bool:
    return any(re.search(pattern, line) for pattern in patterns for line in lines)


def first_match(table: dict[str, list[str]], text: str) -> str | None:
    """The first key one of whose patterns is found in text."""
    for key, patterns in table.items():
        if any(re.search(pattern, text, re.I | re.M) for pattern in patterns):
            return key
    return None
