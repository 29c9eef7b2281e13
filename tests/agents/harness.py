"""What the tests share: a private world, and in it one of the agent programs behind one interface.

The same test code runs against our stub and against the real programs. What an agent really took up is not asked of
our commands but of the other side: the stub's journal, or the log of the model server that the real program talks to.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

import psutil
from model_server import ModelServer
from tmuxorch import waiting

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"claude": ("@anthropic-ai/claude-code", "2.1.330"), "codex": ("@openai/codex", "0.169.0")}  # the one place
DEADLINE_S = 40  # a loaded machine; nothing here takes so long on an idle one
POLL_S = 0.05
FINAL = {"x-should-retry": "false"}  # without it the program tries again for a while
SIZES = ((80, 24), (120, 40), (200, 50))
KEY = "sk-ant-api03-made-up-for-the-tests-000000000000"
# Everything that it would send home by itself is off (its documented settings), and the model server, which is its
# proxy too, notes whoever tries all the same.
QUIET = {
    "DISABLE_AUTOUPDATER": "1", "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "DISABLE_BUG_COMMAND": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
}  # fmt: skip
EACH_MINUTE = ("start", "watch", "deliver", "complete")  # what cron runs once a minute
CONFIG = """\
agent = "{agent}"
confirm_s = 0.5
message_retry_s = 0.1
pane_messages_per_minute = 1000
backoff_min_s = 0.5
backoff_max_s = 2
auth_max_age_s = 0
probe_min_s = 0.5
probe_max_s = 1
{more}
[agents.{agent}]
args = {args}
"""


def until(condition, what="it", deadline_s=DEADLINE_S):
    """Wait for a condition, never for a time; what it found."""
    found = waiting.until(condition, deadline_s, POLL_S)
    assert found, f"waited in vain for {what() if callable(what) else what}"
    return found


def bare(text):
    """For comparing: agents turn tabs to blanks, wrap long pastes, and compose accents."""
    return "".join(unicodedata.normalize("NFC", text).split())


def alive(process):
    """It runs; one that nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def lines_of(path):
    """The whole rows of a file of JSON lines."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


class Done(NamedTuple):
    """How one of our commands ended."""

    status: int
    rows: list
    stderr: str

    @property
    def row(self):
        assert len(self.rows) == 1, self
        return self.rows[0]


class World:
    """A home, a project directory, a database and a tmux server of our own, below one short directory in /tmp."""

    def __init__(self, program, tui="fullscreen", args=None, more=""):
        self.dir = Path(tempfile.mkdtemp(prefix="tmo-", dir="/tmp"))
        self.home, self.project = self.dir / "home", self.dir / "proj"
        self.socket, self.state = str(self.dir / "tmux"), self.dir / "state"
        self.born, self.bares, self.tags = time.time(), 0, 0
        self.program = program(self, tui, args)
        for folder in (self.home, self.project, self.dir / "bin"):
            folder.mkdir()
        self.env = {
            "PATH": f"{self.dir}/bin:{ROOT}/bin:{ROOT}/.venv/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home),
            "LANG": "C.UTF-8", "TERM": "xterm-256color", "SHELL": "/bin/bash", "PS1": "$ ", "TZ": "UTC", "USER": "user",
            "TMO_DB": str(self.state / "queue.db"), "TMO_SOCKET": self.socket, "TMO_CONFIG": str(self.dir / "config.toml"),
            "PYTHONDONTWRITEBYTECODE": "1", "GIT_CONFIG_NOSYSTEM": "1",
        }  # fmt: skip
        (self.home / ".bashrc").write_text("PS1='$ '\n")
        (self.home / ".gitconfig").write_text("[user]\n\tname = agent\n\temail = agent@localhost\n")
        self.git("init", "-q", "-b", "main")
        self.git("commit", "-q", "--allow-empty", "-m", "start")
        self.program.set_up()
        self.env |= self.program.environment()
        args = json.dumps(self.program.args())
        (self.dir / "config.toml").write_text(CONFIG.format(agent=self.program.name, args=args, more=more))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End what was started here, the agents that ignore the end of their terminal too."""
        mine = self.processes()
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)
        waiting.until(lambda: not any(map(alive, mine)), 5, POLL_S)
        for process in filter(alive, mine):
            process.kill()
        self.program.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def processes(self):
        """Every process below this world's tmux server, which the environment names."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.create_time() >= self.born - 1 and process.environ().get("TMO_DB") == self.env["TMO_DB"]:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    # -- what a person or cron types

    def tmo(self, *words, text=None, env=None, deadline_s=120):
        """Run one of our commands; how it ended."""
        done = subprocess.run(
            [str(word) for word in words], env={**self.env, **(env or {})}, input=text, capture_output=True,
            cwd=self.project, timeout=deadline_s, check=False, encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.strip())

    def cron(self, *names):
        """Run these cron lines once, one after the other."""
        for name in names:
            done = self.tmo("tmo-crontab", "--run", name)
            assert done.status == 0, (name, done)

    def send(self, target, text, *options):
        if "\0" in text:  # no argument holds that
            return self.tmo("tmo-send", *options, "--", target, "-", text=text)
        return self.tmo("tmo-send", *options, "--", target, text)

    def message(self, key):
        """A message's row, as it stands in the database."""
        rows = self.sql("SELECT * FROM message WHERE key = ?", key)
        return rows[0] if rows else None

    def sql(self, query, *values):
        with sqlite3.connect(f"file:{self.env['TMO_DB']}?mode=ro", uri=True, timeout=10) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def write(self, query):
        with sqlite3.connect(self.env["TMO_DB"], timeout=10) as connection:
            connection.execute(query)

    def delivered(self, key, states=("submitted",)):
        """Run tmo-deliver, as cron does, until this message is in one of these states; its row."""

        def brought():
            self.tmo("tmo-deliver")
            row = self.message(key)
            return row if row["state"] in states else None

        return until(brought, lambda: f"{key} to be {states}: {self.message(key)}")

    def enqueue(self, spec, *options):
        """Queue a project; its row."""
        path = self.dir / "spec.md"
        path.write_text(spec)
        return self.tmo("tmo-enqueue", "-p", self.project, *options, path).row

    def start(self):
        """A project with one developer, briefed and at its prompt."""
        self.enqueue(self.program.does("Be there.", ("say", "I am here.")))

        def processing():
            self.tmo("tmo-start")
            row = self.tmo("tmo-project").row
            assert row["status"] != "failed" and row["retry_count"] == 0, self.tmo("tmo-log").rows
            return row["status"] == "processing"

        until(processing, lambda: f"the project to start: {self.tmo('tmo-project').rows}")
        self.pane("1/developer").is_idle()

    def tell(self, text, *options, target="1/developer"):
        """Send a message that has to be submitted at once; the outcome."""
        done = self.send(target, text, *options)
        assert (done.status, done.rows and done.row["state"]) == (0, "submitted"), done
        return done

    def tag(self):
        """A word that no other text of this world holds."""
        self.tags += 1
        return f"t{self.tags}g"

    def account(self):
        """The outbox beside what the agents really took up: each submitted message once, the others never."""
        messages = self.sql("SELECT * FROM message ORDER BY id")
        for message in messages:
            same = [other for other in messages if bare(other["text"]) == bare(message["text"])]
            wanted = sum(other["state"] in ("submitted", "accepted") for other in same)
            assert self.program.taken(message["text"]) == wanted, message
        return messages

    def health(self, target):
        return self.tmo("tmo-health", target).row["health"]

    # -- tmux, by hand

    def tmux(self, *argv, text=None):
        argv = ["tmux", "-S", self.socket, "-f", "/dev/null", "-u", *map(str, argv)]
        done = subprocess.run(argv, env=self.env, input=text, capture_output=True, timeout=30, check=False, encoding="utf-8",
                              errors="surrogateescape")  # fmt: skip
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def git(self, *words):
        argv = ["git", "-C", str(self.project), *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30, check=True).stdout

    def pane(self, target):
        """The pane of a role (`1/developer`), found by its tags."""
        number, _, role = target.partition("/")
        rows = self.tmux("list-panes", "-a", "-F", "#{pane_id} #{@tmo_project} #{@tmo_role}").splitlines()
        found = [row.split()[0] for row in rows if row.split()[1:] == [number, role]]
        assert len(found) == 1, rows
        return Pane(self, found[0])

    def bare_pane(self, *argv, size=(120, 40), session=None, ready=True, directory=None, trusted=True):
        """A new session of a person's own, running these words; without any, the agent."""
        self.bares += 1
        if trusted:
            self.program.trust(self.project)
        session = session or f"bare{self.bares}"
        where = ["-x", size[0], "-y", size[1], "-c", directory or self.project]
        words = argv or self.program.argv()
        self.tmux(
            "new-session", "-d", "-s", session, *where, "-P", "-F", "#{pane_id}", "--", *words, ";",
            "set-option", "-g", "remain-on-exit", "on",
        )  # fmt: skip
        pane = Pane(self, self.tmux("display-message", "-p", "-t", f"={session}:", "#{pane_id}").strip())
        if ready:
            pane.is_idle()
        return pane

    def agent_in_a_shell(self, size=(120, 40)):
        """A pane of a person's, with the agent started from its shell."""
        pane = self.bare_pane("bash", "--norc", size=size, ready=False)
        pane.shows("$")
        self.program.trust(self.project)
        pane.type(" ".join(f"'{word}'" for word in self.program.argv()))
        pane.keys("Enter")
        pane.is_idle()
        return pane


