"""tmux on a real server of our own: exact names, hostile names, guards, captures, and a server that is not there."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tmuxorch import proc, tmux
from tmuxorch.errors import Error, Later

HOSTILE = [
    "plain", "two words", "it's", 'say "x"', "a;b", "ends;", ";", "#(touch {mark})", "#{pid}", "##x", "#[fg=red]", "##[x",
    "a#b##", "$(touch {mark})", "`touch {mark}`", "$HOME", "~", "-t", "--", "new\nline", "\\", "ends\\;", "a\\",
    "日本 é", "%1", "{top}", "*",
    "!x", "tab\there",
]  # fmt: skip
# A pane that keeps, byte for byte, what it was given; with an agent's bracketed paste and no line discipline.
KEEPER = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"\\x1b[?2004hready")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while data := os.read(0, 65536):
    os.write(file, data)
"""


@pytest.fixture
def server(socket, until):
    """A server with one session of nobody's, `keep`."""
    plain = tmux.Tmux(socket, 20.0)
    plain.call("-f", "/dev/null", "new-session", "-d", "-s", "keep", "-x", "80", "-y", "24", "cat")
    until(lambda: is_cat(plain.panes()), "the pane's program")
    return plain


def is_cat(panes):
    """Whether the program is there: tmux names it before there is one, and the shell that becomes it thereafter."""
    if not panes:
        return False
    with open(f"/proc/{panes[0]['pane_pid']}/comm", encoding="utf-8") as file:
        return file.read() == "cat\n"


def launch(short, **changed):
    known = {
        "name": "Developer", "directory": short, "command": ["cat", "-u"], "environment": {}, "project": 7, "start": "s-1",
        "role": "developer", "agent": "stub", "run": "r-1",
    }  # fmt: skip
    return {**known, **changed}


def pane_of(server, pane_id):
    return next((pane for pane in server.panes() if pane["pane_id"] == pane_id), None)


def text_of(server, pane_id):
    return server.captures([pane_id])[pane_id]["text"]


@pytest.fixture
def keeper(server, short, until):
    """(a pane's record, the bytes that it was given so far)."""
    path = f"{short}/kept"
    made = server.add_window("keep", launch(short, command=[sys.executable, "-c", KEEPER, path]))
    until(lambda: "ready" in text_of(server, made["pane_id"]), "the pane")

    def kept():
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    return pane_of(server, made["pane_id"]), kept


# What is listed


def test_a_pane_of_nobodys(server, socket):
    (pane,) = server.panes()
    assert (pane["session_name"], pane["window_panes"], pane["pane_current_command"]) == ("keep", 1, "cat")
    assert pane["pane_id"].startswith("%")
    assert [pane[f"@tmo_{name}"] for name in ("project", "start", "role", "agent", "run")] == [""] * 5
    assert (pane["pane_dead"], pane["pane_in_mode"]) == (False, False)
    pid = int(server.call("display-message", "-p", "#{pid}"))
    assert re.fullmatch(rf"{pid}@\d+", pane["server"])
    assert pane["socket_path"] == os.path.realpath(socket)
    assert os.path.exists(f"/proc/{pane['pane_pid']}")


def test_odd_names_of_others_are_listed_whole(server, short):
    names = ["two words", "it's", "日本", "-dash", "pipe|x", 'q"uote', "a=b", "100%"]
    for name in names:
        server.call("new-session", "-d", "-s", name, "-n", name, "cat")
    panes = {pane["session_name"]: pane for pane in server.panes()}
    assert set(panes) == {"keep", *names}
    assert all(panes[name]["window_name"] == name for name in names)


@pytest.mark.parametrize("name", ["tab\there", "new\nline", "\N{SYMBOL FOR RECORD SEPARATOR}%1", "b\udcff", "x\t\t1\t2"])
def test_a_directory_of_any_name_hides_no_pane(name, server, short):
    """Who is not listed counts as missing, and is launched a second time."""
    directory = os.path.join(short, name)
    os.mkdir(directory)
    made = server.create("shop-7", [launch(short, directory=directory)])
    ids = [pane["pane_id"] for pane in server.panes()]
    assert made[0]["pane_id"] in ids
    assert len(ids) == len(set(ids)) == 2
    pane = pane_of(server, made[0]["pane_id"])
    assert (pane["session_name"], pane["@tmo_role"], pane["@tmo_run"]) == ("shop-7", "developer", "r-1")


