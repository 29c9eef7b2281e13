"""Decisions about a message: what may be typed, into what, and what proves that it was submitted."""

from __future__ import annotations

import re

TYPE = ("idle", "working")
HOLD = ("starting", "draft", "dialog", "login", "limited", "api_error", "context_full", "hung", "unknown")
REFUSE = ("shell", "dead", "missing")

# What a terminal would obey: CSI, OSC, DCS and other string sequences, lone escapes, control characters.
SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]"
)
# Characters that steer the text's direction or that nobody sees go with them: Claude Code takes them out of a paste
# itself, and then wants a second Enter.
CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    r"|[\ud800-\udfff]"
)
# Wrappers that callers leave around a message when they copy a tool call instead of its argument.
WRAPPERS = re.compile(
    r"^\s*<(?P<tag>message|parameter|content|text|antml:parameter)(?:\s[^<>]*)?>(?P<inner>.*)</(?P=tag)>\s*$", re.S
)
UNSEEN = ("Cc", "Cf", "Cn", "Me", "Mn")  # Unicode's categories of controls, marks, and what stands for nothing
SKINS = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # modifiers of an emoji
WINDOW = 120  # so many characters of a long text, or the end of it from so many lines on, are enough to know it by
ROWS = 5


def clean(text: str) -> str:
    """The text without what a terminal would obey; tabs and line ends stay, CR LF and CR become LF."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while True:  # taking one sequence away may join the parts of another
        shorter = SEQUENCES.sub("", text)
        if shorter == text:
            return CONTROLS.sub("", text)
        text = shorter


def strip_wrappers(text: str) -> str:
    while found := WRAPPERS.match(text):
        text = found["inner"]
    return text


def refusal(text: str, profile: dict) -> str | None:
    """Why a cleaned text may not be typed at all, None when it may."""
    if not bare(text):
        return "the message is empty"
    if re.search(profile["compose"]["command"], text):
        return "the agent would take it as a command, not as a message (--command to send it all the same)"
    return None


def typed_form(text: str, profile: dict) -> str:
    """The text as it is pasted: with a blank behind an end at which Enter would do something else than submit."""
    text = text.rstrip("\n")
    blank = profile["compose"].get("blank_after")
    return text + " " if blank and re.search(blank, text) else text


def gate(state: str, allowed: tuple[str, ...] = ()) -> str:
    """type, held or refused, by the state that the look just before writing saw."""
    if state in TYPE or state in allowed:
        return "type"
    return "refused" if state in REFUSE else "held"


def due(message: dict, at: float) -> bool:
    """One that was committed by a clock which was ahead is due as long after now as it was after then."""
    return message["due_at"] - max(0.0, message["created_at"] - at) <= at


def bare(text: str) -> str:
    """For comparing: agents turn tabs to blanks, wrap lines and trim ends, so white space does not count.

    They also compose accents and drop what is not seen, and tmux loses what it cannot combine with the character
    before: of a text that is not ASCII only the base characters count.
    """
    if text.isascii():
        return "".join(text.split())
    import unicodedata

    letters = unicodedata.normalize("NFD", text)
    return "".join(c for c in letters if not c.isspace() and c not in SKINS and unicodedata.category(c) not in UNSEEN)


def shows(shown: str, text: str, profile: dict) -> bool:
    """Whether a composer holds this text and nothing else: whole, folded to a placeholder, or scrolled."""
    folded = re.fullmatch(profile["screen"]["paste"], shown.strip())
    if folded:
        typed, told = typed_form(text, profile), folded.groupdict()
        if "chars" in told:
            return len(typed) == counted(told["chars"])
        return typed.count("\n") == counted(told["lines"]) and folds(typed, profile)
    ours, seen = bare(text), bare(shown)
    scrolled = len(seen) >= WINDOW and seen in ours or shown.count("\n") >= ROWS and ours.endswith(seen)
    return seen == ours or scrolled


def counted(words: str | None) -> int:
    """The number in a placeholder, by its digits: it may be written `1,200`. Where it says none, 0."""
    return int("".join(filter(str.isdecimal, words or "")) or 0)


def folds(typed: str, profile: dict) -> bool:
    """Whether a paste of this text is folded: else the placeholder stands for a person's, with as many lines."""
    whole = profile["screen"].get("folds", {})
    return len(typed) > whole.get("chars", 0) or typed.count("\n") > whole.get("breaks", 0)


def holds_text(whole: str, text: str) -> bool:
    """Whether a recorded prompt holds the text: agents wrap long pastes, so containment."""
    return bare(text) in bare(whole)


def taken(records: list[dict], text: str) -> dict | None:
    """The first record of the transcript by which the agent took the text up as a prompt."""
    return next((r for r in records if r["kind"] == "prompt" and holds_text(r["text"], text)), None)


def queued(records: list[dict], text: str) -> dict | None:
    """The first record by which the agent queued the text behind its present turn."""
    return next((r for r in records if r["kind"] == "queued" and holds_text(r["text"], text)), None)


def withdrawn(records: list[dict], text: str) -> bool:
    """Whether the text was taken back out of the agent's queue, and not queued again since."""
    kinds = [r["kind"] for r in records if r["kind"] in ("queued", "withdrawn") and holds_text(r["text"], text)]
    return kinds[-1:] == ["withdrawn"]


def hooked(hooks: list[dict], text: str) -> bool:
    """Whether a hook reported the text as submitted by the composer (it does so for a queued one too)."""
    return any(h.get("hook_event_name") == "UserPromptSubmit" and holds_text(h.get("prompt") or "", text) for h in hooks)


def told(history: list[str], text: str) -> bool:
    """Whether the agent's history of prompts says that the composer submitted the text; it may wait for a tool to end."""
    return any(holds_text(prompt, text) for prompt in history)


def channels(profile: dict) -> bool:
    """Whether the agent leaves traces that prove a submission; else its screen is all that there is."""
    return bool(profile["traces"].keys() & {"transcript", "history"} or profile["launch"]["hooks"])


def proof(records: list[dict], hooks: list[dict], text: str, was_busy: bool) -> tuple[str, str] | None:
    """(state, channel) once something proves what became of the text, strongest first; None so far."""
    if taken(records, text):
        return "submitted", "transcript"
    if queued(records, text):
        return "accepted", "transcript"
    if hooked(hooks, text) and not was_busy:
        return "submitted", "hook"
    return None
