"""screen and health on recorded screens: each is judged as its file name says, whole or cut to odd sizes."""

import glob
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tmuxorch import health, screen

SCREENS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "screens", "claude-2.1.330")
NOW = 1_700_000_000.0
PROMPT, NBSP = "❯", "\N{NO-BREAK SPACE}"
RULE = "─" * 120

# What each recorded screen shows: (state, dialog kind, selected item, draft).
SHOWN = {
    "bypass-dialog": ("dialog", "bypass", "No, exit", ""),
    "classic-idle-empty": ("idle", None, None, ""),
    "classic-permission-dialog": ("dialog", "permission", "1. Yes", ""),
    "classic-working": ("working", None, None, ""),
    "custom-api-key-dialog": ("dialog", "onboarding", "No (recommended)", ""),
    "draft-pasted-20-lines": ("draft", None, None, "[Pasted text #1 +19 lines]"),
    "draft-typed": ("draft", None, None, "hello L0001q draft only"),
    "error-401-final": ("login", None, None, ""),
    "error-429-final": ("api_error", None, None, ""),
    "error-529-final": ("api_error", None, None, ""),
    "error-context-full": ("context_full", None, None, ""),
    "exited-to-shell": ("unknown", None, None, ""),
    "idle-after-answer": ("idle", None, None, ""),
    "idle-empty": ("idle", None, None, ""),
    "idle-empty-80x24": ("idle", None, None, ""),
    "killed-9-to-shell": ("unknown", None, None, ""),
    "permission-dialog": ("dialog", "permission", "1. Yes", ""),
    "trust-dialog": ("dialog", "trust", "No, exit", ""),
    "working": ("working", None, None, ""),
    "working-no-output": ("working", None, None, ""),
    "working-queued": ("working", None, None, ""),
    "working-with-draft": ("working", None, None, "L0005q while busy"),
}
PLACEHOLDERS = {  # ghost text: dim, so no draft
    "error-401-final": "Once fixed, resend your message",
    "error-429-final": "Resend your message to try again",
    "error-529-final": "Resend your message to try again",
    "error-context-full": "Once fixed, resend your message",
    "working-queued": "Press up to edit queued messages",
}
NEVER_TYPED_INTO = [name for name in SHOWN if name.endswith(("-dialog", "-to-shell"))]


def recorded(name, kind="ansi"):
    with open(f"{SCREENS}/{name}.{kind}", encoding="utf-8") as file:
        return file.read()


def judged(text, claude, defaults, **facts):
    """(what the screen shows, the state by it alone)."""
    shown = screen.read(text, claude["screen"])
    known = {
        "server": "up", "pane": {"pane_dead": False}, "processes": [{"name": "claude", "state": "S"}],
        "agent": {"state": "S"}, "registry": None, "turn": None, "turning": None,
        "untold": False, "under_way": False, "screen": shown, "launching": False,
        "launched_at": None, "activity_at": None, "watched_since": None, **facts,
    }  # fmt: skip
    return shown, health.judge(known, claude, defaults, NOW)


