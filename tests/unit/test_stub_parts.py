"""The stub agent's pure parts: keys, script, dialogs, wording and layout."""

import re
import time

import pytest
from tmuxorch.stub import dialog, failures, script, view
from tmuxorch.stub.composer import Composer, Decoder
from tmuxorch.stub.disk import Home, Session, latest
from tmuxorch.stub.script import Progress
from tmuxorch.stub.view import Block, Scene


def plain(lines):
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


def type_into(composer, events):
    for kind, text in events:
        if kind in ("paste", "raw"):
            composer.paste(text, bracketed=kind == "paste")
        elif kind == "text":
            composer.insert(text)
    return composer


# Keys


def test_a_short_read_ends_in_enter_and_a_long_one_swallows_it():
    assert Decoder().feed(b"x" * 62 + b"\r") == [("text", "x" * 62), ("enter", "")]
    assert Decoder().feed(b"x" * 63 + b"\r") == [("raw", "x" * 63 + "\r")]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"\x1b[200~a\rb\x1b[201~\r", [("paste", "a\rb"), ("enter", "")]),
        (b"\x1b[A\x1bOB", [("up", ""), ("down", "")]),
        ("né\n".encode(), [("text", "né"), ("newline", "")]),
        (b"\x1b\r\x03\x1a", [("newline", ""), ("interrupt", ""), ("suspend", "")]),
        (b"a\tb\x1b[15~c", [("text", "a"), ("text", "b"), ("text", "c")]),
    ],
)
def test_keys_come_out_the_same_however_the_bytes_are_split(data, events):
    assert Decoder().feed(data) == events
    decoder, single = Decoder(), []
    for byte in data:
        single += decoder.feed(bytes([byte]))
    assert [event for event in single if event[0] != "text"] == [event for event in events if event[0] != "text"]
    assert "".join(text for kind, text in single if kind == "text") == "".join(t for kind, t in events if kind == "text")


def test_an_escape_is_a_key_only_when_nothing_follows():
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.waiting
    assert decoder.flush() == [("esc", "")]
    assert Decoder().feed(b"\x1b\x1b[A") == [("esc", ""), ("up", "")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 800, "x" * 800),
        ("x" * 801, "[Pasted text #1]"),
        ("a\nb\nc", "a\nb\nc"),
        ("a\rb\rc\rd", "[Pasted text #1 +3 lines]"),
        ("a\tb", "a    b"),
    ],
)
def test_a_long_paste_collapses(text, shown):
    composer = type_into(Composer(), [("paste", text)])
    assert composer.shown() == (shown, len(shown))
    assert composer.whole() == text.replace("\r", "\n").replace("\t", "    ")


def test_a_swallowed_enter_adds_a_line_to_the_label_and_nothing_to_the_text():
    composer = type_into(Composer(), [("paste", "\n".join("abcdefghijklmnopqrst"))])
    assert composer.shown()[0] == "[Pasted text #1 +19 lines]"
    composer.swallow_enter()
    assert composer.shown()[0] == "[Pasted text #1 +20 lines]"
    assert composer.whole() == "\n".join("abcdefghijklmnopqrst")


def test_the_transcript_marks_a_paste_of_more_than_1000_characters():
    composer = type_into(Composer(), [("text", "see "), ("paste", "y" * 1001)])
    text, record = composer.take()
    assert text == "see " + "y" * 1001
    assert record == f'see <pasted_content id="1">{"y" * 1001}</pasted_content>'
    assert composer.shown() == ("", 0)


def test_a_last_backslash_makes_a_new_line_of_enter():
    composer = type_into(Composer(), [("text", "hello\\")])
    assert composer.continue_line()
    assert (composer.text, composer.whole()) == ("hello\n", "hello")
    assert not composer.continue_line()


def test_recall_goes_back_and_forth_but_spares_a_draft():
    composer = Composer(history=["one", "two"])
    composer.recall(-1)
    composer.recall(-1)
    composer.recall(-1)
    assert composer.text == "one"
    composer.recall(1)
    composer.recall(1)
    assert composer.text == ""
    composer.insert("draft")
    composer.recall(-1)
    assert composer.text == "draft"


# Dialogs


def test_a_permission_dialog_is_answered_by_enter_and_digits_but_not_by_words_or_pastes():
    shown = dialog.permission("touch x", "/srv")
    assert [shown.press(event) for event in (("paste", "4\r"), ("raw", "4" * 70 + "\r"), ("text", "fix 4"))] == [None] * 3
    assert shown.press(("text", "4")) == 3
    assert dialog.permission("touch x", "/srv").press(("enter", "")) == 0
    assert dialog.permission("touch x", "/srv").press(("esc", "")) == dialog.CANCEL


def test_trust_is_refused_by_default_and_the_selection_goes_round():
    shown = dialog.trust("Stub", "/srv")
    assert shown.options[shown.press(("enter", ""))] == "No, exit"
    shown.press(("up", ""))
    assert shown.options[shown.selected] == "Yes, I trust this folder"
    shown.press(("text", "abc"))
    assert shown.options[shown.selected] == "No, exit"
    assert shown.press(("text", "2")) is None


