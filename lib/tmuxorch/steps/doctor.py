"""Look at this machine before a night: the facts of each check, judged in `doctor`. Nothing is written."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import threading
import time
from collections.abc import Callable

from .. import agents, doctor, proc, schedule, store
from ..agents import login
from ..config import DEFAULTS, Config, load
from ..doctor import row
from ..errors import Error, Later
from ..store import file, upkeep
from ..tmux import OLDEST, NoServer, Tmux
from .logins import Logins

ASK_S = 6.0  # the longest wait for one program's answer
CHECK_S = 20.0  # and for a check; a dead network mount answers nobody, ever
# They bound their waits by an alarm, which only the main thread has.
ALARMED = ("libraries", "tmux", "tmux_server", "agents")
ASKED = {"tmux", "tmux_server", "agents", "database"}  # where an error is the answer; elsewhere it hides it


def examine(environ: dict, wait_s: float = CHECK_S) -> list[dict]:
    """All checks at once; their rows, in order. One that hangs, or that cannot be made, is a row that cannot tell."""
    config, first = settings(environ)
    checks = Doctor(config).checks()
    found: dict[str, list[dict]] = {}
    threads = [
        threading.Thread(target=run, args=(name, check, found), daemon=True)
        for name, check in checks.items()
        if name not in ALARMED
    ]
    end = time.monotonic() + wait_s
    for thread in threads:
        thread.start()
    for name in ALARMED:
        run(name, checks[name], found)
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    hangs = {name: [row(name, None, f"no answer within {wait_s:g} s", "see what hangs")] for name in checks}
    return [first, *[one for rows in (hangs | found).values() for one in rows]]


def run(name: str, check: Callable[[], list[dict]], found: dict[str, list[dict]]) -> None:
    try:
        found[name] = check()
    except Error as error:
        wrong = name in ASKED and not isinstance(error, Later)
        found[name] = [row(name, False if wrong else None, str(error), "mend that first")]
    except (OSError, ImportError) as error:
        found[name] = [row(name, None, str(error), "mend that first")]


def settings(environ: dict) -> tuple[Config, dict]:
    """The settings, or the defaults where the file is wrong; and the row that says so."""
    try:
        config = load(environ)
    except Error as error:
        return Config(DEFAULTS, environ), row("config", False, str(error), "mend the file; the defaults are checked below")
    there = os.path.exists(config.file)
    return config, row("config", True, f"'{config.file}' is right" if there else "no config file, and none is needed")


class Doctor:
    """Each check is a method that returns its rows. They run at the same time, in threads: they share nothing but the
    settings."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def checks(self) -> dict[str, Callable[[], list[dict]]]:
        names = ("libraries", "tmux", "tmux_server", "git", "agents", "projects", "permissions", "rollout", "schedule",
                 "lines", "database", "writers", "disk", "memory", "clock", "logout", "notify")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def db(self) -> store.Store | None:
        return store.read(self.config.db)

    def tmux_(self) -> Tmux:
        return Tmux(self.config.socket, min(ASK_S, self.config["tmux_timeout_s"]))

    def ask(self, *words: str) -> str | None:
        """What a program printed; None when it is not there, failed, or did not answer."""
        said = login.ask(list(words), "/", self.config.environ, ASK_S)
        return said["text"] if said.get("rc") == 0 else None

    def unfinished(self) -> list[dict]:
        """The projects that wait or run."""
        db = self.db()
        return db.projects(status=("queued", *store.RUNNING)) if db else []

    def profiles(self) -> list[dict]:
        """Of the agents of those projects, and of the default one."""
        names = sorted({self.config["agent"], *[project["agent"] for project in self.unfinished()]})
        return [agents.profile(self.config, name) for name in names]

    # -- programs

    def libraries(self) -> list[dict]:
        try:
            self.tmux_().libtmux()
            proc.needs()
        except ImportError as error:
            return [row("libraries", False, f"{error.name} is not there", "pip install libtmux psutil, or make setup")]
        return [row("libraries", True, "libtmux and psutil are there")]

    def tmux(self) -> list[dict]:
        return [doctor.tmux(self.tmux_().version(), OLDEST)]

    def tmux_server(self) -> list[dict]:
        """Whether it answers, and what agents inherit from it; before there is one, from us."""
        tmux = self.tmux_()
        limits = doctor.limits(*proc.limits(), "this shell")
        try:
            pid = int(tmux.call("display-message", "-p", "#{pid}"))
            history = int(tmux.call("show-options", "-gv", "history-limit"))
        except NoServer:
            return [row("tmux_server", True, "none runs yet; tmo-start makes one"), *limits]
        except Later as error:
            return [row("tmux_server", False, str(error), "see what it does: one that is stopped moves no agent"), *limits]
        answers = row("tmux_server", True, f"the one with the pid {pid} answers")
        return [answers, doctor.history(history), *doctor.limits(*proc.limits(pid), "the tmux server")]

    def git(self) -> list[dict]:
        said = login.ask(["git", "--version"], "/", self.config.environ, ASK_S)
        if "timeout" in said:
            return [row("git", None, f"no answer within {ASK_S:g} s", "see what hangs")]
        return [row("git", said.get("rc") == 0, said.get("text") or "it is not on PATH, or fails", "install git")]

    # -- agents and projects

    def agents(self) -> list[dict]:
        logins = Logins(self.config, None, timeout=ASK_S)
        return [
            doctor.agent(one["name"], one["title"], logins.check(one["name"], "/"), one["login"]["trust"]["key"])
            for one in self.profiles()
        ]

    def projects(self) -> list[dict]:
        """A row for each trouble of a project that waits or runs, and one a kind where there is none."""
        todo = self.unfinished()
        read = functools.cache(login.read_config)  # an agent's config may be large, and the projects many
        looks = {
            "directory": ("directories and specs of {} projects are there", directory),
            "trust": ("directories of {} projects are trusted", lambda project: self.trust(project, read)),
            "verify": ("verify commands of {} projects can be run", verify),
        }
        found = []
        for check, (words, look) in looks.items():
            troubles = [trouble for trouble in map(look, todo) if trouble]
            found += troubles or [row(check, True, f"the {words.format(len(todo))}")]
        return found

    def trust(self, project: dict, read: Callable[[str], dict | None]) -> dict | None:
        """With `trust = "given"` tmo-start gives it, if it can write the agent's config."""
        profile, check = agents.profile(self.config, project["agent"]), f"trust/{project['id']}"
        environ = agents.surroundings(profile, self.config.environ)
        path = login.config_path(profile, environ, agents.home(profile, environ))
        trusted = login.trusted(profile, read(path), project["project_path"] or "/")
        if trusted is None:
            return row(check, False, f"'{path}' cannot be read", "mend that file")
        if trusted or self.config["trust"] == "given":
            return None
        fix = f'run {profile["command"][0]} there once and accept, or set trust = "given"'
        return row(check, False, f"{project['agent']} does not trust '{project['project_path']}'", fix)

    def permissions(self) -> list[dict]:
        found = []
        for profile in self.profiles():
            found.append(doctor.permissions(profile, self.unasked(profile)))
            needed = profile["launch"].get("root_needs")
            if profile["skip_permissions"] and needed and os.getuid() == 0:
                given = profile["env"].get(needed) or self.config.environ.get(needed)
                fix = f'set {needed} = "1" in [agents.{profile["name"]}.env], or run as another user'
                why = f"{needed} is set" if given else f"as root it refuses to skip permissions without {needed}"
                found.append(row(f"root/{profile['name']}", given in ("1", "true"), why, fix))
        if self.config["dialog"]["permission"] == "accept":
            found.append(row("permissions", True, "each question of an agent is answered with yes ([dialog] permission)"))
        return found

    def unasked(self, profile: dict) -> list[str]:
        """The agent's own settings by which it asks nothing."""
        home, found = agents.home(profile, self.config.environ), []
        for name, key, value in profile["login"].get("unasked", []):
            inner: object = login.read_config(os.path.join(home, name)) or {}
            for part in key.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner == value:
                found.append(f"its own {name} has {key} = {value}")
            if value in profile["args"]:
                found.append(f"its args hold {value}")
        return found

    def rollout(self) -> list[dict]:
        """What holds everything back on purpose."""
        db = self.db()
        holds = db.holds(store.now()) if db else []
        names = ", ".join(f"{hold['name']} ({hold['why'] or hold['cause']})" for hold in holds)
        found = [row("holds", not holds, f"held: {names}" if holds else "nothing is held", "tmo-hold -r NAME")]
        if self.config["observe"] or not self.config["enabled"]:
            why = "observe is on, or enabled is 0: nothing is acted on"
            return [*found, row("rollout", False, why, "change the settings")]
        return [*found, row("rollout", True, f"{self.config['enabled']} % of the projects are acted on")]

    # -- what runs by itself

    def schedule(self) -> list[dict]:
        said = login.ask(["crontab", "-l"], "/", self.config.environ, ASK_S)
        crontab = doctor.scheduled(said["text"]) if "text" in said else None
        timers = [name for name in schedule.LINES if self.timer(name)]
        lines = crontab or {"names": [], "commands": [], "environ": {}}
        gone = [path for path in lines["commands"] if not os.access(path, os.X_OK)]
        found = [doctor.schedule(schedule.LINES, lines["names"] if crontab else None, timers, gone)]
        if lines["names"]:
            found.append(doctor.daemon(proc.running(), self.beats(), store.now()))
        elif not timers:
            return found
        return [*found, *self.environment(lines["environ"] if lines["names"] else self.unit_environment())]

    def timer(self, name: str) -> bool:
        return self.ask("systemctl", "--user", "is-enabled", f"tmuxorch-{name}.timer") is not None

    def unit_environment(self) -> dict[str, str]:
        text = self.ask("systemctl", "--user", "show", "-p", "Environment", "--value", "tmuxorch-start.service") or ""
        return dict(word.split("=", 1) for word in shlex.split(text) if "=" in word)

    def environment(self, there: dict[str, str]) -> list[dict]:
        """Cron's view, next to this shell's."""
        words = [profile["command"][0] for profile in self.profiles()]
        here = {word: shutil.which(word, path=self.config.environ.get("PATH")) for word in (*words, "tmux", "git")}
        cron = {word: shutil.which(word, path=there.get("PATH", "/usr/bin:/bin")) for word in here}
        other = Config(self.config, {"HOME": self.config.environ.get("HOME", "/"), **there})
        views = [{"database": one.db, "tmux server": one.server(), "config file": one.file} for one in (self.config, other)]
        return [doctor.programs(here, cron), doctor.environment(*views)]

    def beats(self) -> list[dict]:
        db = self.db()
        return [beat for beat in db.heartbeats() if beat["host"] == store.host()] if db else []

    def lines(self) -> list[dict]:
        beats = {beat["name"]: beat for beat in self.beats()}
        if not beats:
            return [row("line", None, "none has run yet", "tmo-crontab --run start, and so on, does one line's work now")]
        return [doctor.last_run(name, when, beats.get(name), store.now()) for name, when in schedule.LINES.items()]

    # -- the database and the machine

    def database(self) -> list[dict]:
        path = self.config.db
        kind = file.file_system(path)
        place = row("database_place", None if not kind else kind not in file.NETWORK, f"on {kind or 'what cannot be told'}",
                    "set TMO_DB to a path on a local disk: locks do not hold on this one")  # fmt: skip
        folder = existing(self.config.state_dir)
        if not os.access(folder, os.W_OK | os.X_OK):
            return [place, row("database", False, f"'{folder}' cannot be written", f"chown it, or set TMO_DB (now {path})")]
        db = self.db()
        if not db:
            return [place, row("database", True, "none yet; the first tmo-enqueue makes it")]
        wrong = "; ".join(one["reason"] for one in upkeep.check(db) if one["kind"] != "space")
        found = row("database", not wrong, wrong or f"whole, schema {db.version()}", "restore a copy; see tmo-repair-db(1)")
        return [place, found, doctor.hosts(db.heartbeats(), store.host(), store.now())]

    def writers(self) -> list[dict]:
        return [doctor.writers(proc.writers(os.path.realpath(self.config.db)))]

    def disk(self) -> list[dict]:
        places = {self.config.state_dir, "/tmp", *[project["project_path"] or "/" for project in self.unfinished()]}
        disks = [(existing(place), os.statvfs(existing(place))) for place in sorted(places)]
        return [doctor.disk({place: disk.f_bavail * disk.f_frsize for place, disk in disks})]

    def memory(self) -> list[dict]:
        """For the projects that may run at once, the largest first; none is queued yet: for the default roles."""
        counts = sorted((len(one["roles"].split(",")) for one in self.unfinished()), reverse=True)
        most = self.config["max_running"]
        return [doctor.memory(proc.memory_free(), sum(counts[:most]) or most * len(self.config["roles"]))]

    def clock(self) -> list[dict]:
        said = self.ask("timedatectl", "show", "-p", "NTPSynchronized", "--value") or ""
        db = self.db()
        return [doctor.clock(said, upkeep.newest_at(db) if db else None, store.now())]

    def logout(self) -> list[dict]:
        kill = self.ask("loginctl", "show", "-p", "KillUserProcesses", "--value") or ""
        linger = self.ask("loginctl", "show-user", str(os.getuid()), "-p", "Linger", "--value") or ""
        return [doctor.logout(kill, linger)]

    def notify(self) -> list[dict]:
        if not self.config["notify_command"]:
            return [row("notify", True, "nobody is told of trouble: no notify_command is set")]
        return [row("notify", True, "a notify_command is set; tmo-notify --test tries it")]


