"""The keyboard side, without a terminal: bytes in, key events out, and the text that stands in the composer."""

import codecs
import re
import unicodedata
from dataclasses import dataclass, field

Event = tuple[str, str]  # a kind ("text", "paste", "raw", or a key's name) and its text

ESC, PASTE_START, PASTE_END = b"\x1b", b"\x1b[200~", b"\x1b[201~"
RAW_PASTE_BYTES = 64  # what comes in one read of this size is taken for a paste, a trailing Enter included
COLLAPSE_CHARS, COLLAPSE_BREAKS = 800, 2  # longer pastes stand in the composer as one label
WRAP_CHARS = 1000  # longer ones are marked as pasted in the transcript

# What nobody sees goes without a word; what steers the direction of a text only after a second Enter.
UNSEEN = re.compile("[\xad\u034f\u115f\u1160\u180e\u200b\u2060-\u2064\u3164\ufe00-\ufe0e\uffa0\ufff9-\ufffb]")
DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

KEYS = {
    b"\x01": "home", b"\x03": "interrupt", b"\x04": "eof", b"\x05": "end", b"\x08": "backspace", b"\n": "newline",
    b"\r": "enter", b"\x0e": "down", b"\x10": "up", b"\x15": "kill", b"\x1a": "suspend", b"\x7f": "backspace",
    b"\x1b": "esc", b"\x1b\r": "newline", b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left", b"\x1b[H": "home", b"\x1b[F": "end",
    b"\x1b[1~": "home", b"\x1b[4~": "end", b"\x1bOH": "home", b"\x1bOF": "end",
}  # fmt: skip

_TOKEN = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\x1b\[O]|\x1b(?=\x1b)|[\x00-\x1a\x1c-\x1f\x7f]|[^\x00-\x1f\x7f]+", re.DOTALL
)


class Decoder:
    """Turns what the terminal sends into events; sequences and characters may be split over reads."""

    def __init__(self) -> None:
        self._rest = b""
        self._pasting = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def waiting(self) -> bool:
        """An escape has come that is a key of its own unless more follows soon."""
        return bool(self._rest) and not self._pasting

    def feed(self, data: bytes) -> list[Event]:
        if not self._rest and not self._pasting and len(data) >= RAW_PASTE_BYTES and ESC not in data:
            return [("raw", self._utf8.decode(data))]
        self._rest += data
        events: list[Event] = []
        while self._rest and self._next(events):
            pass
        return events

    def flush(self) -> list[Event]:
        """Nothing followed the escape: it was the Esc key; any other half sequence is nobody's key."""
        rest, self._rest = self._rest, b""
        return [("esc", "")] if rest == ESC else []

    def _next(self, events: list[Event]) -> bool:
        if self._pasting:
            text, end, rest = self._rest.partition(PASTE_END)
            if not end:
                return False
            events.append(("paste", text.decode("utf-8", "replace")))
            self._rest, self._pasting = rest, False
            return True
        match = _TOKEN.match(self._rest)
        if not match:
            return False
        token, self._rest = match.group(), self._rest[match.end() :]
        if token == PASTE_START:
            self._pasting = True
        elif token in KEYS:
            events.append((KEYS[token], ""))
        elif token[0] >= 0x20:
            events.append(("text", self._utf8.decode(token)))
        return True


@dataclass
class Composer:
    """A line editor; a long paste is one character of the private use plane, shown as a label."""

    text: str = ""
    at: int = 0
    pasted: bool = False  # something was pasted since the last submission
    history: list[str] = field(default_factory=list)
    place: int | None = None  # the recalled entry
    _pastes: dict[str, str] = field(default_factory=dict)

    @property
    def collapsed(self) -> bool:
        return any(char in self._pastes for char in self.text)

    def insert(self, text: str) -> None:
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)

    def set(self, text: str) -> None:
        self.text, self.at = text, len(text)

    def clear(self) -> None:
        self.set("")
        self.pasted, self.place = False, None

    def drop_direction(self) -> int:
        """Take out what steers the direction of the text; how much there was."""
        found = len(DIRECTION.findall(self.text))
        if found:
            self.set(DIRECTION.sub("", self.text))
        return found

    def paste(self, text: str, bracketed: bool = True) -> None:
        # The Enter at the end of a raw chunk stays in the text as an invisible character.
        swallowed = "\r" if text.endswith("\r") and not bracketed else ""
        text = text[: len(text) - len(swallowed)].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
        text = UNSEEN.sub("", unicodedata.normalize("NFC", text))
        self.pasted = True
        if len(text) > COLLAPSE_CHARS or (bracketed and text.count("\n") > COLLAPSE_BREAKS):
            token = chr(0xF0001 + len(self._pastes))
            self._pastes[token] = text + swallowed
            self.insert(token)
        else:
            self.insert(text + swallowed)

    def swallow_enter(self) -> None:
        """An Enter that came too close to a paste: it becomes part of it."""
        last = self.text[-1:]
        if last in self._pastes:
            self._pastes[last] += "\r"
        else:
            self.set(self.text + "\r")

    def continue_line(self) -> bool:
        """Enter after a backslash is a newline; says whether it was one."""
        if not self.text[: self.at].endswith("\\"):
            return False
        self.edit("backspace")
        self.insert("\n")
        return True

    def edit(self, key: str) -> None:
        if key == "backspace" and self.at:
            self.text, self.at = self.text[: self.at - 1] + self.text[self.at :], self.at - 1
        elif key == "kill":
            self.text, self.at = self.text[self.at :], 0
        elif key in ("home", "end"):
            self.at = 0 if key == "home" else len(self.text)
        elif key in ("left", "right"):
            self.at = max(0, min(len(self.text), self.at + (1 if key == "right" else -1)))

    def recall(self, step: int) -> None:
        """Up and Down go through what was sent before, unless a draft is in the way."""
        if not self.history or (self.text and self.place is None) or (self.place is None and step > 0):
            return
        place = len(self.history) + step if self.place is None else self.place + step
        if place >= len(self.history):
            self.clear()
        else:
            self.place = max(0, place)
            self.set(self.history[self.place])

    def whole(self, marked: bool = False) -> str:
        """The text as the model gets it; `marked` as the transcript keeps it."""
        return "".join(self._content(char, marked) for char in self.text).replace("\r", "").strip()

    def shown(self) -> tuple[str, int]:
        """The text as it stands on the screen, and the cursor's place in it."""
        parts = [self._label(char) for char in self.text]
        return "".join(parts), len("".join(parts[: self.at]))

    def take(self) -> tuple[str, str]:
        """Empties the composer: the text, and the text for the transcript."""
        taken = self.whole(), self.whole(marked=True)
        self.history.append(taken[0])
        self.clear()
        return taken

    def _content(self, char: str, marked: bool) -> str:
        text = self._pastes.get(char, char)
        if marked and len(text) > WRAP_CHARS:
            return f'<pasted_content id="{ord(char) - 0xF0000}">{text}</pasted_content>'
        return text

    def _label(self, char: str) -> str:
        if char not in self._pastes:
            return char
        breaks = self._pastes[char].count("\n") + self._pastes[char].count("\r")
        return f"[Pasted text #{ord(char) - 0xF0000}{f' +{breaks} lines' if breaks else ''}]"