# Script


def test_parse_drops_comments_and_names_a_bad_line():
    assert script.parse("# a\n\n work 2\nmaybe 0.5 crash 3 \n") == ["work 2", "maybe 0.5 crash 3"]
    for text, fault in [
        ("work\n", "line 1: work needs a number"),
        ("say hi\nfly", "line 2: unknown step 'fly'"),
        ("maybe crash", "line 1: maybe needs a probability and a step"),
        ("say", "line 1: say needs a text"),
    ]:
        with pytest.raises(ValueError, match=fault):
            script.parse(text)


def test_maybe_is_decided_by_the_seed_and_the_place():
    taken = [script.resolve("maybe 0.5 work 1", at, 7) is not None for at in range(200)]
    assert taken == [script.resolve("maybe 0.5 work 1", at, 7) is not None for at in range(200)]
    assert 60 < sum(taken) < 140
    assert script.resolve("maybe 1 maybe 1 say hi", 0, 7) == ("say", "hi")
    assert script.resolve("maybe 0 say hi", 0, 7) is None


SPEC = "# Shop\n\n```stub\nwork 1\ndone\n```\n"


@pytest.mark.parametrize(
    ("prompt", "before", "after"),
    [
        ("read specs/a.md.", Progress(), Progress(["work 1", "done"])),
        ("read `plain.md` and specs/a.md", Progress(), Progress(["work 1", "done"])),
        ("read plain.md", Progress(), Progress(script.DEFAULT)),
        ("read missing.md", Progress(), Progress()),
        ("carry on", Progress(["work 1", "done"], 1), Progress(["work 1", "done"], 1)),
        ("your spec is specs/a.md", Progress(["work 1", "done"], 1), Progress(["work 1", "done"], 1)),
        ("your spec is specs/a.md", Progress(["work 1", "done"], 2), Progress(["work 1", "done"], 1)),
        ("your spec is specs/a.md", Progress(["work 9"], 1), Progress(["work 1", "done"], 0)),
        ("do\n```stub\nsay hi\n```", Progress(["say hi"], 1), Progress(["say hi"], 0)),
        ("look at plain.md", Progress(["work 9", "done"], 1), Progress(["work 9", "done"], 1)),
        ("do\n```stub\nsay hi\n```", Progress(["work 9"], 0, True), Progress(["say hi"], 0, True)),
    ],
)
def test_which_script_a_prompt_brings(prompt, before, after):
    files = {"specs/a.md": SPEC, "plain.md": "# Plain\n"}
    assert script.choose(prompt, before, files.get) == after


# Wording


