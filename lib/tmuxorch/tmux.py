"""tmux: the one module that knows its command line. Sweeps and sends use one plain client each; libtmux
builds, changes and ends sessions.

Targets given to tmux are pane ids (`%12`) or exact session names (`=name:`): a bare name matches by prefix.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
from collections.abc import Callable

from .errors import Error, Later
from .waiting import deadline

TAB = "\t"
FIELDS = (
    "session_name", "window_index", "window_name", "window_panes", "pane_index", "pane_id", "pane_pid",
    "pane_current_command", "pane_dead", "pane_dead_status", "pane_in_mode", "pane_synchronized", "pid", "start_time",
    "socket_path", "@tmo_project", "@tmo_start", "@tmo_role", "@tmo_agent", "@tmo_run", "pane_current_path",
)  # fmt: skip
FORMAT = TAB.join(f"#{{{field}}}" for field in FIELDS)
LAUNCHER = "tmuxorch"  # $0 of the shell line that an agent is launched by
OLDEST = (3, 2)  # respawn-pane -e, copy-mode -q and new-session -e


class NoServer(Error):
    """No tmux server runs on this socket: a fact, not a failed probe."""


class Gone(Error):
    """tmux refused the command: the pane, window or session is not there."""


class Tmux:
    """One tmux server, by its socket (a name, a path if it holds a `/`, tmux's own when empty)."""

    def __init__(self, socket: str = "", timeout: float = 5.0) -> None:
        self.socket = socket
        self.timeout = timeout

    # -- the plain client

    def call(self, *args: str, text: str | None = None) -> str:
        """Run one client; what it printed. Raises NoServer, Gone, or Later when tmux does not answer in time."""
        status, out, err = self.client(*args, text=text)
        if status:
            raise Gone(err or "tmux refused the command")
        return out

    def client(self, *args: str, text: str | None = None) -> tuple[int, str, str]:
        """Run one client: status, stdout, stderr. A refused command is a status; a silent server raises Later."""
        return self.ask(*args, text=text)()

    def ask(self, *args: str, text: str | None = None) -> Callable[[], tuple[int, str, str]]:
        """Start one client; what is returned waits for its answer, as `client` returns it. Meanwhile there may be other
        things to read."""
        where = ("-S", self.socket) if "/" in self.socket else ("-L", self.socket) if self.socket else ()
        data = None if text is None else text.encode("utf-8", "surrogateescape")
        client = Client(["tmux", "-u", *where, *args], data, self.timeout)
        return lambda: read_answer(*client.wait())

    def panes(self) -> list[dict]:
        """Every pane of the server by FIELDS, numbers as int, `server` as PID@START. It names no target: a tmux that
        refuses it, or answers with something else, has told nothing."""
        return self.ask_panes()()

    def ask_panes(self) -> Callable[[], list[dict]]:
        """Start the client of `panes`; what is returned waits for its answer."""
        mark = new_mark()
        answer = self.ask("list-panes", "-a", "-F", mark + FORMAT)
        return lambda: read_panes(*answer(), mark)

    def captures(self, pane_ids: list[str]) -> dict[str, dict]:
        """The visible screens of these panes with colours, by pane id: text, cursor_x, cursor_y, width, height.

        One client for all; a pane that went away is left out and costs the others nothing.
        """
        return self.ask_captures(pane_ids)()

    def ask_captures(self, pane_ids: list[str]) -> Callable[[], dict[str, dict]]:
        """Start the client of `captures`; what is returned waits for its answer."""
        if not pane_ids:
            return dict
        mark = new_mark()
        facts = "#{pane_id} #{cursor_x} #{cursor_y} #{pane_width} #{pane_height}"
        script = "".join(
            f"display-message -p -t '{pane}' '{mark}{facts}'\ncapture-pane -p -e -t '{pane}'\n" for pane in pane_ids
        )
        # A pane that is gone makes the client's status 1, the others' screens are there all the same.
        answer = self.ask("source-file", "-", text=script)
        return lambda: parse_captures(answer()[1], mark)

    def paste(self, pane_id: str, text: str, guard: str) -> bool:
        """Paste text into a pane in brackets, leaving copy mode first, if `guard` (a format) holds there and then."""
        buffer = f"tmo-{os.getpid()}-{pane_id[1:]}"
        typed = f"copy-mode -q -t {pane_id} ; paste-buffer -p -r -d -b {buffer} -t {pane_id} ; display-message -p typed"
        out = self.call(
            "load-buffer", "-b", buffer, "-", ";",
            "if-shell", "-F", "-t", pane_id, guard, typed, f"delete-buffer -b {buffer}",
            text=text,
        )  # fmt: skip
        return out.strip() == "typed"

    def press(self, pane_id: str, key: str, guard: str) -> bool:
        """Press one key in a pane, outside copy mode, if `guard` holds there and then."""
        pressed = f"copy-mode -q -t {pane_id} ; send-keys -t {pane_id} {key} ; display-message -p pressed"
        return self.call("if-shell", "-F", "-t", pane_id, guard, pressed).strip() == "pressed"

    def environment(self) -> dict[str, str]:
        """The environment that new panes of this server get."""
        lines = self.call("show-environment", "-g").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("-"))

    def version(self) -> tuple[int, int] | None:
        """(major, minor) of the tmux on PATH, None for a development build."""
        numbers = "".join(c if c.isdigit() else " " for c in self.client("-V")[1]).split()
        return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else None

    # -- what changes sessions

    def libtmux(self):
        """libtmux's Server; imported here, since that costs more than most commands take."""
        import libtmux

        if "/" in self.socket:
            return libtmux.Server(socket_path=self.socket)
        return libtmux.Server(socket_name=self.socket or None)

    def change(self, *commands: list[str]) -> list[str]:
        """Run one command list that builds or changes a session; the lines it printed. From a file: tmux takes 16 kB of
        arguments, and ten launches are more. On one line: the first command that fails ends the list."""
        import tempfile  # as libtmux, only here: a viewer would pay for it

        line = " ; ".join(" ".join(map(quoted, words)) for words in commands)
        with tempfile.NamedTemporaryFile(prefix="tmo-", suffix=".tmux") as file:
            file.write(line.encode("utf-8", "surrogateescape") + b"\n")
            file.flush()
            with deadline(self.timeout * 2, "tmux does not answer"):  # libtmux itself waits for ever
                done = self.libtmux().cmd("-u", *START.get(commands[0][0], []), "source-file", file.name)
        if done.returncode:
            message = " ".join(done.stderr)
            raise NoServer("no tmux server is running") if no_server(message) else Gone(message)
        return done.stdout

    def create(self, session: str, launches: list[dict]) -> list[dict]:
        """Make a session with one window a launch, all tagged, in one command list: a crash leaves all or nothing.

        A launch: name, directory, command (argv), environment, project, start (the project's run), role, agent, run.
        Returns a {pane_id, window_index, server} each.
        """
        commands = window(session, ["new-session", "-d", "-s", session, *SIZE], launches[0])
        for name in ("project", "start"):
            commands.append(["set-option", "-t", f"={session}:", f"@tmo_{name}", str(launches[0][name])])
        for launch in launches[1:]:
            commands += window(session, ["new-window", "-d", "-t", f"={session}:"], launch)
        return [made(line) for line in self.change(*commands)]

    def add_window(self, session: str, launch: dict) -> dict:
        """Add the window of one role to a session; {pane_id, window_index, server}."""
        return made(self.change(*window(session, ["new-window", "-d", "-t", f"={session}:"], launch))[0])

    def respawn(self, pane_id: str, launch: dict) -> None:
        """Start a launch in place of what is, or was, in a pane."""
        self.change(["respawn-pane", "-k", "-t", pane_id, *program(launch)], *tags(pane_id, launch))

    def end_session(self, session: str) -> None:
        """Kill one session, named exactly."""
        with contextlib.suppress(NoServer, Gone):
            self.change(["kill-session", "-t", f"={session}"])

    def end_pane(self, pane_id: str) -> None:
        """Kill one pane; a window, and a session, ends with its last."""
        with contextlib.suppress(NoServer, Gone):
            self.change(["kill-pane", "-t", pane_id])