def test_a_record_that_cannot_be_trusted_is_left_out(server):
    mark = tmux.new_mark()
    whole = server.call("list-panes", "-a", "-F", mark + tmux.FORMAT)
    assert len(tmux.parse_panes(whole, mark)) == 1
    assert tmux.parse_panes(whole.replace("\t", "", 1), mark) == []
    assert tmux.parse_panes(whole.replace("\tcat\t", "\tca\tt\t", 1), mark) == []
    assert tmux.parse_panes(mark + "noise\n" + whole, mark) == tmux.parse_panes(whole, mark)
    assert tmux.parse_panes("", mark) == []
    assert tmux.new_mark() != mark


# Exact targets


def rows(*names):
    return [
        {"pane_id": f"%{n}", "session_name": session, "window_index": index, "window_name": window, "pane_index": pane}
        for n, (session, index, window, pane) in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("%1", ["%1"]),
        ("%10", []),
        ("shop:0", ["%0"]),
        ("shop:Dev", ["%0"]),
        ("shop-2:0", ["%1", "%2"]),  # a window with two panes
        ("shop-2:0.1", ["%2"]),
        ("shop-2:Dev.0", ["%1"]),
        ("sho:0", []),  # no prefixes
        ("shop:De", []),
        ("shop", []),
        ("shop:", []),
        (":0", []),
        ("=shop:0", []),
        ("a.b:x.y", ["%3"]),
        ("a.b:x.y.0", ["%3"]),
        ("a:b:0", ["%4"]),
        ("", []),
        ("%", []),
        ("*:0", []),
    ],
)
def test_a_target_names_exactly(target, found):
    panes = rows(
        ("shop", 0, "Dev", 0), ("shop-2", 0, "Dev", 0), ("shop-2", 0, "Dev", 1), ("a.b", 0, "x.y", 0), ("a:b", 0, "w", 0)
    )
    assert [pane["pane_id"] for pane in tmux.find(panes, target)] == found


def test_only_the_session_of_that_very_name_is_changed_or_ended(server, short):
    for name in ("shop-7", "shop-70", "shop"):
        server.create(name, [launch(short)])
    server.end_session("shop-7")
    assert {pane["session_name"] for pane in server.panes()} == {"keep", "shop-70", "shop"}
    server.end_session("shop-7")  # gone already; `shop-70` begins alike
    server.end_session("sho")
    assert {pane["session_name"] for pane in server.panes()} == {"keep", "shop-70", "shop"}
    before = [pane["pane_id"] for pane in server.panes()]
    with pytest.raises(tmux.Gone):
        server.add_window("shop-7", launch(short))
    assert [pane["pane_id"] for pane in server.panes()] == before
    with pytest.raises(tmux.Gone, match="duplicate session"):
        server.create("shop", [launch(short)])


# What is made


def tags(pane):
    return {name: pane[f"@tmo_{name}"] for name in ("project", "start", "role", "agent", "run")}


def test_a_session_with_its_windows_and_tags(server, short):
    launches = [launch(short), launch(short, name="Tester", role="tester", run="r-2")]
    made = server.create("shop-7", launches)
    panes = [pane_of(server, one["pane_id"]) for one in made]
    assert [pane["window_name"] for pane in panes] == ["Developer", "Tester"]
    assert [one["window_index"] for one in made] == [pane["window_index"] for pane in panes]
    assert [tags(pane) for pane in panes] == [
        {"project": "7", "start": "s-1", "role": "developer", "agent": "stub", "run": "r-1"},
        {"project": "7", "start": "s-1", "role": "tester", "agent": "stub", "run": "r-2"},
    ]
    third = server.add_window("shop-7", launch(short, name="DevOps", role="devops", run="r-3"))
    assert tags(pane_of(server, third["pane_id"]))["role"] == "devops"
    assert tags(pane_of(server, made[0]["pane_id"]))["run"] == "r-1"
    assert tags(server.panes()[0])["project"] == ""  # `keep` is nobody's still


