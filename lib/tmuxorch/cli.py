"""What every command shares: its parser, rows in, rows out, and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator

from . import __version__
from .errors import LATER, NO, OK, WRONG, Error, in_words

__all__ = [
    "LATER", "NO", "OK", "WRONG", "Parser", "Rows", "emit", "inputs", "is_agent", "later", "number", "put", "run",
    "save", "say", "since", "text", "whole",
]  # fmt: skip


class Parser(argparse.ArgumentParser):
    """An argument parser whose description is the command's second line and whose errors are one line."""

    def __init__(self, script: str, usage: str) -> None:
        name = os.path.basename(script)
        super().__init__(name, f"{name} {usage}".rstrip(), first_line(script), allow_abbrev=False, formatter_class=formatter)
        self.add_argument("--version", action="version", version=f"{name} {__version__}")

    def error(self, message: str):
        say(f"{message} (see {self.prog} --help)")
        sys.exit(WRONG)

    def _print_message(self, message: str, file: object = None) -> None:
        """Print the help or the version. argparse's own does not tell that they cannot be written."""
        put(message.rstrip("\n"))


def formatter(prog: str) -> argparse.HelpFormatter:
    """argparse's own, with the width given: it would load shutil (and bz2, lzma) to ask the terminal."""
    columns = os.environ.get("COLUMNS", "")
    return argparse.HelpFormatter(prog, width=int(columns) - 2 if columns.isdigit() else 98, max_help_position=28)


def first_line(script: str) -> str:
    """What the command is: its second line, `# NAME - what it does`."""
    with open(script, encoding="utf-8") as file:
        file.readline()
        return file.readline().removeprefix("#").partition(" - ")[2].strip()


def say(message: str) -> None:
    """One line for people, on stderr."""
    line = " ".join(str(message).split())
    try:
        print(f"{os.path.basename(sys.argv[0])}: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it


acts = False  # set by run(): the command changes the world


def emit(row: dict) -> None:
    """Print one row."""
    put(json.dumps(row, ensure_ascii=False))


def put(line: str) -> None:
    """Print one line. Whoever reads them went away (`| head -1`): a viewer ends, a command that acts goes on."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        if not acts:
            sys.exit(128 + 13)  # as if by SIGPIPE
    except OSError as error:
        drop_output()
        raise Error(f"cannot write to stdout: {error.strerror}") from None


def drop_output() -> None:
    """Send what is still to be printed nowhere, Python's own flush at exit included."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def save(path: str, text: str) -> None:
    """Write a whole file at once: whoever reads it sees the old one or the new one, and a full disk leaves the old one."""
    replaces = os.path.isfile(path) or not os.path.exists(path)  # else a terminal or a pipe, which may have no real path
    real = os.path.realpath(path)
    new = f"{real}.{os.getpid()}" if replaces else path
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
        if replaces:
            os.replace(new, real)
    except OSError as error:
        if replaces:
            with contextlib.suppress(OSError):
                os.unlink(new)
        raise Error(f"cannot write '{path}': {error.strerror}") from None


class Rows:
    """The rows on stdin, in order. `bad` is true once a line was no JSON object."""

    def __init__(self) -> None:
        self.bad = False

    def __iter__(self) -> Iterator[dict]:
        for number, line in enumerate(sys.stdin.buffer, 1):
            if (row := self.row(number, line)) is not None:
                yield row

    def row(self, number: int, line: bytes) -> dict | None:
        """The row on a line; None for a blank line, and for one that is reported."""
        if not line.strip():
            return None
        try:
            row = json.loads(line, parse_constant=no_json, parse_float=finite, parse_int=lambda word: finite(word, int))
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            return row
        self.bad = True
        say(f"line {number} is not a JSON object")
        return None


def no_json(word: str) -> None:
    """NaN and Infinity, which Python's reader would take."""
    raise ValueError(word)


def finite(word: str, kind: type = float) -> float:
    """A number of a row. What no float holds would end in a traceback of whoever works with it."""
    if math.isinf(float(word)):
        raise ValueError(word)
    return kind(word)


def number(word: str) -> float:
    """A number on a command line: finite, and not below 0."""
    value = float(word)
    if not 0 <= value < math.inf:
        raise ValueError(word)
    return value


def text(key: str, value: object) -> str:
    """A row's text, "" for null: one that a path and a shell line (no NUL) and the database (only UTF-8) can hold."""
    if value is not None and not isinstance(value, str):
        raise Error(f"'{key}' should be a string")
    if re.search(r"[\0\ud800-\udfff]", value or ""):
        raise Error(f"'{key}' should be UTF-8 without a NUL")
    return value or ""


def whole(key: str, value: object) -> int:
    """A row's whole number, of a size that the database holds."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Error(f"'{key}' should be a whole number of at most 64 bits")
    return value


def inputs(words: list[str], key: str = "target") -> tuple[list[dict] | None, Rows]:
    """What a command was asked about: the rows on stdin for `-`, a row for each word, None for no word at all."""
    rows = Rows()
    if words == ["-"]:
        return list(rows), rows
    return ([{key: word} for word in words] or None), rows


def is_agent(row: dict) -> bool:
    """A row about an agent, not about a project."""
    return "pane_id" in row or "role" in row or "target" in row


def since(text: str, now: float) -> float:
    """A moment in the past: an age (`90s`, `30m`, `12h`, `2d`) or Unix seconds."""
    age = span_s(text)
    moment = now - age if age is not None else epoch(text)
    if moment is None:
        raise Error(f"'{text}' is no time (30m, 12h, 2d, or Unix seconds)")
    return moment


def later(text: str, now: float) -> float:
    """A moment to come: `+30m`, `+2h`, or Unix seconds."""
    wait = span_s(text[1:]) if text[:1] == "+" else None
    moment = now + wait if wait is not None else epoch(text)
    if moment is None:
        raise Error(f"'{text}' is no time (+30m, +2h, or Unix seconds)")
    return round(moment, 3)


def span_s(text: str) -> float | None:
    """The seconds of a `30m`, `1.5h`, `2d`; None when it is none."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", text, re.A)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else None


def epoch(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d+)?", text, re.A) else None


def fill_streams() -> None:
    """Open what the caller closed (`>&-`), in the order of their numbers: no file of ours gets one of them. Such a stdin
    has no rows, a write to such a stdout fails, and nobody hears what is said."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def run(main: Callable[[], int | None], changes: bool = False) -> None:
    """Run a command: its status, and one line instead of a traceback for what the world can cause."""
    global acts
    acts = changes
    fill_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that is no UTF-8 is printed as a JSON escape; cron's C locale changes nothing.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        status = main() or OK
    except Error as error:
        say(str(error))
        status = error.status
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        say(in_words(error))
        status = WRONG
    sys.exit(status)