def launching(process: dict) -> bool:
    """Whether a pane's first process is on its way to an agent: our launch script, or tmux's own fork that has yet to
    become it. Until its exec that fork bears the server's name and words (one look in ten right after a
    `respawn-pane`), and within the exec no words at all."""
    return process["argv"][3:4] == [LAUNCHER] or process["name"].startswith("tmux") or not process["argv"]


class Client:
    """A tmux client at work, by posix_spawn: subprocess alone costs more than the client does. One that nobody waited
    for ends with this object.

    It reads all of its input before it prints, and prints little on stderr, so that one pipe after the other cannot
    block; whatever does block ends with the time limit.
    """

    def __init__(self, argv: list[str], data: bytes | None, timeout: float) -> None:
        self.timeout, self.late = timeout, f"tmux does not answer within {timeout:g} s"
        self.pid = 0
        pipes = [os.pipe() for _ in range(3)]
        self.files = [io.FileIO(end, mode) for pipe in pipes for end, mode in zip(pipe, ("rb", "wb"), strict=True)]
        take, give, self.out, out_end, self.err, err_end = self.files
        actions = [(os.POSIX_SPAWN_DUP2, end.fileno(), number) for number, end in enumerate((take, out_end, err_end))]
        try:
            self.pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsigdef=[signal.SIGPIPE])
        except FileNotFoundError:
            raise Error("cannot find tmux on PATH") from None
        for end in (take, out_end, err_end):
            end.close()
        with deadline(timeout, self.late), contextlib.suppress(BrokenPipeError):
            give.write(data or b"")
        give.close()

    def wait(self) -> tuple[int, bytes, bytes]:
        """Its status, stdout and stderr. Raises Later, and ends it, when they do not come in time."""
        try:
            with deadline(self.timeout, self.late):
                stdout, stderr = self.out.read(), self.err.read()
                status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.pid = 0
            return status, stdout, stderr
        finally:
            self.end()

    def end(self) -> None:
        for file in self.files:
            file.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def __del__(self) -> None:
        self.end()


