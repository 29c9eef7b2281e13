"""Rows as a table: columns, words, widths and colours."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import store, table

NOW = 1_800_000_000.0


def lines(*rows, limit=None, colour=False):
    return list(table.Table(table.columns(rows[0]), limit, colour).add(list(rows), NOW))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3), ("", 0), ("漢字", 4), ("größer", 6), ("e\u0301", 1), ("✅", 2), ("🚀", 2), ("⚠\ufe0f", 1),
        ("👩\u200d💻", 4), ("한", 2), ("ﾊ", 1), ("\u202e", 0), ("│─", 2),
    ],
)  # fmt: skip
def test_wide(text, columns):
    assert table.wide(text) == columns


@pytest.mark.parametrize(
    ("text", "most", "clipped"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("漢字漢", 5, "漢字…"),
        ("漢字漢", 4, "漢…"),
        ("a", 0, ""),
        ("", 0, ""),
        ("abc", 1, "…"),
    ],
)
def test_clip(text, most, clipped):
    assert table.clip(text, most) == clipped


@given(st.text(), st.integers(0, 30))
def test_a_clipped_text_fits(text, most):
    assert table.wide(table.clip(text, most)) <= most


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 200), max_size=8), st.integers(1, 120))
def test_widths_fit_and_are_never_more_than_wanted(wanted, limit):
    widths = table.fit(wanted, limit)
    used = [width for width in widths.values() if width]
    assert sum(used) + 2 * max(0, len(used) - 1) <= limit
    assert all(widths[name] <= wanted[name] for name in wanted)
    if sum(wanted.values()) + 2 * len(wanted) <= limit:
        assert widths == wanted


def test_the_widest_gives_way_first():
    assert table.fit({"id": 3, "name": 20, "why": 100}, 60) == {"id": 3, "name": 20, "why": 33}
    assert table.fit({"a": 50, "b": 50}, 42) == {"a": 20, "b": 20}
    assert table.fit({"a": 50, "b": 50}, None) == {"a": 50, "b": 50}


@given(
    st.lists(st.dictionaries(st.sampled_from(["name", "why", "n", "ok"]), st.text() | st.integers() | st.none())),
    st.integers(9, 80),
)
def test_no_line_is_wider_than_the_terminal(rows, limit):
    for row in rows:
        assert all(table.wide(line) <= limit for line in lines(row, limit=limit))


def test_numbers_stand_below_each_other_and_names_do_not():
    rows = [{"id": 1, "name": "a", "value": 0.5, "n": 7}, {"id": 20, "name": "b", "value": 12, "n": 1000}]
    assert lines(*rows) == ["id  name  value     n", "1   a       0.5     7", "20  b        12  1000"]


def test_the_figures_of_a_night():
    rows = [
        {
            "name": "false_failure_rate",
            "value": 0.0384615,
            "n": 26,
            "target": 0.05,
            "met": True,
            "window": {"since_at": None},
        },
        {"name": "success_rate", "value": None, "n": 0, "target": 0.95, "met": None, "window": {"since_at": None}},
        {"name": "detect_p95_s", "value": 75.2, "n": 9, "bound": "at most", "target": 1800, "met": False, "window": {}},
        {"name": "delivery_rate", "value": 1, "n": 9, "target": None, "met": None, "window": {}},
    ]
    assert lines(*rows) == [
        "name                value     n  target  met",
        "false_failure_rate  0.03846  26  0.05    yes",
        "success_rate                  0  0.95    ?",
        "detect_p95_s        1m15s     9  30m00s  no",
        "delivery_rate       1         9",
    ]
    assert lines(rows[2])[1] == "detect_p95_s  1m15s  9  at most  30m00s  no"


def test_what_is_to_be_typed_is_never_cut():
    row = {"check": "agent/claude", "ok": False, "why": "x" * 90, "fix": "install it and put it on PATH"}
    shown = lines(row, limit=60)
    assert " ".join(line.split("  ")[-1].strip() for line in shown[1:]) == row["fix"]
    assert all(line.startswith(" " * 20) for line in shown[2:])


def test_a_column_that_is_filled_later_makes_a_new_head():
    shown = table.Table(["a", "b"], None, False)
    assert list(shown.add([{"a": 1, "b": None}], NOW)) == ["a", "1"]
    assert list(shown.add([{"a": 2, "b": None}], NOW)) == ["2"]
    assert list(shown.add([{"a": 3, "b": "x"}], NOW)) == ["a  b", "3  x"]
    assert list(shown.add([{"a": "longer", "b": "x"}], NOW)) == ["longer  x"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": 1, "name": "agent/claude", "cause": "login", "why": "w", "since_at": NOW - 90, "released_by": None},
         "1 agent/claude login 1m30s ago w"),
        ({"kind": "session", "project_id": 7, "from": "failed", "to": "processing", "evidence": ["x"], "applied": True},
         "session 7 failed processing yes"),
        ({"id": 5, "at": NOW - 5, "kind": "hold", "message_id": None, "notify": {"state": "sent", "why": None}},
         "5 5s ago hold sent"),
        ({"pane_pid": 1, "role": "tester", "health": {"state": "idle", "dialog": None, "detail": None, "is_stuck": True,
                                                      "stuck_s": 2040}}, "tester idle stuck 34m00s"),
    ],
)  # fmt: skip
def test_the_kinds_of_row(row, words):
    assert " ".join(lines(row)[-1].split()) == words


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"status": "failed"}, "31"), ({"status": "completed"}, "32"), ({"status": "queued"}, "33"), ({"ok": False}, "31"),
        ({"ok": None}, "33"), ({"met": True}, "32"), ({"name": "failed"}, ""), ({"state": "unheard-of"}, ""),
        ({"completion": {"verdict": "working", "reasons": ["x"]}}, "32"),
        ({"health": {"state": "working", "dialog": None, "detail": None, "is_stuck": True, "stuck_s": 1}}, "31"),
        ({"recovery": {"action": "relaunch", "result": "failed", "reason": "r"}}, "31"),
    ],
)  # fmt: skip
def test_colours(row, code):
    painted = lines(row, colour=True)[1]
    assert painted.startswith(f"\x1b[{code}m") if code else "\x1b" not in painted
    assert lines(row, colour=True)[0].startswith("\x1b[1m")
    assert "\x1b" not in "".join(lines(row))


def test_every_state_that_is_painted_is_one(tmp_path):
    """A colour for a word that nothing prints would hide a state that was renamed."""
    sql = " ".join(row["sql"] or "" for row in store.write(str(tmp_path / "x.db")).all("SELECT sql FROM sqlite_schema"))
    others = {"ok", "yes", "no", "?", "lacks", "over", "waiting", "planned", "needs_human"}
    assert {word for word in table.COLOUR if f"'{word}'" not in sql} == others


@given(st.text())
def test_nothing_that_a_terminal_obeys(text):
    shown = "".join(lines({"name": "x" + text}, limit=200))
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in shown)