def test_roles_that_are_numbers_are_tagged_each_on_its_own_pane(server, short):
    """tmux takes a number for a window's place."""
    roles = ["1", "0", "2"]
    made = server.create("shop-7", [launch(short, name=role, role=role, run=f"r-{role}") for role in roles])
    for role, one in zip(roles, made, strict=True):
        assert (pane_of(server, one["pane_id"])["@tmo_role"], pane_of(server, one["pane_id"])["@tmo_run"]) == (
            role,
            f"r-{role}",
        )


def test_a_window_of_the_same_name_that_is_a_persons_gets_no_tag(server, short):
    server.create("shop-7", [launch(short, name="Tester", role="tester")])
    theirs = server.call("new-window", "-d", "-P", "-F", "#{pane_id}", "-t", "=shop-7:", "-n", "Developer", "cat").strip()
    made = server.add_window("shop-7", launch(short, run="r-2"))
    assert pane_of(server, theirs)["@tmo_role"] == ""
    assert (pane_of(server, made["pane_id"])["@tmo_role"], pane_of(server, made["pane_id"])["@tmo_run"]) == (
        "developer",
        "r-2",
    )
    assert pane_of(server, made["pane_id"])["window_name"] == "Developer"


def test_a_pane_stays_to_be_looked_at_when_its_program_ends(server, short, until):
    """All but its first line: tmux moves the screen up to write below it that the pane is dead. Its status may be lost:
    tmux 3.3a sometimes sees the end of the terminal and never that of the process."""
    made = server.create("shop-7", [launch(short, command=["sh", "-c", "echo; echo last words; read word; exit 3"])])[0]
    until(lambda: "last words" in text_of(server, made["pane_id"]), "its words")
    server.call("send-keys", "-t", made["pane_id"], "Enter")
    pane = until(lambda: (found := pane_of(server, made["pane_id"]))["pane_dead"] and found, "its end")
    assert pane["pane_dead_status"] in ("3", "")
    assert pane["@tmo_run"] == "r-1"
    assert "last words" in text_of(server, made["pane_id"])


def test_a_respawn_takes_the_same_pane_with_a_new_run(server, short, until):
    made = server.create("shop-7", [launch(short)])[0]
    before = pane_of(server, made["pane_id"])
    server.respawn(made["pane_id"], launch(short, run="r-2", command=["sh", "-c", "echo again; exec cat"]))
    after = pane_of(server, made["pane_id"])
    assert after["pane_pid"] != before["pane_pid"]
    assert tags(after)["run"] == "r-2"
    until(lambda: "again" in text_of(server, made["pane_id"]), "the new program")
    with pytest.raises(tmux.Gone):
        server.respawn("%999", launch(short))


def test_a_session_of_all_roles_is_made_at_once(server, short):
    """More words than tmux takes as arguments."""
    launches = [launch(short, name=f"w{n}", run=f"r-{n}", environment={"LONG": "x" * 2000}) for n in range(15)]
    made = server.create("shop-7", launches)
    assert [pane_of(server, one["pane_id"])["@tmo_run"] for one in made] == [f"r-{n}" for n in range(15)]


def test_a_session_that_is_there_gets_no_windows_of_another(server, short):
    server.create("shop-7", [launch(short)])
    with pytest.raises(tmux.Gone, match="duplicate session"):
        server.create("shop-7", [launch(short, run="r-2"), launch(short, name="more", run="r-3")])
    assert [pane["@tmo_run"] for pane in server.panes() if pane["session_name"] == "shop-7"] == ["r-1"]


def test_a_session_is_made_where_no_server_runs(socket, short):
    made = tmux.Tmux(socket, 20.0).create("shop-7", [launch(short)])
    assert pane_of(tmux.Tmux(socket, 20.0), made[0]["pane_id"])["session_name"] == "shop-7"


# Hostile names: nothing runs, everything arrives as it is


@pytest.fixture
def mark(short):
    """A file that appears if a name was run as a command."""
    path = f"{short}/ran"
    yield path
    assert not os.path.exists(path)


SHOW = "import json, os, sys; json.dump([sys.argv[2:], os.getcwd(), os.environ.get('GIVEN')], open(sys.argv[1], 'w'))"