def read_answer(status: int, stdout: bytes, stderr: bytes) -> tuple[int, str, str]:
    """What a client answered, as text."""
    out = stdout.decode("utf-8", "surrogateescape")
    err = stderr.decode("utf-8", "replace").strip()
    if status and no_server(err):
        raise NoServer("no tmux server is running")
    if status and ("lost server" in err or "server exited" in err):
        raise Later("the tmux server ended while it was asked")
    return status, out, err


SIZE = ("-x", "200", "-y", "50")  # while nobody is attached: long lines stay whole


START = {"new-session": ["start-server", ";"]}  # `source-file` does not start one by itself


def window(session: str, new: list[str], launch: dict) -> list[list[str]]:
    """A new window. Until it is tagged it is named after its run: a role's name may be there twice, in a window of a
    person's, and a number would be taken for a window's place."""
    place = f"={session}:={launch['run']}"
    return [
        [*new, "-P", "-F", "#{pane_id} #{window_index} #{pid}@#{start_time}", "-n", launch["run"], *program(launch)],
        *tags(place, launch),
        ["rename-window", "-t", place, unexpanded(launch["name"])],
    ]  # fmt: skip


def program(launch: dict) -> list[str]:
    """Where and what a pane runs."""
    environment = [part for name, value in launch["environment"].items() for part in ("-e", f"{name}={value}")]
    return ["-c", unexpanded(launch["directory"]), *environment, "--", *launch["command"]]


def tags(target: str, launch: dict) -> list[list[str]]:
    """The pane's own options: whose it is, and that it stays to be looked at when its program ends."""
    options = {f"@tmo_{key}": str(launch[key]) for key in ("role", "agent", "run")} | {"remain-on-exit": "on"}
    return [["set-option", "-p", "-t", target, name, value] for name, value in options.items()]


def unexpanded(text: str) -> str:
    """Text where tmux expands formats, and `#(...)` in them runs a shell: `#` is doubled, but not before `[`, where
    tmux leaves every `#` as it is."""
    return re.sub(r"#+(?![#\[])", lambda found: found[0] * 2, text)