def test_the_limit_is_told_in_the_local_zone_and_rounded_up(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Warsaw")
    time.tzset()
    try:
        at = 1_800_000_000  # 2027-01-15 09:00:00 in Warsaw
        monkeypatch.setattr(time, "time", lambda: at - 600)
        assert failures.limited(at).text == "You've hit your limit · resets 9am (Europe/Warsaw)"
        assert failures.limited(at + 1).text == "You've hit your limit · resets 9:01am (Europe/Warsaw)"
        assert failures.limited(at + 200_000).text == "You've hit your limit · resets Jan 17, 4:34pm (Europe/Warsaw)"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_retry_counts_down_and_counts_up():
    retry = failures.Retry("API error", 100.0, 7.0, 10)
    assert retry.line(100.1) == "✻ API error · retrying in 7s · attempt 2/10"
    assert retry.line(113.5) == "✻ API error · retrying in 1s · attempt 3/10"


# Layout

SIZES = [(80, 24), (120, 40), (200, 50), (20, 10)]
BLOCKS = (
    Block("prompt", "wide 日本語 " * 30),
    Block("tool", "Bash(ls)", "a\x1b[2Jb\n" * 5),
    Block("api", "API Error: x"),
)
SCENES = {
    "idle": Scene("/srv/proj", "auto"),
    "full": Scene("/srv/proj", "manual", BLOCKS * 20, draft="日" * 300, at=300),
    "busy": Scene("/srv/proj", "auto", BLOCKS, "Bash(make)", "✻ Baking…", ("queued\nmore",), ghost="Press up"),
    "dialog": Scene("/srv/proj", "auto", BLOCKS, dialog=dialog.permission("touch " + "x" * 300, "/srv")),
    "rows": Scene("/srv/proj", "auto", draft="\n".join(map(str, range(60))), at=0),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_every_scene_fits_the_screen_to_the_cell(scene, size):
    width, height = size
    frame = view.fullscreen(scene, width, height)
    assert len(frame.lines) == height
    assert max(view.cells(line) for line in plain(frame.lines)) <= width
    assert 0 <= frame.row < height
    assert 0 <= frame.col < width
    assert not any("\x1b[2J" in line for line in frame.lines)


def test_the_composer_stands_between_two_rules_with_the_cursor_in_it():
    frame = view.fullscreen(Scene("/srv", "manual", draft="日本 x", at=4), 80, 24)
    assert plain(frame.lines)[-4:] == ["─" * 80, "❯\xa0日本 x ", "─" * 80, "  ⏸ manual mode on"]
    assert (frame.row, frame.col) == (21, 8)
    assert "❯\x1b[0m\xa0日本 x\x1b[7m \x1b[0m" in frame.lines[-3]


@pytest.mark.parametrize(
    ("scene", "foot"),
    [
        (Scene("/", "manual"), "  ⏸ manual mode on · ? for shortcuts"),
        (Scene("/", "manual", spinner="✻ Baking…"), "  ⏸ manual mode on · esc to interrupt"),
        (Scene("/", "manual", spinner="✻ Baking…", draft="x"), "  ⏸ manual mode on"),
        (Scene("/", "auto"), "  ⏵⏵ auto mode on (shift+tab to cycle)"),
        (Scene("/", "auto", spinner="✻ Baking…"), "  ⏵⏵ auto mode on (shift+tab to cycle) · esc to interrupt"),
        (Scene("/", "auto", draft="[Pasted text #1]", pasted=True), "  paste again to expand"),
        (Scene("/", "auto", hint="Press Ctrl-C again to exit"), "  Press Ctrl-C again to exit"),
        (Scene("/", "auto", draft="!ls"), "  ! for shell mode"),
    ],
)
def test_what_the_footer_tells(scene, foot):
    assert plain(view.fullscreen(scene, 120, 40).lines)[-1] == foot


def test_ghost_text_differs_from_a_draft_by_its_look_only():
    ghost = view.fullscreen(Scene("/", "manual", ghost="Resend your message"), 80, 24)
    draft = view.fullscreen(Scene("/", "manual", draft="Resend your message", at=0), 80, 24)
    assert plain(ghost.lines)[-3] == plain(draft.lines)[-3] == "❯\xa0Resend your message"
    assert "\x1b[7mR\x1b[0;2mesend your message" in ghost.lines[-3]
    assert (ghost.row, ghost.col) == (21, 2)


def test_a_dialog_stands_right_below_the_conversation_with_the_cursor_on_its_item():
    scene = Scene("/srv", "manual", running="Bash(touch x)", dialog=dialog.permission("touch x", "/srv"))
    frame = view.fullscreen(scene, 80, 40)
    lines = plain(frame.lines)
    assert lines[6:8] == ["● Bash(touch x)", "  ⎿  Waiting…"]
    assert lines[frame.row] == " ❯ 1. Yes"
    assert (frame.col, lines[-1]) == (1, "")


def test_a_tall_draft_shows_its_end_and_says_how_much_is_above():
    text = "\n".join(f"row {n}" for n in range(33))
    lines = plain(view.fullscreen(Scene("/", "manual", draft=text, at=len(text)), 80, 24).lines)
    assert lines[-10].startswith("─── ↑ 26 more ──")
    assert lines[-3] == "  row 32 "


def test_a_shell_line_shows_its_mark_in_the_prompt():
    lines = plain(view.fullscreen(Scene("/", "manual", draft="!ls", at=3), 80, 24).lines)
    assert lines[-3] == "!\xa0ls "


# Disk


def test_a_fresh_home_is_private_and_logged_in(tmp_path):
    home = Home(str(tmp_path / "home"))
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert home.verdict(time.time()) == ("ok", 0)
    assert home.config() == {"hasCompletedOnboarding": True}
    home.logout()
    assert Home(home.path).verdict(time.time()) == ("logged-out", 0)


def test_the_server_rejects_a_token_until_a_new_login_and_limits_until_a_time(tmp_path):
    home = Home(str(tmp_path))
    home.reject_login()
    assert Home(home.path).verdict(time.time())[0] == "rejected"
    home.login()
    assert home.verdict(time.time())[0] == "ok"
    home.limit(1000.0)
    assert home.verdict(999.0) == ("limited", 1000.0)
    assert home.verdict(1000.0)[0] == "ok"


def test_trust_counts_for_what_lies_below_and_only_that(tmp_path):
    home = Home(str(tmp_path))
    home.trust("/srv/a")
    assert home.trusted("/srv/a")
    assert home.trusted("/srv/a/b/c")
    assert not home.trusted("/srv/ab")
    assert not home.trusted("/srv")


def test_a_conversation_is_found_again_with_its_place_in_the_script(tmp_path):
    home = Home(str(tmp_path))
    session = Session(home, "/srv/my.proj", "11111111-2222-4333-8444-555555555555")
    assert not session.exists()
    session.user("hello")
    session.save(Progress(["work 1"], 1, True))
    again = Session(home, "/srv/my.proj", session.id)
    assert again.path.endswith("/projects/-srv-my-proj/11111111-2222-4333-8444-555555555555.jsonl")
    assert again.progress() == Progress(["work 1"], 1, True)
    assert [record["message"]["content"] for record in again.records()] == ["hello"]
    assert latest(home, "/srv/my.proj") == session.id
    assert latest(home, "/srv/other") is None