def test_every_recorded_screen_has_its_expectation():
    there = {os.path.splitext(os.path.basename(path))[0] for path in glob.glob(f"{SCREENS}/*.*")}
    assert there == set(SHOWN)
    assert len(glob.glob(f"{SCREENS}/*.ansi")) == len(glob.glob(f"{SCREENS}/*.txt")) == len(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_recorded_screen_is_judged_as_its_name_says(name, claude, defaults):
    state, dialog, selected, draft = SHOWN[name]
    shown, verdict = judged(recorded(name), claude, defaults)
    assert (verdict["state"], shown["dialog"], shown["selected"], shown["draft"]) == (state, dialog, selected, draft)
    assert verdict["dialog"] == dialog
    assert shown["composer"] == (name not in NEVER_TYPED_INTO)
    assert shown["busy"] == (state == "working")


@pytest.mark.parametrize("name", SHOWN)
def test_without_colours_the_state_is_the_same(name, claude, defaults):
    shown, verdict = judged(recorded(name, "txt"), claude, defaults)
    assert verdict["state"] == SHOWN[name][0]
    if name not in PLACEHOLDERS:  # only colours tell these from a draft
        assert shown["draft"] == SHOWN[name][3]


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_ghost_text_is_no_draft(name, claude):
    text = recorded(name)
    assert PLACEHOLDERS[name] in "\n".join(screen.plain(line) for line in text.split("\n"))
    assert screen.read(text, claude["screen"])["draft"] == ""


def cut(text, columns, top, bottom):
    lines = ["".join(char for char, _, _ in screen.cells(line))[:columns] for line in text.split("\n")]
    return "\n".join(lines[top : len(lines) - bottom])


@pytest.mark.parametrize("name", NEVER_TYPED_INTO)
def test_no_piece_of_a_dialog_or_shell_screen_can_be_typed_into(name, claude, defaults):
    text = recorded(name)
    for columns in (*range(42), 60, 79, 100, 200):
        for top, bottom in ((0, 0), (5, 0), (12, 0), (20, 0), (0, 1), (0, 2), (0, 5), (3, 7), (0, 30)):
            shown, verdict = judged(cut(text, columns, top, bottom), claude, defaults)
            assert verdict["state"] in ("dialog", "unknown"), (columns, top, bottom)
            assert not shown["composer"]


@pytest.mark.parametrize("name", ["error-401-final", "error-429-final", "error-529-final", "error-context-full"])
def test_a_failed_turn_stays_visible_on_a_small_screen(name, claude, defaults):
    lines = recorded(name).split("\n")
    start = max(n for n, line in enumerate(lines) if screen.plain(line).startswith(f"{PROMPT} E"))
    for top in range(start + 1):
        shown, verdict = judged("\n".join(lines[top:]), claude, defaults)
        assert verdict["state"] == SHOWN[name][0], top
        assert shown["draft"] == ""


@pytest.mark.parametrize("name", [name for name in SHOWN if SHOWN[name][0] == "idle"])
def test_an_idle_screen_of_any_size_is_idle_while_the_composer_is_whole(name, claude, defaults):
    rule = next(n for n, line in enumerate(recorded(name, "txt").split("\n")) if line.startswith("─"))
    for columns in (10, 12, 20, 33, 79, 119, 121):
        for top in (0, 1, 2, rule - 1, rule):
            for bottom in (0, 1):
                text = cut(recorded(name), columns, top, bottom)
                assert judged(text, claude, defaults)[1]["state"] == "idle", (columns, top, bottom)


@pytest.mark.parametrize("name", ["draft-typed", "draft-pasted-20-lines"])
def test_a_draft_is_never_overlooked_while_the_composer_is_whole(name, claude, defaults):
    text = recorded(name)
    for columns in (10, 11, 15, 25, 26, 40, 79):
        for top in (0, 3, 8):
            assert judged(cut(text, columns, top, 0), claude, defaults)[1]["state"] == "draft", (columns, top)


@given(st.sampled_from(list(SHOWN)), st.integers(0, 130), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_a_cut_screen_never_gains_a_composer_a_dialog_or_a_draft(claude, name, columns, top, bottom, squeezed):
    text = cut(recorded(name), columns, top, bottom)
    if squeezed:
        text = "\n".join(line for line in text.split("\n") if line.strip())
    whole, part = screen.read(recorded(name, "txt"), claude["screen"]), screen.read(text, claude["screen"])
    assert whole["composer"] or not part["composer"]
    assert part["dialog"] is None or (whole["dialog"] and part["dialog"] in (whole["dialog"], "other"))
    assert whole["draft"].startswith(part["draft"][: max(columns - 2, 0)])


@given(st.text(st.sampled_from("─❯ \nab✻●⎿\x1b[0;27m38()…"), max_size=300))
def test_any_text_is_read_without_error(claude, text):
    shown = screen.read(text, claude["screen"])
    assert shown["composer"] or not shown["draft"]
    assert not (shown["composer"] and shown["dialog"])
    if shown["composer"]:
        rules = [line for line in text.split("\n") if screen.plain(line).startswith("─" * screen.RULE)]
        assert len(rules) >= 2


# Structure, not words


def page(*above, composer="", below="  ? for shortcuts", prompt=PROMPT):
    return "\n".join([*above, RULE, f"{prompt}{NBSP}{composer}", RULE, below, ""])


def quoted(name):
    """An answer that shows another screen, indented by the program like all that it prints."""
    return ["● I saw this screen:", *[f"  {line}" for line in recorded(name, "txt").strip("\n").split("\n")]]


@pytest.mark.parametrize("name", ["trust-dialog", "permission-dialog", "bypass-dialog", "custom-api-key-dialog"])
def test_a_dialog_in_an_answer_is_no_dialog(name, claude, defaults):
    shown, verdict = judged(page(*quoted(name), "", "● What shall I do with it?"), claude, defaults)
    assert shown["composer"]
    assert verdict["state"] == "idle"


def test_a_composer_in_an_answer_does_not_hide_the_dialog_below_it(claude, defaults):
    answer = ["● The screen was:", RULE, f"{PROMPT} ", RULE, "  ? for shortcuts"]
    text = "\n".join(answer) + "\n" + recorded("permission-dialog", "txt")
    assert judged(text, claude, defaults)[1]["state"] == "dialog"


def test_words_above_the_composer_do_not_count_where_the_agent_publishes_its_state(claude, defaults):
    idle = {"status": "idle", "waiting_for": None, "conversation_id": "c", "at": NOW}
    for words in ("● API Error: 500 is in the log", "● say 'Please run /login'", "● it shows esc to interrupt"):
        assert judged(page(words), claude, defaults, registry=idle)[1]["state"] == "idle", words


def test_a_dialog_that_was_left_behind_is_no_dialog(claude, defaults):
    text = recorded("permission-dialog", "txt").rstrip("\n") + "\nKilled\nlab$ ls\nspec.md\nlab$ \n"
    assert judged(text, claude, defaults)[1]["state"] == "unknown"


def test_a_spinner_far_above_the_composer_is_an_old_one(claude, defaults):
    text = page("✽ Nebulizing… (1s · esc to interrupt)", *[f"● line {number}" for number in range(9)])
    assert judged(text, claude, defaults)[1]["state"] == "idle"


def test_what_an_earlier_turn_said_does_not_count(claude, defaults):
    text = page(f"{PROMPT} first", "  ⎿  Invalid API key · Fix external API key", f"{PROMPT} second", "● done")
    assert judged(text, claude, defaults)[1]["state"] == "idle"


@pytest.mark.parametrize(
    ("composer", "draft"),
    [
        ("", ""),
        ("hello", "hello"),
        ("x", "x"),
        ("\x1b[7m \x1b[0m", ""),  # only the cursor
        ("\x1b[7mO\x1b[0;2mnce fixed\x1b[0m", ""),  # ghost text with the cursor on it
        ('\x1b[2mTry "edit"\x1b[22m', ""),
        ("\x1b[7mO\x1b[0mnce fixed", "Once fixed"),  # the same words, typed
        ("\x1b[7mO\x1b[0m", "O"),  # one typed character below the cursor
        ("a\x1b[2mb", "ab"),
        ("\x1b[2mb\x1b[0ma", "ba"),
        ("\x1b[38;5;2mgreen\x1b[0m", "green"),  # the 2 is a colour, not dim
        ("\x1b[38;2;2;2;2mgreen\x1b[0m", "green"),
        ("two\n  lines", "two\nlines"),
    ],
)
def test_the_draft_is_what_was_typed(composer, draft, claude):
    assert screen.read(page(composer=composer), claude["screen"])["draft"] == draft


@pytest.mark.parametrize(
    ("lines", "there"),
    [
        ([RULE, PROMPT, RULE], True),
        ([RULE, PROMPT, "  more", RULE], True),
        ([RULE, PROMPT], False),
        ([PROMPT, RULE], False),
        ([RULE, RULE], False),
        ([RULE, "no prompt", RULE], False),
        ([RULE, f" {PROMPT}", RULE], False),  # a menu's item is indented
        (["─" * 9, PROMPT, "─" * 9], False),
        ([RULE, PROMPT, RULE, RULE], False),
    ],
)
def test_a_composer_stands_between_the_last_two_rules(lines, there, claude):
    assert screen.read("\n".join(lines), claude["screen"])["composer"] is there


@pytest.mark.parametrize("above", ["✻ Thinking…", "✽ Nebulizing… (1s · ↓ 5 tokens)", "· Beaming… (2s)", "* Pouncing…"])
def test_a_spinner_above_the_composer_means_work(above, claude):
    assert screen.read(page(above, below="  mode"), claude["screen"])["busy"]


@pytest.mark.parametrize(
    "above", ["● Done…", "❯ Wait… (please)", "  ⎿  Reading… (3 files)", "✻ Baked for 0s · done 9:58 PM"]
)
def test_what_only_resembles_a_spinner_means_none(above, claude):
    assert not screen.read(page(above, below="  mode"), claude["screen"])["busy"]


# Cells of `capture-pane -e`

CODES = {
    "0": (False, False), "": (False, False), "2": (True, None), "22": (False, None), "7": (None, True), "27": (None, False),
    "1": (None, None), "4": (None, None), "31": (None, None), "39": (None, None), "38;5;2": (None, None),
    "48;5;7": (None, None), "38;2;2;7;22": (None, None), "48;2;0;0;0": (None, None), "58;5;0": (None, None),
    "38:5:2": (None, None), "4:3": (None, None),
}  # fmt: skip
NO_CHARACTER = [
    "\x1b(B",
    "\x1b)0",
    "\x0e",
    "\x0f",
    "\x1b]0;a title\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x1b[K",
    "\x1b[2;5H",
    "\x1b=",
]
PIECES = st.one_of(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8).map(lambda text: ("text", text)),
    st.lists(st.sampled_from(["0", "2", "22", "7", "27"]), min_size=1, max_size=2).map(lambda codes: ("sgr", codes)),
    st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=4).map(lambda codes: ("sgr", codes)),
    st.sampled_from(NO_CHARACTER).map(lambda sequence: ("other", sequence)),
)


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=12))
def test_cells_carry_what_random_sgr_set(pieces):
    line, expected, dim, reverse = "", [], False, False
    for kind, value in pieces:
        if kind == "text":
            line += value
            expected += [(char, dim, reverse) for char in value]
        elif kind == "other":
            line += value
        else:
            line += f"\x1b[{';'.join(value)}m"
            for code in value:
                dim = dim if CODES[code][0] is None else CODES[code][0]
                reverse = reverse if CODES[code][1] is None else CODES[code][1]
    assert screen.cells(line) == expected
    assert screen.plain(line) == "".join(char for char, _, _ in expected).rstrip()


@given(st.text(max_size=60))
def test_plain_never_leaves_an_escape_sequence(text):
    assert not screen.SGR.search(screen.plain(text))


def test_only_the_patterns_of_the_profile_say_what_a_screen_means(claude):
    bare = {key: claude["screen"][key] for key in ("prompt", "rule", "cursor", "paste")}
    assert screen.read(recorded("working"), bare)["busy"] is False
    assert screen.read(recorded("error-401-final"), bare)["said"] is None
    assert screen.read(recorded("trust-dialog"), bare)["dialog"] is None
    other = {**claude["screen"], "prompt": ">", "rule": "="}
    text = f"{'=' * 20}\n> hello\n{'=' * 20}\n"
    assert screen.read(text, other)["draft"] == "hello"
