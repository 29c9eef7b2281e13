"""Rows as a table for people: which columns, in which words, how wide, in which colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

# The columns of each kind of row, by a key that only this kind has; any other row shows all its plain keys.
COLUMNS = {
    "check": ("check", "ok", "why", "fix"),
    "spec_path": ("id", "name", "status", "status_at", "size", "agent", "roles", "session_name", "error_message"),
    "pane_pid": ("project_id", "role", "target", "agent", "pane_command"),
    "applied": ("kind", "project_id", "from", "to", "applied", "reason"),
    "result": ("kind", "result", "old_id", "project_id", "from", "to", "session_name", "why"),
    "removed": ("kind", "project_id", "name", "status", "completed_at", "rows", "path", "removed"),
    "message_id": ("id", "at", "kind", "name", "project_id", "role", "source", "dest", "actor", "why"),
    "released_by": ("id", "name", "cause", "since_at", "until_at", "released_at", "actor", "why", "pilot"),
    "met": ("name", "value", "n", "bound", "target", "met"),
    "attempts": ("id", "target", "state", "evidence", "attempts", "duration_s", "reason"),
}
# What of a key that a command added is worth a column.
ADDED = {
    "auth": lambda auth: "ok" if auth["ok"] else "lacks " + ",".join(auth["missing"]) if auth["missing"] else "unknown",
    "health": lambda health: health_words(health),
    "grace": lambda grace: "over" if grace["expired"] else span(grace["left_s"]) + " left" if grace["left_s"] else "",
    "recovery": lambda recovery: "" if recovery["action"] == "none" else step_words(recovery),
    "completion": lambda completion: f"{completion['verdict']}: {'; '.join(completion['reasons'])}",
    "send": lambda send: send["state"],
    "notify": lambda notify: notify["state"] + (f": {notify['why']}" if notify["why"] else ""),
}
HEADS = {"status_at": "since"}
ANSWERS = ("ok", "met")  # keys whose null means that it cannot be told
TEXT = 60  # columns of a cell where no width is given
LEAST = 8  # no column is made narrower
WHOLE = {"fix"}  # what is to be typed is never cut, but goes on below

# The colour of a cell by its first word, in the columns that say how something is.
JUDGED = {*ADDED, *ANSWERS, "status", "state", "dest"}
COLOURS = {
    "32": ("ok", "yes", "completed", "working", "submitted", "accepted", "sent", "done"),
    "31": ("no", "failed", "lacks", "over", "hung", "dead", "missing", "shell", "refused", "expired", "typed",
           "needs_human"),
    "33": ("?", "unknown", "held", "waiting", "planned", "queued", "login", "limited", "draft", "dialog", "api_error",
           "context_full", "authenticating", "cancelled"),
}  # fmt: skip
COLOUR = {word: code for code, words in COLOURS.items() for word in words}
HEAD_CODE = "1"


def columns(row: dict) -> list[str]:
    plain = next((names for key, names in COLUMNS.items() if key in row), None)
    if plain is None:
        plain = tuple(key for key, value in row.items() if not isinstance(value, (dict, list)) and key not in ADDED)
    added = [key for key in row if key in ADDED] + ["error"] * ("error" in row)
    return [key for key in plain if key in row] + added


class Table:
    """One kind of rows. `add` gives the lines of the rows that came; the head goes before the first of them."""

    def __init__(self, names: list[str], limit: int | None, colour: bool) -> None:
        self.names, self.limit, self.colour = names, limit, colour
        self.shown: list[str] = []
        self.widths: dict[str, int] = {}

    def add(self, rows: list[dict], now: float) -> Iterator[str]:
        """Columns that are empty in all rows are left out; one that is filled later makes a new head."""
        rows = [figure(row) if "met" in row else row for row in rows]
        cells = [{name: cell(name, row.get(name), now) for name in self.names} for row in rows]
        if not self.limit:
            cells = [{name: text if name in WHOLE else clip(text, TEXT) for name, text in one.items()} for one in cells]
        filled = [name for name in self.names if name in self.shown or any(one[name] for one in cells)]
        heads = {name: HEADS.get(name, one_line(name.removesuffix("_at"))) for name in filled}
        new, self.shown = filled != self.shown, filled
        widths = {
            name: max(self.widths.get(name, 0), wide(heads[name]), *[wide(one[name]) for one in cells]) for name in filled
        }
        self.widths = fit(widths, self.limit)
        right = {name for name in filled if are_counts(name, [row.get(name) for row in rows])}
        if new:
            yield from self.lines(heads, right, dict.fromkeys(filled, HEAD_CODE))
        for row, one in zip(rows, cells, strict=True):
            yield from self.lines(one, right, {name: colour_of(name, one[name], row.get(name)) for name in filled})

    def lines(self, cells: dict[str, str], right: set[str], codes: dict[str, str]) -> Iterator[str]:
        """A row's line, and more where a cell of WHOLE needs them."""
        line, blanks, place = "", 0, 0
        more: list[str] = []
        for name in self.shown:
            width, text = self.widths[name], cells[name]
            if name in WHOLE and wide(text) > width:
                text, *more = folded(text, width)
                more = [" " * place + part for part in more]
            else:
                text = clip(text, width)
            free = max(0, width - wide(text))
            before, after = (free, 0) if name in right else (0, free)
            if text:
                line += " " * (blanks + before) + self.paint(text, codes[name])
                blanks = 0
            blanks += after + 2 + (0 if text else before)
            place += width + 2
        yield line
        yield from more

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text


