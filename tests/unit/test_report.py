"""The report: what it says of a night, that its numbers are tmo-kpi's, and that nothing in it is taken for HTML."""

import contextlib
import html.parser
import json
import re
import time

import pytest
from test_figures import NOW, add_message, drop_triggers, event, fill
from tmuxorch import figures, page, report, store
from tmuxorch.store import stats

HOSTILE = '<script>alert("x")</script> & \'"`{{ 7*7 }}'


@pytest.fixture
def db(tmp_path):
    made = store.write(str(tmp_path / "task_queue.db"))
    with contextlib.closing(made.connection) as connection:
        drop_triggers(connection)
        yield made


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def values(db, since=None, now=NOW):
    facts = stats.night(db, since or 0)
    rows = figures.figures(facts["units"], since, now)
    return report.page(facts, rows, since, now), rows


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: its elements, whether they close, its text, its numbers."""

    EMPTY = {"meta", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.data = [], [], "", {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "data":
            self.data[dict(attrs)["id"].removeprefix("kpi-")] = dict(attrs)["value"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def test_the_numbers_are_those_of_tmo_kpi(db):
    fill(db)
    found, rows = values(db)
    shown = Page(page.render(found)).data
    wanted = {row["name"]: "" if row["value"] is None else str(row["value"]) for row in rows}
    assert {name: wanted[name] for name in shown} == shown
    twice = {name for name in wanted if name not in shown}  # a 95th percentile that reads as the median does
    assert all(".".join([name.replace("_p95_", "_p50_")]) in shown for name in twice)
    assert all(name.startswith(("time_to_detect_p95_s.", "time_to_recover_p95_s.")) for name in twice)


def test_the_night_in_words(db):
    fill(db)
    found, _ = values(db)
    assert found["headline"] == "3 of 6 projects completed, 1 failed, 1 running, 1 cancelled."
    assert (found["from"], found["until"]) == ("1 Jan 00:00", "1 Jan 00:33")
    assert [(row["what"], row["since"]) for row in found["needs"]] == [
        ("agent/stub: the login is lost", "50 s ago"), ("1 failed project", None),
    ]  # fmt: skip
    assert [(row["fault"], row["detect50"]["value"], row["recover95"]["value"]) for row in found["faults"]] == [
        ("hung", "1 min", "–"), ("idle", "1 min", "20 s"), ("login", "2 min", "9 min 30 s"), ("shell", "1 min", "1 min"),
    ]  # fmt: skip
    cards = {card["name"]: (card["value"], card["cases"], card["target"], card["state"]) for card in found["targets"]}
    assert cards["success_rate"] == ("75 %", "3 of 4", "above 95 %", "missed")
    assert cards["time_to_detect_p95_s"] == ("2 min", "4 cases", "at most 30 min", "met")


def test_a_lane_by_hand(db):
    fill(db)
    db.run("UPDATE project_queue SET started_at = 100, completed_at = 1100 WHERE id = 1")
    found, _ = values(db)
    lane = found["lanes"][0]  # 0 .. 2000 s are 1000 units
    assert lane["stripes"] == {"setup": "M0 0H50", "processing": "M50 0H500", "completing": "M500 0H550"}
    assert lane["holds"] == "M150 0H425M500 0H550M50 0H100"  # 300 to 850, 1000 to 1200, 100 to 200: cut at its ends
    assert lane["trouble"] == "M200 0H230"
    assert [mark["x"] for mark in (*lane["faults"], *lane["recoveries"])] == ["200", "230"]
    assert lane["faults"][0]["text"] == "1 Jan 00:06 developer: shell"
    assert lane["recoveries"][0]["text"] == "back after 1 min"
    assert (lane["end"], lane["took"]) == ({"x": "550", "status": "completed"}, "16 min 40 s")
    assert found["lanes"][3]["end"] is None  # it runs


def test_the_ticks_are_round_local_times(monkeypatch):
    monkeypatch.setenv("TZ", "XXX-5:30")  # half an hour off
    time.tzset()
    ticks = report.Scale(0, 8 * 3600).ticks()
    assert [tick["text"] for tick in ticks][:3] == ["06:00", "07:00", "08:00"]
    assert ticks[0]["left"] == pytest.approx(100 / 16, abs=0.01)
    for span in (1, 50, 3000, 90000, 3e6, 3e8):
        assert 1 <= len(report.Scale(1e9, 1e9 + span).ticks()) <= 2 * report.TICKS + 1


def test_what_a_failure_rests_on(db):
    fill(db)
    output = "\n".join(f"line {n}" for n in range(99))
    db.run("UPDATE project_queue SET error_message = 'the verify command failed', started_at = 100 WHERE id = 3")
    db.run("DELETE FROM event WHERE project_id = 3 AND dest = 'failed'")
    event(db, "status", "error", 950, "tmo-complete", project_id=3, dest="failed",
          evidence=json.dumps({"command": "make test", "status": 2, "output": output}))  # fmt: skip
    event(db, "end", "end", 960, "tmo-start", project_id=3, evidence=json.dumps({"screen": "$ make\nlast words"}))
    (failure,) = values(db)[0]["failures"]
    assert failure["why"] == "the verify command failed"
    assert [(row["key"], row["value"][:9], row["long"]) for row in failure["evidence"]] == [
        ("command", "make test", False), ("status", "2", False), ("output", "line 69\nl", True),
    ]  # fmt: skip
    assert failure["screen"] == "$ make\nlast words"


def test_the_waits_on_their_line(db):
    fill(db)
    found = values(db)[0]["delivery"]
    assert found["n"] == 3  # 1.5, 2 and 7 s, between 0.1 and 10 s
    assert [(bar["x"], bar["n"]) for bar in found["bars"]] == [(55.0, 1), (65.0, 1), (90.0, 1)]
    assert [(tick["left"], tick["text"]) for tick in found["ticks"]] == [(0, "0.1 s"), (50, "1 s"), (100, "10 s")]
    assert found["ends"] == [("submitted", 3), ("unknown", 1)]


@pytest.mark.parametrize(("at", "left"), [(90, 0), (100.05, 0), (100.1, 0), (100.5, 69.9)])  # a clock that was set back
def test_a_message_that_hardly_waited(db, at, left):
    add_message(db, 1, None, 100, 100, [(100, "queued"), (at, "submitted")])
    found = values(db)[0]["delivery"]
    assert [(bar["x"], bar["n"]) for bar in found["bars"]] == [(left // 10 * 10, 1)]
    assert [line["left"] for line in found["lines"]] == [left, left]
    assert [tick["text"] for tick in found["ticks"]] == ["0.1 s", "1 s"]


@pytest.mark.parametrize(
    ("name", "age", "finished", "silent"),
    [
        ("watch", 599, True, False), ("watch", 601, True, True), ("nightly", 90000, True, False),
        ("watch", 3899, False, False),  # it may take its time
        ("watch", 3901, False, True),  # it was killed
    ],
)  # fmt: skip
def test_a_cron_line_that_is_silent(name, age, finished, silent):
    beat = {"name": name, "started_at": NOW - age, "finished_at": NOW - age + 1 if finished else None}
    assert report.silent(beat, NOW) is silent


def test_nothing_is_taken_for_html(db):
    fill(db)
    db.run("UPDATE project_queue SET name = ?, error_message = ?", (HOSTILE, HOSTILE))
    db.run("UPDATE hold SET name = ?, why = ? WHERE released_at IS NULL", (f"agent/{HOSTILE}", HOSTILE))
    db.insert("heartbeat", {"name": HOSTILE, "host": HOSTILE, "started_at": 1, "finished_at": 2})
    db.insert("agent_health", {"project_id": 4, "role": HOSTILE, "agent": "stub", "host": "h", "needs_human": 1})
    event(db, "notice", "needs_human", 5, "tmo-recover", project_id=4, role=HOSTILE, why=HOSTILE)
    event(db, "end", "end", 9, "tmo-start", project_id=3, evidence=json.dumps({"screen": HOSTILE}))
    event(db, "status", "error", 950, "x", project_id=3, dest="failed", evidence=json.dumps({HOSTILE: HOSTILE}))
    text = page.render(values(db)[0])
    read = Page(text)
    assert {tag for tag, _ in read.elements} & {"script", "img", "iframe", "object", "form"} == set()
    assert not [name for _, attrs in read.elements for name in attrs if name.startswith("on")]
    assert read.text.count(HOSTILE) > 8  # and all of it is there to be read


def test_the_page_asks_for_nothing_from_elsewhere(db):
    fill(db)
    text = page.render(values(db)[0])
    assert not re.search(r"https?:|url\(|@import|src=", text)
    assert [attrs["href"] for _, attrs in Page(text).elements if "href" in attrs] == ["data:,"]


def test_a_night_in_which_nothing_happened(db):
    found, _ = values(db)
    assert found["headline"] == "No project in this time."
    assert "Nothing." in Page(page.render(found)).text


def test_only_what_is_in_the_window(db):
    fill(db)
    db.run("UPDATE project_queue SET completed_at = 900 WHERE id = 3")
    db.run("UPDATE project_queue SET completed_at = 1900 WHERE id IN (1, 2, 5, 6)")
    assert [lane["id"] for lane in values(db, 1000)[0]["lanes"]] == [1, 2, 4, 5, 6]
    assert values(db, 1000)[0]["failures"] == []


def crowd(db, count, hours=9.0):
    """A night of so many projects: of each ten three have faults, and one fails with what speaks for it."""
    with db.transaction():
        for number in range(1, count + 1):
            start = (number * 37 % count) * hours * 2400 / count
            failed = number % 10 == 0
            lasts = 1800 + number * 997 % 7200
            db.insert("project_queue", {
                "id": number, "name": f"project-with-a-long-name-{number}", "size": report.SIZES[number % 4],
                "status": "failed" if failed else "completed", "agent": "claude", "roles": "developer", "enqueued_at": 0,
                "session_name": "s", "started_at": start + 20, "completed_at": start + lasts, "status_at": start + lasts,
                "error_message": "the verify command failed with status 1, after 3 rounds of rework" if failed else None,
            })  # fmt: skip
            for at, name, dest in ((start, "start", "initializing"), (start + 5, "auth_required", "authenticating"),
                                   (start + 8, "auth_complete", "setting_up"), (start + 20, "setup_complete", "processing"),
                                   (start + lasts - 30, "work_complete", "completing")):  # fmt: skip
                event(db, "status", name, at, "tmo-start", project_id=number, dest=dest)
            proof = json.dumps({"command": "make test", "status": 1, "output": "FAILED tests/test_shop.py\n" * 150})
            event(db, "status", "error" if failed else "finalize", start + lasts, "tmo-complete", project_id=number,
                  dest="failed" if failed else "completed", evidence=proof if failed else None)  # fmt: skip
            for place, fault in enumerate(("shell", "hung", "login") if number % 10 < 3 else ()):
                at = start + 100 + 400 * place
                for moment, source, dest in ((at, "working", fault), (at + 130, fault, "working")):
                    event(db, "health", dest, moment, "tmo-health", project_id=number, role="developer", source=source,
                          dest=dest, looked_at=moment - 60)  # fmt: skip
            for key in range(4):
                at = start + 30 + key * 300
                wait = 0.2 * 1.5 ** (number % 20)
                add_message(db, 10 * number + key, number, at, at, [(at, "queued"), (at + wait, "submitted")])
        db.insert("hold", {"name": "agent/claude", "cause": "login", "actor": "tmo-recover", "since_at": 9000.0,
                           "released_at": 12600.0, "released_by": "tmo-recover"})  # fmt: skip


def test_five_hundred_projects_are_less_than_two_megabytes(db):
    crowd(db, 500)
    began = time.monotonic()
    text = page.render(values(db, now=40000.0)[0])
    assert time.monotonic() - began < 20
    assert len(text.encode()) < 2e6
    read = Page(text)
    assert sum(tag == "svg" for tag, _ in read.elements) == 501
    assert "450 of 500 projects completed, 50 failed." in read.text
