"""delivery: what may be typed, into what, and what proves that it was submitted."""

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tmuxorch import delivery

STATES = {  # the gate, by every state that there is
    "type": ["idle", "working"],
    "held": ["starting", "draft", "dialog", "login", "limited", "api_error", "context_full", "hung", "unknown"],
    "refused": ["shell", "dead", "missing"],
}
ESC = "\x1b"
# What a terminal takes as one whole: none of it is text.
SEQUENCES = [
    f"{ESC}[31m", f"{ESC}[0;2;38;5;1m", f"{ESC}[200~", f"{ESC}[201~", f"{ESC}[2J", f"{ESC}[?1049h", f"{ESC}[>0c",
    f"{ESC}[!p", f"{ESC}]0;a title\x07", f"{ESC}]52;c;cm0gLXJm{ESC}\\", f"{ESC}P$q m{ESC}\\", f"{ESC}_apc{ESC}\\",
    f"{ESC}^pm\x07",
    f"{ESC}Xsos{ESC}\\", f"{ESC}c", f"{ESC}7", f"{ESC}(B", "\x9b31m", "\x9b201~", "\x00", "\x07", "\x08", "\x0e", "\x7f",
    "\x85", "\x90", "\x9d", "\u2028", "\u2029", "\ufeff", "\ud800", "\udcff",
]  # fmt: skip
# Everything that is text: no control, no half of a character, no line separator, and nothing that nobody sees.
PRINTABLE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp")) | st.sampled_from("\t\n\N{ZERO WIDTH JOINER}"),
    max_size=40,
)


def obeyed(char):
    return unicodedata.category(char) == "Cc" and char not in "\t\n"


# clean


@given(st.text(st.characters() | st.sampled_from(ESC + "[]P\\~;0123m\x9b\x07\r\n"), max_size=80))
@example(f"{ESC}{ESC}[201~[201~")
@example(f"{ESC}[20{ESC}[31m1~")
@example(f"{ESC}]{ESC}]x\x07\x07")
@example(f"{ESC}[20\x001~")
def test_clean_leaves_nothing_that_a_terminal_obeys_and_is_idempotent(text):
    cleaned = delivery.clean(text)
    assert not any(obeyed(char) for char in cleaned)
    assert delivery.clean(cleaned) == cleaned
    cleaned.encode()  # no half of a surrogate pair


@given(PRINTABLE)
def test_clean_changes_no_text(text):
    assert delivery.clean(text) == text


@given(st.lists(st.tuples(PRINTABLE, st.sampled_from(SEQUENCES)), max_size=8), PRINTABLE)
def test_clean_takes_the_sequences_and_loses_no_printable_text(pieces, end):
    dirty = "".join(text + sequence for text, sequence in pieces) + end
    assert delivery.clean(dirty) == "".join(text for text, _ in pieces) + end


@given(PRINTABLE, st.sampled_from([ESC, f"{ESC}]", f"{ESC}P", f"{ESC}X", "\x9b", "\x9d", "\x90"]), PRINTABLE)
def test_an_unfinished_sequence_takes_at_most_one_character_with_it(before, start, after):
    assert delivery.clean(f"{before}{start}word {after}") in (f"{before}word {after}", f"{before}ord {after}")


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\tb", "a\tb"),
        ("", ""),
        (f"ls{ESC}[201~\rrm -rf x", "ls\nrm -rf x"),
        (f"{ESC}[20{ESC}[200~1~", "201~"),  # without its escape it is only text
        (f"{ESC}Ptmux;{ESC}{ESC}]52;c;x\x07{ESC}\\end", "tmux;end"),
        ("right\N{RIGHT-TO-LEFT OVERRIDE}left", "rightleft"),
        ("zero\N{ZERO WIDTH JOINER}width", "zero\N{ZERO WIDTH JOINER}width"),
        ("caf\u00e9 \U0001f600 \u65e5\u672c", "caf\u00e9 \U0001f600 \u65e5\u672c"),
    ],
)
def test_clean(dirty, clean):
    assert delivery.clean(dirty) == clean


