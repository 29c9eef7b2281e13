"""cli: the parser, rows in, rows out and the exit status, as a command uses them."""

import json
import os
import re
import resource
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tmuxorch import __version__, cli
from tmuxorch.errors import Error, Later, Refused

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = f"""#!/usr/bin/env python3
# tmo-sample - do something for the test
import sys
sys.path.insert(0, {ROOT + "/lib"!r})
from tmuxorch import cli
from tmuxorch.errors import Error, Later, Refused
"""


@pytest.fixture
def command(tmp_path):
    """Run a command whose main() has this body; (status, stdout, stderr)."""

    def run(body, *args, given=b"", changes=False, tail="", env=None):
        path = tmp_path / "tmo-sample"
        lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
        path.write_text(f"{HEAD}def main():\n{lines}\ncli.run(main, changes={changes})\n")
        words = [sys.executable, str(path), *args]
        if tail:
            words = ["bash", "-c", f'"$@" | {tail}; exit "${{PIPESTATUS[0]}}"', "bash", *words]
        environ = {"PATH": os.environ["PATH"], **(env or {})}
        done = subprocess.run(words, input=given, capture_output=True, timeout=60, env=environ, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


# Exit status, and one line instead of a traceback


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("return None", 0, ""),
        ("return cli.NO", 1, ""),
        ("return 75", 75, ""),
        ("raise Error(\"cannot find pane 'web:9'\")", 2, "tmo-sample: cannot find pane 'web:9'\n"),
        ('raise Refused("the answer is no")', 1, "tmo-sample: the answer is no\n"),
        ('raise Later("tmux does not answer")', 75, "tmo-sample: tmux does not answer\n"),
        ('raise Error("two\\nlines  here")', 2, "tmo-sample: two lines here\n"),
        ('open("/no/such/file")', 2, "tmo-sample: cannot use '/no/such/file': No such file or directory\n"),
        ("raise OSError(28, 'No space left on device')", 2, "tmo-sample: system error: No space left on device\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_the_status_and_one_line_on_stderr(body, status, words, command):
    assert command(body) == (status, "", words)


def test_a_mistake_of_ours_does_show_its_traceback(command):
    status, _, err = command("return 1 / 0")
    assert status == 1
    assert "ZeroDivisionError" in err


def test_the_classes_of_errors_have_their_statuses():
    assert (Error.status, Refused.status, Later.status) == (2, 1, 75)
    assert (cli.OK, cli.NO, cli.WRONG, cli.LATER) == (0, 1, 2, 75)


# The parser


PARSE = """
parser = cli.Parser(__file__, "[-n] FILE")
parser.add_argument("-n", "--number", type=int)
parser.add_argument("file")
print(parser.parse_args())
"""


def test_help_version_and_wrong_calls(command):
    status, out, err = command(PARSE, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: tmo-sample [-n] FILE\n\ndo something for the test\n")
    assert command(PARSE, "--version") == (0, f"tmo-sample {__version__}\n", "")
    for words in ([], ["-n", "x", "f"], ["--what", "f"], ["--num", "1", "f"]):
        status, out, err = command(PARSE, *words)
        assert (status, out) == (2, "")
        assert err.startswith("tmo-sample: ")
        assert err.endswith("(see tmo-sample --help)\n")
        assert err.count("\n") == 1


@pytest.mark.parametrize("columns", ["", "x", "0", "1", "20", "500"])
def test_help_fits_any_terminal(columns, command):
    status, out, err = command(PARSE, "--help", env={"COLUMNS": columns})
    assert (status, err) == (0, "")
    assert "tmo-sample" in out


# Rows


COPY = """
rows = cli.Rows()
for row in rows:
    cli.emit({**row, "seen": True})
return cli.WRONG if rows.bad else cli.OK
"""


def test_rows_pass_in_order_and_a_bad_line_is_named(command):
    given = b'{"a": 1}\n\nnot json\n[1]\n  {"a": 2}\n"x"\nnull\n{"a": 3'
    status, out, err = command(COPY, given=given)
    assert status == 2
    assert [json.loads(line)["a"] for line in out.splitlines()] == [1, 2]
    assert err.splitlines() == [f"tmo-sample: line {n} is not a JSON object" for n in (3, 4, 6, 7, 8)]


def test_no_rows_are_no_rows(command):
    assert command(COPY) == (0, "", "")


@pytest.mark.parametrize("line", [b'{"a": "\xff"}', b"[" * 100_000, b"\x00", b'{"a": NaN', b"{" * 5000])
def test_a_broken_line_harms_no_other(line, command):
    status, out, _ = command(COPY, given=line + b'\n{"a": 1}\n')
    assert [json.loads(row) for row in out.splitlines()][-1] == {"a": 1, "seen": True}
    assert status in (0, 2)


@pytest.mark.parametrize("value", [b"1e999", b"-1e999", b"1" + 400 * b"0", b"[2, 1e999]"])
def test_a_number_beyond_all_measure_is_none(value, command):
    status, out, err = command(COPY, given=b'{"a": ' + value + b'}\n{"a": 1, "b": 1.5, "c": 12345678901234567890}\n')
    assert (status, err) == (2, "tmo-sample: line 1 is not a JSON object\n")
    assert json.loads(out) == {"a": 1, "b": 1.5, "c": 12345678901234567890, "seen": True}


def test_rows_are_utf8_in_any_locale(command):
    given = '{"a": "日本 \\ud83d é"}\n'.encode()
    for locale in ({}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        status, out, err = command(COPY, given=given, env=locale)
        assert (status, err) == (0, "")
        assert "日本" in out
        assert json.loads(out)["a"] == "日本 \ud83d é"  # half a character stays the escape that it was


ENDLESS = """
import time
for number in range(20_000):
    cli.emit({"number": number})
    if number > 1000:
        time.sleep(0)
open(sys.argv[1], "w").close()
"""


def test_a_viewer_ends_quietly_when_its_reader_goes_away(command, tmp_path):
    status, out, err = command(ENDLESS, str(tmp_path / "end"), tail="head -1")
    assert (status, out, err) == (141, '{"number": 0}\n', "")
    assert not (tmp_path / "end").exists()


def test_a_command_that_acts_goes_on_when_its_reader_goes_away(command, tmp_path):
    status, out, err = command(ENDLESS, str(tmp_path / "end"), tail="head -1", changes=True)
    assert (status, out, err) == (0, '{"number": 0}\n', "")
    assert (tmp_path / "end").exists()


def test_a_full_disk_is_said_in_one_line():
    words = 'exec >/dev/full; exec "$@"'
    body = subprocess.run(
        ["bash", "-c", words, "bash", sys.executable, "-c", f"{HEAD}cli.run(lambda: cli.emit({{'a': 1}}))"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert body.returncode == 2
    assert body.stderr.splitlines() == ["-c: cannot write to stdout: No space left on device"]


CLOSED = """
try:
    given, kept = len(list(cli.Rows())), open(sys.argv[1], "w")
    if len(sys.argv) > 2:
        cli.emit({"given": given, "number": kept.fileno()})
finally:
    cli.say("heard")
"""


@pytest.mark.parametrize(
    ("closed", "args", "result"),
    [
        ("<&-", "x x", (0, '{"given": 0, "number": 3}', "tmo-sample: heard")),
        (">&-", "x x", (2, "", "tmo-sample: heard\ntmo-sample: cannot write to stdout: Bad file descriptor")),
        (">&-", "x", (0, "", "tmo-sample: heard")),
        ("2>&-", "x x", (0, '{"given": 0, "number": 3}', "")),
        ("<&- >&- 2>&-", "x x", (2, "", "")),
    ],
)
def test_a_stream_that_the_caller_closed(closed, args, result, command, tmp_path):
    command(CLOSED, str(tmp_path / "x"))  # so that its file is there
    done = subprocess.run(
        f"exec {closed}; {sys.executable} {tmp_path}/tmo-sample {args}", cwd=tmp_path,
        shell=True, executable="/bin/bash", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == result


@pytest.mark.parametrize("word", ["--help", "--version"])
@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_a_help_that_cannot_be_written_is_said_in_one_line(word, where, command, tmp_path):
    command(PARSE)
    line = f"{sys.executable} {tmp_path}/tmo-sample {word} >{where}"
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(line, shell=True, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.fullmatch("tmo-sample: cannot write to stdout: .*\n", done.stderr)


@given(
    st.dictionaries(
        st.text(max_size=5), st.text(max_size=20) | st.none() | st.integers() | st.lists(st.text(max_size=5)), max_size=5
    )
)
def test_a_row_is_one_line_and_comes_back_the_same(row):
    line = json.dumps(row, ensure_ascii=False)
    assert "\n" not in line
    assert json.loads(line) == row


# Arguments


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], None),
        (["%1"], [{"target": "%1"}]),
        (["a:1", "7/dev"], [{"target": "a:1"}, {"target": "7/dev"}]),
        (["-"], [{"x": 1}]),
    ],
)
def test_inputs(words, given, monkeypatch):
    class Stdin:
        buffer = [b'{"x": 1}\n']

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert cli.inputs(words)[0] == given


@pytest.mark.parametrize("value", ["", "x", "名前", "a\nb", "\x1b[2J", "\U0001f600"])
def test_a_rows_text(value):
    assert cli.text("name", value) == value
    assert cli.text("name", None) == ""


@pytest.mark.parametrize("value", [7, 0, False, ["x"], {}, "a\0b", "\0", "caf\udce9", "\ud83d"])
def test_what_is_no_text_that_can_be_kept_and_handed_on_is_an_error(value):
    with pytest.raises(Error, match="'name' should be"):
        cli.text("name", value)


@pytest.mark.parametrize("value", [0, -7, 2**63 - 1, -(2**63)])
def test_a_rows_whole_number(value):
    assert cli.whole("priority", value) == value


@pytest.mark.parametrize("value", [None, True, 1.0, "7", [], 2**63, -(2**63) - 1, 10**30])
def test_what_is_no_whole_number_that_can_be_kept_is_an_error(value):
    with pytest.raises(Error, match="'priority' should be a whole number"):
        cli.whole("priority", value)


def test_inputs_have_the_key_that_is_asked_for():
    assert cli.inputs([7], "project_id")[0] == [{"project_id": 7}]


@pytest.mark.parametrize(
    ("row", "agent"),
    [
        ({"pane_id": None}, True),
        ({"role": "x"}, True),
        ({"target": "x"}, True),
        ({"project_id": 1, "status": "queued"}, False),
        ({}, False),
    ],
)
def test_a_row_about_an_agent(row, agent):
    assert cli.is_agent(row) is agent


@pytest.mark.parametrize(("word", "value"), [("0", 0.0), ("2.5", 2.5), ("1e3", 1000.0)])
def test_a_number(word, value):
    assert cli.number(word) == value


@pytest.mark.parametrize("word", ["soon", "nan", "inf", "-inf", "-1", "-0.5", "1e400"])
def test_what_is_no_number_or_below_zero(word):
    with pytest.raises(ValueError, match=word):
        cli.number(word)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [("90s", NOW - 90), ("30m", NOW - 1800), ("12h", NOW - 43200), ("2d", NOW - 172800), ("1.5h", NOW - 5400),
     ("1699999999", 1699999999), ("0", 0)],
)  # fmt: skip
def test_since(text, moment):
    assert cli.since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "m", "yesterday", "3w", "30 minutes", "1,5h"])
def test_what_is_no_time_is_an_error(text):
    with pytest.raises(Error, match="is no time"):
        cli.since(text, NOW)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("+90s", NOW + 90), ("+1.5h", NOW + 5400), ("+2d", NOW + 172800), ("1700000001.5", NOW + 1.5), ("0", 0)],
)
def test_later(text, moment):
    assert cli.later(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "+", "+5", "30m", "+m", "+1,5h", "-30m", "+-3m", "nan", "inf", "+١m", "soon", "1e9"])
def test_what_is_no_time_to_come_is_an_error(text):
    with pytest.raises(Error, match="is no time"):
        cli.later(text, NOW)


# Whole files


def test_a_file_is_replaced_at_once_or_stays_as_it_was(tmp_path):
    path = tmp_path / "out"
    cli.save(str(path), "old")
    (tmp_path / "link").symlink_to(path)
    cli.save(str(tmp_path / "link"), "new ü")
    assert path.read_text(encoding="utf-8") == "new ü"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))  # a full disk
    try:
        with pytest.raises(Error, match="cannot write '.*/out': File too large"):
            cli.save(str(path), "newer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text(encoding="utf-8") == "new ü"
    with pytest.raises(Error, match="cannot write"):
        cli.save(str(tmp_path), "a directory")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "out"]


def test_what_is_no_regular_file_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    cli.save(str(tmp_path / "pipe"), "rows")
    assert os.read(reader, 100) == b"rows"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_pipe_below_dev_stdout_is_written_to(command):
    assert command('cli.save("/dev/stdout", "rows")', tail="cat") == (0, "rows", "")