def shown(path, until):
    def read():
        try:
            with open(path) as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    return until(read, "the program")


@pytest.mark.parametrize("way", ["create", "add_window", "respawn"])
def test_hostile_words_reach_the_program_and_nothing_else(way, server, short, mark, until):
    words = [word.replace("{mark}", mark) for word in HOSTILE]
    one = launch(short, command=[sys.executable, "-c", SHOW, f"{short}/out", *words, ""])
    make(server, way, one)
    assert shown(f"{short}/out", until)[0] == [*words, ""]


def make(server, way, one):
    if way == "create":
        server.create("shop-7", [one])
    elif way == "add_window":
        server.add_window("keep", one)
    else:
        made = server.create("shop-7", [{**one, "command": ["cat", "-u"], "directory": "/", "environment": {}}])
        server.respawn(made[0]["pane_id"], one)


@pytest.mark.parametrize("way", ["create", "respawn"])
@pytest.mark.parametrize("word", [word for word in HOSTILE if word != "{top}"])
def test_a_hostile_directory_and_variable(word, way, server, short, mark, until):
    name = word.replace("{mark}", mark)
    directory = os.path.join(short, name.replace("/", "_"))
    os.mkdir(directory)
    runs = name.replace(mark, "ran")  # below its parent a command in a name would leave its mark there
    os.makedirs(os.path.join(short, runs), exist_ok=True)
    for place in (directory, os.path.join(short, runs)):
        out = f"{short}/out-{len(os.listdir(short))}"
        one = launch(short, directory=place, environment={"GIVEN": name}, command=[sys.executable, "-c", SHOW, out, "x"])
        make(server, way, one)
        assert shown(out, until)[1:] == [os.path.realpath(place), name]
        server.end_session("shop-7")
    assert not any("ran" in files for _, _, files in os.walk(short))


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_roles_and_runs_are_only_tags(word, server, short, mark):
    """They are reduced before they come here; even as they are nothing runs."""
    word = word.replace("{mark}", mark)
    made = server.create("shop-7", [launch(short, agent=word)])
    pane = pane_of(server, made[0]["pane_id"])
    assert pane["session_name"] == "shop-7"
    assert pane["@tmo_agent"] == word or "\t" in word


# Screens


def test_captures_of_many_panes_in_one_client(server, short, until):
    made = server.create(
        "shop-7",
        [launch(short, name=f"w{n}", run=f"r-{n}", command=["sh", "-c", f"printf 'I am {n}'; exec cat"]) for n in range(3)],
    )
    ids = [one["pane_id"] for one in made]
    found = until(
        lambda: (shots := server.captures(ids)) and all("I am" in shot["text"] for shot in shots.values()) and shots, "all"
    )
    assert list(found) == ids
    for number, pane_id in enumerate(ids):
        assert found[pane_id]["text"].startswith(f"I am {number}")
        assert (found[pane_id]["cursor_x"], found[pane_id]["cursor_y"]) == (6, 0)
        assert (found[pane_id]["width"], found[pane_id]["height"]) == (200, 50)
    assert server.captures([]) == {}


def test_a_pane_that_is_gone_or_dead_costs_the_others_nothing(server, short, until):
    made = server.create(
        "shop-7",
        [
            launch(short, name="a"),
            launch(short, name="b", run="r-2", command=["sh", "-c", "echo; echo farewell; read word"]),
        ],
    )
    alive, dead = (one["pane_id"] for one in made)
    until(lambda: "farewell" in text_of(server, dead), "its words")
    server.call("send-keys", "-t", dead, "Enter")
    until(lambda: pane_of(server, dead)["pane_dead"], "its end")
    found = server.captures(["%999", alive, "%998", dead, "%997"])
    assert set(found) == {alive, dead}
    assert "farewell" in found[dead]["text"]
    server.end_session("shop-7")
    assert server.captures([alive, dead]) == {}


def test_a_screen_keeps_its_colours_and_wide_characters(server, short, until):
    made = server.add_window("keep", launch(short, command=["sh", "-c", r"printf '日本 \033[2mdim\033[0m ─❯ é'; exec cat"]))
    text = until(lambda: "é" in (text := text_of(server, made["pane_id"])) and text, "the text")
    assert "日本 \x1b[2mdim" in text
    assert "─❯ é" in text