def directory(project: dict) -> dict | None:
    for path, use in ((project["project_path"], os.W_OK | os.X_OK), (project["spec_path"], os.R_OK)):
        if not path or not os.access(path, use):
            why = f"cannot {'use' if path and os.path.exists(path) else 'find'} '{path}'"
            return row(f"directory/{project['id']}", False, why, f"bring it back, or tmo-project -E cancel {project['id']}")
    return None


def verify(project: dict) -> dict | None:
    """What is wrong with a verify command, as far as it can be told without running it: its syntax, and that its first
    word is a program; nothing more is known of a line that begins otherwise."""
    line, check = project["verify_command"], f"verify/{project['id']}"
    if not line:
        return None
    environ, where = dict(os.environ), project["project_path"] if os.path.isdir(project["project_path"] or "") else "/"
    said = login.ask(["/bin/sh", "-n", "-c", line], where, environ, ASK_S)
    if said.get("rc"):
        return row(check, False, f"sh does not understand it: {said['err'][-100:]}", f"enqueue it anew: {line}")
    word = re.match(r"(?:\w+=\S*\s+)*([\w./+-]+)(?=\s|$)", line)
    if word and login.ask(["/bin/sh", "-c", 'command -v "$0"', word[1]], where, environ, ASK_S).get("rc"):
        return row(check, False, f"cannot find '{word[1]}'", "install it, or put it on PATH before tmo-crontab is typed")
    return None


def existing(path: str) -> str:
    """The path, or the first directory above it that is there."""
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