class Pane:
    """A pane of a world, as it is when nobody of ours looks."""

    def __init__(self, world, pane_id):
        self.world, self.id, self.program = world, pane_id, world.program

    def keys(self, *keys):
        self.world.tmux("send-keys", "-t", self.id, *keys)

    def type(self, text):
        self.world.tmux("send-keys", "-l", "-t", self.id, "--", text)

    def paste(self, text):
        self.world.tmux(
            "load-buffer",
            "-b",
            "by-hand",
            "-",
            ";",
            "paste-buffer",
            "-p",
            "-r",
            "-d",
            "-b",
            "by-hand",
            "-t",
            self.id,
            text=text,
        )

    def get(self, name):
        return self.world.tmux("display-message", "-p", "-t", self.id, f"#{{{name}}}").strip()

    def screen(self, *options):
        return self.world.tmux("capture-pane", "-p", *options, "-t", self.id)

    def still(self):
        """The screen without the bullet that blinks while an agent works or waits."""
        return self.screen().replace("●", " ")

    def shows(self, text):
        until(lambda: text in self.screen(), lambda: f"'{text}' on the screen:\n{self.screen()}")

    def is_empty(self):
        """Nothing stands in its composer but perhaps a dim placeholder."""
        return self.program.is_empty(self)

    def composer(self):
        """The composer's text, None where there is none."""
        return self.program.composer(self)

    def agent(self):
        """The agent's process below the pane, None when there is none."""
        try:
            top = psutil.Process(int(self.get("pane_pid")))
            for process in [top, *top.children(recursive=True)]:
                words = [process.exe(), *process.cmdline()[:2]]
                if {os.path.basename(word) for word in words} & self.program.names:
                    return process
        except psutil.NoSuchProcess:
            pass
        return None

    def registry(self):
        """What the agent publishes of itself, {} when it does not."""
        process = self.agent()
        return self.program.registry(process.pid, self) if process else {}

    def status(self, wanted):
        until(
            lambda: self.registry().get("status") == wanted, lambda: f"status {wanted}: {self.registry()}\n{self.screen()}"
        )

    def is_idle(self):
        """At its prompt: by its registry, in four looks on end since it may be a moment late, and by its composer."""
        looks = [""]

        def steady():
            looks.append(self.registry().get("status"))
            return looks[-4:] == ["idle"] * 4

        until(steady, lambda: f"status idle: {self.registry()}\n{self.screen()}")
        until(lambda: self.composer() is not None, lambda: f"the composer:\n{self.screen()}")

    def insist(self, key, condition, what):
        """Press a key until it counts: for a moment after it came up a dialog takes none."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, f"{key} did nothing: {what}\n{self.screen()}"
            self.keys(key)
            waiting.until(condition, 0.5, POLL_S)

    def kill(self):
        """The agent dies by kill -9; its process is gone when this returns."""
        process = self.agent()
        process.send_signal(signal.SIGKILL)
        until(lambda: not alive(process), "the agent to be dead")
        return process.pid

    def transcript(self):
        """The records of its present conversation."""
        return self.program.transcript(self.registry().get("sessionId"))


class Program:
    """One agent program in a world."""

    name = ""
    names: set = set()
    sign = "❯"
    asks = "Do you want to proceed?"
    stopped = "suspended"

    def __init__(self, world, tui, args):
        self.world, self.tui, self.more = world, tui, args

    def close(self):
        pass

    def elsewhere(self):
        """The other hosts that somebody tried to reach."""
        return []

    def taken(self, text):
        """How many prompts with this text the agent really took up."""
        return sum(bare(text) in bare(prompt) for prompt in self.prompts())

    def took(self, text, times=1):
        """Wait until it took the text up, and see that it did so often."""
        until(lambda: self.taken(text) >= times, lambda: f"{text[:200]!r} to be taken up; it was: {self.prompts()!r:.2000}")
        assert self.taken(text) == times

    def is_empty(self, pane):
        lines = pane.screen("-e").split("\n")
        rules = [number for number, line in enumerate(lines) if "─" * 10 in line]
        text = "\n".join(lines[rules[-2] + 1 : rules[-1]]) if len(rules) > 1 else "none"
        # The first character under the cursor, the rest dim.
        text = re.sub(r"\x1b\[7m(?:\x1b\[[0-9;]*m)*.\x1b\[0;2m.*", "", text)
        return not re.sub(r"\x1b\[[0-9;]*m", "", text).strip("❯\xa0 \n")

    def composer(self, pane):
        """The text between the last two rules."""
        lines = pane.screen().split("\n")
        rules = [number for number, line in enumerate(lines) if line.startswith("─" * 10)]
        if len(rules) < 2 or rules[-1] < rules[-2] + 2 or lines[rules[-2] + 1][:1] not in ("❯", "!"):
            return None
        return "\n".join(line[2:].rstrip() for line in lines[rules[-2] + 1 : rules[-1]])

    def registry(self, pid, pane=None):
        try:
            with open(self.agent_home() / "sessions" / f"{pid}.json", encoding="utf-8") as file:
                return json.load(file)
        except (FileNotFoundError, ValueError):
            return {}

    def transcript(self, conversation):
        slug = re.sub(r"[^A-Za-z0-9]", "-", str(self.world.project))
        return lines_of(self.agent_home() / "projects" / slug / f"{conversation}.jsonl")


class Stub(Program):
    name, names = "stub", {"tmo-stub-agent"}

    def set_up(self):
        self.journal = self.world.dir / "journal"

    def agent_home(self):
        return self.world.dir / "stub"

    def environment(self):
        return {"TMO_STUB_HOME": str(self.agent_home()), "TMO_STUB_JOURNAL": str(self.journal)}

    def args(self):
        return ["--tui", self.tui, *(self.more or [])]

    def argv(self, *more):
        return ["tmo-stub-agent", *self.args(), *more]

    def prompts(self):
        return [row["prompt"] for row in lines_of(self.journal) if row["kind"] == "prompt"]

    def dialogs(self):
        """The dialogs that were answered."""
        return [row for row in lines_of(self.journal) if row["kind"] == "dialog"]

    def does(self, text, *steps):
        """A prompt that makes the agent do these steps."""
        return "\n".join([text, "```stub", *[self.step(*step) for step in steps], "```"]) if steps else text

    def step(self, verb, *arguments):
        if verb == "silent":
            return "work 30"
        if verb == "wait":
            return f"run until [ -e {arguments[0]} ]; do sleep 0.05; done"
        return " ".join([verb, *map(str, arguments)])

    def log_in(self):
        self.world.tmo("sh", "-c", "tmo-stub-agent auth login >/dev/null")

    def trust(self, directory, given=True):
        path = self.agent_home() / "config.json"
        path.parent.mkdir(exist_ok=True)
        config = json.loads(path.read_text()) if path.exists() else {"hasCompletedOnboarding": True}
        config.setdefault("projects", {})[str(directory)] = {"hasTrustDialogAccepted": given}
        path.write_text(json.dumps(config))


class Real(Program):
    """A real program, which talks to our model server."""

    program: Path  # where conftest.py installed it
    insists: set = set()  # hosts that no setting keeps it from; our proxy does

    def set_up(self):
        world = self.world
        self.script, self.log = world.dir / "script.json", world.dir / "model.log"
        self.rules = []
        self.answer()
        self.server = ModelServer(self.script, self.log)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        os.symlink(self.program, world.dir / "bin" / self.name)
        gate = world.dir / "bin" / "gate"
        gate.write_text('#!/bin/sh\nuntil [ -e "$1" ]; do sleep 0.05; done\n')
        gate.chmod(0o755)

    def close(self):
        self.server.close()

    def requests(self):
        """What the main conversations asked of the model, oldest first."""
        return [row for row in lines_of(self.log) if row["main"]]

    def elsewhere(self):
        return sorted({row["elsewhere"] for row in lines_of(self.log) if "elsewhere" in row} - self.insists)

    def prompts(self):
        """The texts of the user in each conversation, as the model saw them last."""
        last = {row["session"]: row["texts"] for row in self.requests()}
        return [text for texts in last.values() for text in texts]

    def answer(self, force=None):
        """Write the script; with `force` every request is answered by that error."""
        new = self.script.with_suffix(".new")
        new.write_text(json.dumps({"force": force, "rules": self.rules}))
        os.replace(new, self.script)

    def does(self, text, *steps):
        if steps:
            steps = [self.step(*step) for step in steps]
            self.rules.append({"match": re.escape(text), "steps": [*steps, {"say": "That is done."}]})
            self.answer()
        return text

    def step(self, verb, *arguments):
        """What the model server answers for a verb of the stub's script."""
        argument = arguments[0] if arguments else ""
        if verb == "say":
            return {"say": argument}
        if verb == "work":
            return {"say": " ".join(["word"] * int(float(argument) * 10)), "words_s": 0.1}
        if verb == "silent":
            return {"say": "late", "wait": str(argument)}
        return self.own_step(verb, *arguments)

    def log_in(self):
        """The server takes the key again."""
        self.rules = [rule for rule in self.rules if rule["steps"][0].get("status") != 401]
        self.answer()