def figure(row: dict) -> dict:
    """A figure's row with its units: a name that ends in `_s` is one of seconds. Where there is no target, none is met."""
    words = {key: row[key] for key in ("value", "target") if key in row}
    if str(row.get("name")).endswith("_s"):
        words = {key: span(value) if isinstance(value, (int, float)) else value for key, value in words.items()}
    return {**row, **words, "met": "" if row.get("target", "") is None else row["met"]}


def fit(widths: dict[str, int], limit: int | None) -> dict[str, int]:
    """Widths that fit a line of `limit` columns: the widest give way to one width that is enough, at least LEAST; where
    that is not enough, the last ones are cut away."""
    room = (limit or 10**6) - 2 * max(0, len(widths) - 1)
    most = max(widths.values(), default=0)
    while most > LEAST and sum(min(width, most) for width in widths.values()) > room:
        most -= 1
    left, found = limit or 10**6, {}
    for name, width in widths.items():
        found[name] = max(0, min(width, most, left))
        left -= found[name] + 2
    return found


def cell(name: str, value: object, now: float) -> str:
    if value is None:
        return "?" if name in ANSWERS else ""
    if name in ADDED and isinstance(value, dict):
        try:
            return one_line(ADDED[name](value))
        except (KeyError, TypeError):
            return "?"  # a row that none of our commands made
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (name == "at" or name.endswith("_at")) and isinstance(value, (int, float)):
        return span(now - value) + " ago" if now >= value else "in " + span(value - now)
    if name.endswith("_s") and isinstance(value, (int, float)):
        return span(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return one_line(value if isinstance(value, str) else str(value))


def are_counts(name: str, values: list) -> bool:
    """Numbers that are to stand with their digits below each other; the number of something is its name."""
    named = name in ("id", "at") or name.endswith(("_id", "_at", "_s"))
    given = [value for value in values if value is not None]
    return bool(given) and not named and all(type(value) in (int, float) for value in given)


def colour_of(name: str, text: str, value: object) -> str:
    if name not in JUDGED:
        return ""
    if isinstance(value, dict) and (value.get("is_stuck") or value.get("result") in ("failed", "needs_human")):
        return "31"
    return COLOUR.get(text.partition(" ")[0].rstrip(":…"), "")


def health_words(health: dict) -> str:
    stuck = f"stuck {span(health['stuck_s'])}" if health.get("is_stuck") and health.get("stuck_s") else ""
    return " ".join(filter(None, (health["state"], health["dialog"] or health["detail"], stuck)))


def step_words(recovery: dict) -> str:
    """What was done for an agent, and why it was in vain if it was."""
    words = f"{recovery['action']} {recovery['result']}"
    return f"{words}: {recovery['reason']}" if recovery["result"] in ("failed", "needs_human") else words


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:.3g}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    for unit, size, small, part in (("d", 1440, "h", 60), ("h", 60, "m", 1)):
        if minutes >= size:
            return f"{minutes // size}{unit}{minutes % size // part:02d}{small}"
    return f"{minutes}m{int(seconds % 60):02d}s"


def one_line(text: str) -> str:
    """A text without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clip(text: str, most: int) -> str:
    """A text of at most so many columns; a last `…` says that it was longer."""
    if wide(text) <= most:
        return text
    kept, left = "", most - 1
    for c in text:
        left -= wide(c)
        if left < 0:
            break
        kept += c
    return kept + "…" if most > 0 else ""


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most so many columns, broken at blanks; a longer word stands alone, as it is."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and wide(lines[-1]) + 1 + wide(word) > width:
            lines.append(word)
        else:
            lines[-1] += (" " if lines[-1] else "") + word
    return lines


def wide(text: str) -> int:
    """The terminal columns that a text takes: two for what is wide or an emoji, none for accents and joiners."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