def test_clean_is_quick_on_what_is_made_to_be_slow():
    for hostile in (f"{ESC}]" * 20_000, f"{ESC}[" * 20_000, f"{ESC}P" * 20_000, "\x9b" * 40_000, f"{ESC}" * 40_000):
        start = time.process_time()
        delivery.clean(hostile)
        assert time.process_time() - start < 1


# wrappers, refusal, form


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("plain", "plain"),
        ("<message>hello</message>", "hello"),
        ('<parameter name="message">hello</parameter>', "hello"),
        (' <parameter name="text">\n<content>deep</content>\n</parameter> ', "deep"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("see <message>x</message>", "see <message>x</message>"),
        ("<message>unclosed", "<message>unclosed"),
        ("<message>a</text>", "<message>a</text>"),
    ],
)
def test_strip_wrappers(text, bare):
    assert delivery.strip_wrappers(text) == bare


@given(PRINTABLE)
def test_a_text_in_a_wrapper_comes_out_whole(text):
    assert delivery.strip_wrappers(f"<message>{text}</message>") == delivery.strip_wrappers(text)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("hello", False), ("", True), (" \n\t", True), ("!ls", True), (" !ls", True), ("/compact", True),
        ("/clear now", True),
        ("/foo:bar x", True), ("/tmp/path is full", False), ("/tmp/path", False), ("#note", False), ("@file", False),
        ("see /compact", False), ("wow!", False), ("1/2", False), ("a\n/clear", False), ("\n/clear", True),
    ],
)  # fmt: skip
def test_what_the_agent_would_take_as_a_command_is_refused(text, refused, claude, stub):
    for profile in (claude, stub):
        assert bool(delivery.refusal(text, profile)) is refused


def test_a_last_backslash_gets_a_blank_where_the_profile_asks_for_it(claude):
    assert delivery.typed_form("a\\", claude) == "a\\ "
    assert delivery.typed_form("a\\\n", claude) == "a\\ "
    assert delivery.typed_form("a\\", {"compose": {}}) == "a\\"
    assert delivery.typed_form("a\nb\n\n", claude) == "a\nb"


# gate


@pytest.mark.parametrize(("answer", "state"), [(answer, state) for answer, states in STATES.items() for state in states])
def test_gate(answer, state):
    assert delivery.gate(state) == answer


def test_the_gate_lists_are_one_partition():
    assert (sorted(delivery.TYPE), sorted(delivery.HOLD), sorted(delivery.REFUSE)) == tuple(map(sorted, STATES.values()))


@given(st.text(max_size=12))
def test_a_state_that_nobody_knows_is_never_typed_into(state):
    if state not in STATES["type"]:
        assert delivery.gate(state) != "type"


def test_a_caller_passes_only_the_state_that_it_treats():
    assert delivery.gate("api_error", ("api_error",)) == "type"
    assert delivery.gate("login", ("api_error",)) == "held"
    assert delivery.gate("shell", ("api_error",)) == "refused"


# shows


LONG = " ".join(f"word{number}" for number in range(100))