def quoted(word: str) -> str:
    """A word as tmux reads it from a file: nothing is special between single quotes but a new line, whose next blanks
    would be dropped, and the byte 377, which would be the end. What is no UTF-8 is written by its number."""
    word = word.replace("'", "'\"'\"'").replace("\n", "'\"\\n\"'")
    return "'" + re.sub("[\udc80-\udcff]", lambda byte: f"'\"\\{ord(byte[0]) - 0xDC00:03o}\"'", word) + "'"


def made(line: str) -> dict:
    pane_id, index, server = line.split()
    return {"pane_id": pane_id, "window_index": int(index), "server": server}


def no_server(message: str) -> bool:
    """Nobody listens. A socket that may not be opened, or not be named so, proves nothing."""
    return "no server running" in message or ("error connecting" in message and "No such file" in message)


def guard(pane: dict) -> str:
    """A tmux format that is 1 only while the pane is still the one that was looked at, alive, and no other pane gets the
    keys that are pressed in it."""
    same = {"pane_id": pane["pane_id"], "pane_pid": pane["pane_pid"], "pane_dead": 0, "pane_synchronized": 0}
    if re.fullmatch(r"[\w-]*", pane["@tmo_run"]):  # ours always; anything else would be read as a format
        same["@tmo_run"] = pane["@tmo_run"]
    result = "1"
    for field, value in same.items():
        result = f"#{{&&:{result},#{{==:#{{{field}}},{value}}}}}"
    return result


def new_mark() -> str:
    """What starts a record in one answer of tmux: no name and no screen can hold it by itself."""
    return f"\N{SYMBOL FOR RECORD SEPARATOR}{os.urandom(4).hex()} "


def read_panes(status: int, text: str, err: str, mark: str) -> list[dict]:
    """The panes of a `list-panes` that was answered."""
    if status and "error connecting" in err:
        raise Gone(err)  # a socket that will not be there later either
    if status:
        raise Later(f"tmux failed: {err or 'it refused the command'}")
    if text and mark not in text:
        raise Later("tmux answered with something else than its panes")
    return parse_panes(text, mark)


def parse_panes(text: str, mark: str) -> list[dict]:
    """The records of `list-panes -F FORMAT`. One with a field too many or too few is left out: what it says of
    the pane cannot be trusted. The path comes last, since it may hold a tab itself."""
    panes = []
    for record in text.split(mark)[1:]:
        values = record.removesuffix("\n").split(TAB, len(FIELDS) - 1)
        if len(values) != len(FIELDS):
            continue
        pane: dict = dict(zip(FIELDS, values, strict=True))
        try:
            for field in ("window_index", "window_panes", "pane_index", "pane_pid", "pid", "start_time"):
                pane[field] = int(pane[field])
        except ValueError:
            continue
        if pane["pid"] < 2:  # a tab in a name moved the fields on
            continue
        pane["server"] = f"{pane.pop('pid')}@{pane.pop('start_time')}"
        for flag in ("pane_dead", "pane_in_mode", "pane_synchronized"):
            pane[flag] = pane[flag] not in ("", "0")
        panes.append(pane)
    return panes


def parse_captures(text: str, mark: str) -> dict[str, dict]:
    screens = {}
    for part in text.split(mark)[1:]:
        head, _, screen = part.partition("\n")
        words = head.split()
        if len(words) == 5:
            x, y, width, height = (int(word) for word in words[1:])
            screens[words[0]] = {"text": screen, "cursor_x": x, "cursor_y": y, "width": width, "height": height}
    return screens


def find(panes: list[dict], target: str) -> list[dict]:
    """The panes that a target names exactly: `%12`, `session:window` or `session:window.pane`.

    A window is named by its index or its name. Several panes only for a window with several.
    """
    if target.startswith("%"):
        return [pane for pane in panes if pane["pane_id"] == target]
    session, colon, rest = target.rpartition(":")
    if not colon:
        return []
    named = [pane for pane in panes if pane["session_name"] == session]
    whole = [pane for pane in named if rest in (str(pane["window_index"]), pane["window_name"])]
    if whole:
        return whole
    window, _, index = rest.rpartition(".")
    same = [pane for pane in named if window in (str(pane["window_index"]), pane["window_name"])]
    return [pane for pane in same if str(pane["pane_index"]) == index]