def test_a_screen_that_shows_our_own_mark_is_whole_and_is_nobody_elses(server, short, until):
    other = server.panes()[0]["pane_id"]
    fake = f"{tmux.new_mark()}{other} 0 0 80 24"
    made = server.add_window("keep", launch(short, command=["sh", "-c", f"printf '%s\\nforged\\n' '{fake}'; exec cat"]))
    until(lambda: "forged" in server.call("capture-pane", "-p", "-t", made["pane_id"]), "the text")
    found = server.captures([other, made["pane_id"]])
    assert "forged" in found[made["pane_id"]]["text"]
    assert "forged" not in found[other]["text"]
    assert "forged" not in server.captures([made["pane_id"], other])[other]["text"]


# Pasting and pressing


def test_a_paste_is_bracketed_and_byte_for_byte(keeper, server, until):
    pane, kept = keeper
    for text in [
        "hello",
        "ends;",
        ";",
        "two\nlines\n",
        "tab\there",
        "#{pid} #(touch x)",
        "-t x",
        "日本 é",
        "\\",
        "x" * 100_000,
        "Enter",
        "'\"",
    ]:
        before = kept()
        assert server.paste(pane["pane_id"], text, tmux.guard(pane)) is True
        wanted = before + b"\x1b[200~" + text.encode() + b"\x1b[201~"
        until(lambda: len(kept()) >= len(wanted), text[:20])  # noqa: B023
        assert kept() == wanted
    assert server.call("list-buffers") == ""


def test_a_key_is_pressed_once(keeper, server, until):
    pane, kept = keeper
    assert server.press(pane["pane_id"], "Enter", tmux.guard(pane)) is True
    until(lambda: kept() == b"\r", "Enter")
    assert server.press(pane["pane_id"], "Down", tmux.guard(pane)) is True
    until(lambda: kept() == b"\r\x1b[B", "Down")


CHANGES = [{"@tmo_run": "r-2"}, {"@tmo_run": ""}, {"pane_pid": 1}, {"pane_id": "%999"}]


@pytest.mark.parametrize("changed", CHANGES)
def test_nothing_is_typed_into_a_pane_that_is_another_one_now(changed, keeper, server, until):
    pane, kept = keeper
    other = tmux.guard({**pane, **changed})
    assert server.paste(pane["pane_id"], "secret", other) is False
    assert server.press(pane["pane_id"], "Enter", other) is False
    assert server.call("list-buffers") == ""
    assert server.press(pane["pane_id"], "x", tmux.guard(pane)) is True
    until(lambda: kept(), "the last key")
    assert kept() == b"x"


def test_nothing_is_typed_into_a_dead_pane(server, short, until):
    made = server.add_window("keep", launch(short, command=["sh", "-c", "exit 0"]))
    pane = until(lambda: (found := pane_of(server, made["pane_id"]))["pane_dead"] and found, "its end")
    assert server.paste(pane["pane_id"], "x", tmux.guard({**pane, "pane_dead": False})) is False
    assert server.press(pane["pane_id"], "Enter", tmux.guard(pane)) is False


def test_a_pane_that_is_gone_is_said_to_be_gone_or_refused(keeper, server):
    pane, _ = keeper
    server.call("kill-pane", "-t", pane["pane_id"])
    for typed in (
        lambda: server.paste(pane["pane_id"], "x", tmux.guard(pane)),
        lambda: server.press(pane["pane_id"], "x", tmux.guard(pane)),
    ):
        try:
            assert typed() is False
        except tmux.Gone:
            pass
    assert server.call("list-buffers") in ("", None) or "secret" not in server.call("list-buffers")


def test_a_tag_that_is_not_ours_cannot_steer_the_guard(keeper, server, short):
    pane, kept = keeper
    hostile = "}},#{l:1}"
    server.call("set-option", "-p", "-t", pane["pane_id"], "@tmo_run", hostile)
    fresh = pane_of(server, pane["pane_id"])
    assert hostile not in tmux.guard(fresh)
    assert server.press(pane["pane_id"], "x", tmux.guard({**fresh, "pane_pid": 1})) is False