@pytest.mark.parametrize(
    ("shown", "text", "same"),
    [
        ("hello", "hello", True),
        ("hello", "hello\n", True),
        ("hel lo", "hel\tlo", True),
        ("hello wor\nld", "hello world", True),  # wrapped
        ("hello you", "hello", False),
        ("hello", "hello you", False),
        ("", "hello", False),
        ("hello", "", False),
        ("my draft hello", "hello", False),
        (LONG[200:500], LONG, True),  # scrolled: a long piece of it
        (LONG[200:260], LONG, False),  # a short piece may be anybody's
        (LONG + " and more", LONG, False),
        ("[Pasted text #1 +19 lines]", "\n".join("abcdefghijklmnopqrst"), True),
        ("[Pasted text #12 +19 lines]", "\n".join("abcdefghijklmnopqrst") + "\n", True),
        ("[Pasted text #1 +18 lines]", "\n".join("abcdefghijklmnopqrst"), False),
        ("[Pasted text #1]", "x" * 900, True),
        ("[Pasted text #1]", "a\nb", False),
        ("[Pasted text #1]", "x" * 800, False),  # ours would stand there whole: it is a person's
        ("[Pasted text #1 +2 lines]", "a\nb\nc", False),
        ("[Pasted text #1 +2 lines]", "a\nb\n" + "c" * 800, True),
        ("[Pasted text #1 +19 lines] and more", "\n".join("abcdefghijklmnopqrst"), False),
        ("hello\\", "hello\\", True),
    ],
)
def test_shows_the_text_and_nothing_else(shown, text, same, claude):
    assert delivery.shows(shown, text, claude) is same


@pytest.mark.parametrize(
    ("pattern", "shown", "same"),
    [
        (r"\[(?P<chars>[\d,]+) chars\]", "[1,200 chars]", True),
        (r"\[(?P<chars>[\d,]+) chars\]", "[1,201 chars]", False),
        (r"\[pasted(?: (?P<chars>\d+) chars)?\]", "[pasted]", False),  # it tells nothing: it may be anybody's
        (r"\[pasted (?P<lines>.*) lines\]", "[pasted no lines]", True),
    ],
)
def test_a_placeholder_may_write_its_number_in_another_way(pattern, shown, same, claude):
    profile = {**claude, "screen": {**claude["screen"], "paste": pattern}}
    assert delivery.shows(shown, "x" * 1200, profile) is same


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=30), st.text("xyz", min_size=1, max_size=9)
)
def test_anything_more_than_the_text_is_not_the_text(claude, text, more):
    if delivery.bare(text):
        assert not delivery.shows(text + more, text, claude)
        assert not delivery.shows(more + text, text, claude)


# proof


def prompt(text, place=0):
    return {"kind": "prompt", "text": text, "place": place}


def queued(text):
    return {"kind": "queued", "text": text, "place": 0}


def hook(text, name="UserPromptSubmit"):
    return {"hook_event_name": name, "prompt": text, "at": 1}


WRAPPED = '<pasted_content id="1">\nhello\nworld\n</pasted_content>'


@pytest.mark.parametrize(
    ("records", "hooks", "busy", "proved"),
    [
        ([], [], False, None),
        ([prompt("hello world")], [], False, ("submitted", "transcript")),
        ([prompt(WRAPPED)], [], False, ("submitted", "transcript")),
        ([prompt("something else")], [], False, None),
        ([queued("hello world")], [], True, ("accepted", "transcript")),
        ([queued("hello world"), {"kind": "dequeued"}, prompt("hello world")], [], True, ("submitted", "transcript")),
        ([], [hook("hello world")], False, ("submitted", "hook")),
        ([], [hook("hello world")], True, None),  # in a busy agent the hook only says that it was queued
        ([], [hook("other")], False, None),
        ([], [hook("hello world", "Stop")], False, None),
        ([], [{"hook_event_name": "UserPromptSubmit", "prompt": None}], False, None),
        ([{"kind": "assistant"}, {"kind": "turn_end"}, {"kind": "tool_result"}], [], False, None),
    ],
)
def test_proof_strongest_first(records, hooks, busy, proved):
    assert delivery.proof(records, hooks, "hello\nworld", busy) == proved


def test_taken_names_the_first_record_that_holds_the_text():
    records = [prompt("a", 1), prompt("hello", 2), prompt("hello", 3)]
    assert delivery.taken(records, "hello")["place"] == 2
    assert delivery.taken(records, "nowhere") is None
    assert delivery.queued(records, "hello") is None