class Claude(Real):
    name, names = "claude", {"claude", "claude.exe"}

    def set_up(self):
        super().set_up()
        world = self.world
        self.config_file = world.home / ".claude.json"
        config = {"hasCompletedOnboarding": True, "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
        self.config_file.write_text(json.dumps(config))
        (world.home / ".claude").mkdir()
        settings = {"tui": "default"} if self.tui == "classic" else {}
        (world.home / ".claude" / "settings.json").write_text(json.dumps(settings))

    def agent_home(self):
        return self.world.home / ".claude"

    def environment(self):
        return {
            "ANTHROPIC_BASE_URL": self.server.url, "ANTHROPIC_API_KEY": KEY, "HTTP_PROXY": self.server.url,
            "HTTPS_PROXY": self.server.url, "NO_PROXY": "127.0.0.1", **QUIET,
        }  # fmt: skip

    def args(self):
        return self.more or ["--permission-mode", "manual", "--allowedTools", "Bash(gate *)"]

    def argv(self, *more):
        return ["claude", *self.args(), *more]

    def own_step(self, verb, *arguments):
        argument = arguments[0] if arguments else ""
        if verb == "context-full":
            words = "prompt is too long: 210000 tokens > 200000 maximum"
            return {"status": 400, "type": "invalid_request_error", "message": words, "headers": FINAL}
        if verb == "login-lost":
            return {"status": 401, "type": "authentication_error", "message": "invalid x-api-key", "headers": FINAL}
        if verb == "limit":
            reset = str(int(time.time()) + argument)
            headers = {"status": "rejected", "reset": reset, "representative-claim": "five_hour"}
            unified = {f"anthropic-ratelimit-unified-{name}": value for name, value in headers.items()}
            return {"status": 429, "type": "rate_limit_error", "message": "Error", "headers": {**FINAL, **unified}}
        if verb == "error":
            return {"status": argument, "type": "api_error", "message": "trouble", "headers": FINAL}
        if verb == "write":
            path = str(self.world.project / argument)
            return {"tool": "Write", "input": {"file_path": path, "content": arguments[1] + "\n"}}
        command = f"gate {argument}" if verb == "wait" else argument
        return {"tool": "Bash", "input": {"command": command, "description": "a step of the script"}}

    def trust(self, directory, given=True):
        config = json.loads(self.config_file.read_text())
        config.setdefault("projects", {})[str(directory)] = {"hasTrustDialogAccepted": given}
        self.config_file.write_text(json.dumps(config))


class Codex(Real):
    name, names = "codex", {"codex"}
    insists = {"raw.githubusercontent.com:443"}  # its announcements
    sign = "›"
    asks = "Would you like to run the following command?"
    stopped = "Stopped"

    def set_up(self):
        super().set_up()
        self.agent_home().mkdir()
        self.config_file.write_text(
            f'''model = "model"
model_provider = "own"
check_for_update_on_startup = false
[model_providers.own]
name = "own"
base_url = "{self.server.url}/v1"
wire_api = "responses"
env_key = "OWN_KEY"
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
[features]
plugins = false
apps = false
'''
        )

    def agent_home(self):
        return self.world.home / ".codex"

    @property
    def config_file(self):
        return self.agent_home() / "config.toml"

    def environment(self):
        node = os.path.dirname(shutil.which("node"))
        return {
            "OWN_KEY": "made-up", "HTTP_PROXY": self.server.url, "HTTPS_PROXY": self.server.url, "NO_PROXY": "127.0.0.1",
            "PATH": f"{self.world.env['PATH']}:{node}",
        }  # fmt: skip

    def args(self):
        return self.more or ["--ask-for-approval", "on-request", "--sandbox", "workspace-write",
                             *(["--no-alt-screen"] if self.tui == "classic" else [])]  # fmt: skip

    def argv(self, *more):
        return ["codex", "--no-daemon", *self.args(), *more]

    def own_step(self, verb, *arguments):
        argument = arguments[0] if arguments else ""
        if verb == "context-full":
            return {"status": 400, "type": "invalid_request_error", "code": "context_length_exceeded", "message": "too long"}
        if verb == "login-lost":
            return {"status": 401, "type": "invalid_request_error", "code": "invalid_api_key", "message": "wrong key"}
        if verb == "limit":
            return {
                "status": 429,
                "type": "usage_limit_reached",
                "message": "limit",
                "resets_at": int(time.time()) + argument,
            }
        if verb == "error":
            return {"status": argument, "type": "server_error", "message": "trouble"}
        if verb == "write":
            command = f"printf '%s\\n' {shlex.quote(arguments[1])} >{shlex.quote(argument)}"
            return {"tool": "exec_command", "input": {"cmd": command}}
        if verb == "wait":
            return {
                "tool": "exec_command",
                "input": {"cmd": f"{self.world.dir}/bin/gate {argument}", "yield_time_ms": 60000},
            }
        more = {"sandbox_permissions": "require_escalated", "justification": "a step of the script"}
        return {"tool": "exec_command", "input": {"cmd": argument, **more}}

    def trust(self, directory, given=True):
        text = self.config_file.read_text()
        head = f"[projects.{json.dumps(str(directory))}]"
        if given and head not in text:
            self.config_file.write_text(f'{text}\n{head}\ntrust_level = "trusted"\n')

    def registry(self, pid, pane=None):
        """The same facts as the others publish, from what its process holds open and from its screen."""
        files = []
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                files += [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()]
        held = sorted(found[1] for file in files if (found := re.search(r"/thread-writer-locks/(.+)\.lock$", file)))
        if not held:
            return {}
        if "esc to cancel" in pane.screen():
            return {"status": "waiting", "sessionId": held[0]}
        turns = [row for row in self.transcript(held[0]) if row["type"] == "event_msg"]
        ends = [row["payload"]["type"] for row in turns if row["payload"]["type"].startswith(("task_", "turn_aborted"))]
        return {"status": "busy" if ends and ends[-1] == "task_started" else "idle", "sessionId": held[0]}

    def transcript(self, conversation):
        found = list(self.agent_home().glob(f"sessions/*/*/*/rollout-*-{conversation}.jsonl"))
        return lines_of(found[0]) if found else []

    def is_empty(self, pane):
        return self.composer(pane) == "" or "› Ask Codex to do anything" in pane.screen()

    def composer(self, pane):
        """The text from the last sign on to the next blank line after the cursor."""
        lines, row = pane.screen().split("\n"), int(pane.get("cursor_y"))
        starts = [number for number, line in enumerate(lines) if line[:1] in ("›", "!") and number <= row]
        if not starts or "enter to confirm" in pane.screen():
            return None
        end = next((number for number in range(row + 1, len(lines)) if not lines[number].strip()), len(lines))
        return "\n".join(line[2:].rstrip() for line in lines[starts[-1] : end])