def test_no_key_is_pressed_in_a_pane_that_was_synchronized_since_the_look(keeper, server):
    pane, _ = keeper
    server.call("set-option", "-w", "-t", pane["pane_id"], "synchronize-panes", "on")
    assert pane_of(server, pane["pane_id"])["pane_synchronized"]
    assert server.press(pane["pane_id"], "Enter", tmux.guard(pane)) is False
    server.call("set-option", "-w", "-t", pane["pane_id"], "synchronize-panes", "off")
    assert server.press(pane["pane_id"], "Enter", tmux.guard(pane)) is True


def test_copy_mode_is_left_before_anything_is_typed(keeper, server, until):
    pane, kept = keeper
    server.call("copy-mode", "-t", pane["pane_id"])
    assert pane_of(server, pane["pane_id"])["pane_in_mode"]
    assert server.paste(pane["pane_id"], "hello", tmux.guard(pane))
    assert not pane_of(server, pane["pane_id"])["pane_in_mode"]
    server.call("copy-mode", "-t", pane["pane_id"])
    assert server.press(pane["pane_id"], "Enter", tmux.guard(pane))
    until(lambda: kept() == b"\x1b[200~hello\x1b[201~\r", "paste and Enter")
    assert not pane_of(server, pane["pane_id"])["pane_in_mode"]


# Servers that are not there


def everything(server, short):
    return {
        "panes": server.panes,
        "captures": lambda: server.captures(["%0"]),
        "paste": lambda: server.paste("%0", "x", "1"),
        "press": lambda: server.press("%0", "x", "1"),
        "environment": server.environment,
        "add_window": lambda: server.add_window("keep", launch(short)),
        "respawn": lambda: server.respawn("%0", launch(short)),
    }


@pytest.mark.parametrize("what", ["panes", "captures", "paste", "press", "environment", "add_window", "respawn"])
def test_no_server_is_a_fact(what, socket, short):
    with pytest.raises(tmux.NoServer):
        everything(tmux.Tmux(socket, 20.0), short)[what]()


def test_a_server_that_ended_is_a_fact_too(server, short):
    server.call("kill-server")
    for what, ask in everything(server, short).items():
        with pytest.raises((tmux.NoServer, Later)):
            ask()
            pytest.fail(what)
    server.end_session("keep")  # nothing to do


@pytest.mark.parametrize("what", ["panes", "captures", "paste", "press", "environment", "add_window", "respawn"])
def test_a_server_that_does_not_answer_is_later(what, server, socket, short):
    pid = int(server.call("display-message", "-p", "#{pid}"))
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(Later) as raised:
            everything(tmux.Tmux(socket, 0.3), short)[what]()
        assert raised.value.status == 75
        assert "tmux does not answer" in str(raised.value)
        assert time.monotonic() - start < 15
    finally:
        os.kill(pid, signal.SIGCONT)
    assert server.panes()


def words_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read().split()


@pytest.fixture
def fake(short, monkeypatch):
    """Put a tmux of our own on PATH; those that hang write down their pid and are ended."""

    def put(script):
        os.mkdir(f"{short}/bin")
        with open(f"{short}/bin/tmux", "w") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(f"{short}/bin/tmux", 0o755)
        monkeypatch.setenv("PATH", f"{short}/bin:{os.environ['PATH']}")
        return tmux.Tmux(f"{short}/none", 0.3)

    yield put
    if os.path.exists(f"{short}/pids"):
        for pid in words_of(f"{short}/pids"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def test_a_tmux_that_hangs_is_later_and_is_ended(fake, short, until):
    server = fake(f"echo $$ >>{short}/pids; exec sleep 600")
    with pytest.raises(Later, match="does not answer within 0.3 s"):
        server.panes()
    for pid in words_of(f"{short}/pids"):
        assert not os.path.exists(f"/proc/{pid}")


def test_a_client_that_nobody_waits_for_is_ended(fake, short, until):
    answer = fake(f"echo $$ >>{short}/pids; exec sleep 600").ask_panes()
    until(lambda: os.path.exists(f"{short}/pids") and words_of(f"{short}/pids"), "the client")
    del answer
    for pid in words_of(f"{short}/pids"):
        assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize(
    "script", ["exit 1", "echo weird >&2; exit 1", "kill -9 $$", "echo 'unknown option -- F' >&2; exit 1", "echo weird"]
)
def test_a_tmux_that_lists_no_panes_has_told_nothing(script, fake):
    with pytest.raises(Later):
        fake(script).panes()


def test_what_a_tmux_refuses_of_a_target_is_gone(fake):
    with pytest.raises(tmux.Gone):
        fake('echo "can\'t find pane" >&2; exit 1').call("display-message", "-t", "%9")


@pytest.mark.parametrize("words", ["no server running on /tmp/x", "error connecting to /tmp/x (No such file or directory)"])
def test_the_words_for_no_server(words, fake):
    with pytest.raises(tmux.NoServer):
        fake(f"echo '{words}' >&2; exit 1").panes()


@pytest.mark.parametrize("words", ["lost server", "server exited unexpectedly"])
def test_a_server_that_ends_while_it_is_asked_is_later(words, fake):
    with pytest.raises(Later):
        fake(f"echo '{words}' >&2; exit 1").panes()


def test_no_tmux_at_all_is_said_so(short, monkeypatch):
    monkeypatch.setenv("PATH", short)
    with pytest.raises(Error, match="cannot find tmux on PATH") as raised:
        tmux.Tmux(f"{short}/none").panes()
    assert raised.value.status == 2


def test_always_utf8(fake, short):
    server = fake(f'printf "%s\\n" "$@" >{short}/args; exit 0')
    server.call("list-panes")
    assert words_of(f"{short}/args")[:3] == ["-u", "-S", f"{short}/none"]


@pytest.mark.parametrize(
    ("said", "version"), [("tmux 3.3a", (3, 3)), ("tmux 3.5", (3, 5)), ("tmux next-3.6", (3, 6)), ("tmux master", None)]
)
def test_version(said, version, fake):
    assert fake(f"echo '{said}'").version() == version


def test_the_environment_of_new_panes(server):
    server.call("set-environment", "-g", "ONE", "1=2")
    server.call("set-environment", "-gr", "GONE")
    found = server.environment()
    assert found["ONE"] == "1=2"
    assert "GONE" not in found


def test_a_name_is_a_socket_of_that_name_and_a_path_one_of_that_path(fake, short):
    fake(f'echo "$*" >>{short}/args')
    for socket in ("", "name", "/a/path"):
        tmux.Tmux(socket).call("list-panes")
    said = "-u list-panes -u -L name list-panes -u -S /a/path list-panes"
    assert words_of(f"{short}/args") == said.split()


def test_nothing_of_ours_is_left_behind(server, short):
    before = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True, timeout=20).stdout
    server.panes()
    server.captures(["%0"])
    after = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True, timeout=20).stdout
    ours = [line for line in after.splitlines() if server.socket in line and line not in before]
    assert ours == []


def test_a_launch_is_told_from_the_first_moment_on(server, short):
    """Before its exec the new process still bears the name and the words of the tmux server."""
    pane_id = server.create("shop-7", [launch(short)])[0]["pane_id"]
    command = ["/bin/sh", "-c", 'shift; "$@"; true', tmux.LAUNCHER, os.environ["PATH"], "cat"]
    for _ in range(60):
        server.respawn(pane_id, launch(short, command=command))
        process = proc.read(pane_of(server, pane_id)["pane_pid"])
        assert process and tmux.launching(process), process


@pytest.mark.parametrize(
    ("name", "argv", "expected"),
    [
        ("sh", ["/bin/sh", "-c", "x", "tmuxorch", "/bin"], True),
        ("tmux: server", ["tmux", "-S", "/tmp/s"], True),
        ("sh", [], True),
        ("bash", ["-bash"], False),
        ("bash", ["bash", "tmuxorch"], False),
        ("python3", ["python3", "agent"], False),
    ],
)
def test_what_is_on_its_way_to_an_agent(name, argv, expected):
    assert tmux.launching({"name": name, "argv": argv}) is expected
