"""One look at the agents: facts from tmux, the process table, the agents' traces and the database, judged.

A step: it joins adapters and decisions for the commands that need them (tmo-health, tmo-send, tmo-recover, …).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable

from .. import agents, delivery, git, health, screen, store, tmux
from ..agents import traces
from ..cli import is_agent
from ..config import Config
from ..errors import Error
from ..proc import again, began_at, boot_id, open_files, variable, walker
from ..waiting import until
from .panes import Panes

ENDING_S, POLL_S = 1.0, 0.05
LAUNCH_S = 15.0  # a launch that is written down is carried out in this time, or whoever began it was killed


class Look(Panes):
    """The machine as one look found it. every: all agents will be asked for, so that they may be read ahead."""

    def __init__(self, config: Config, db: store.Store | None, now: float, every: bool = False) -> None:
        self.every = every
        self.profiles: dict[str, dict] = {}
        self.found: dict[tuple, dict] = {}  # the facts of each agent, by project and role
        self.ahead: dict[str, dict] = {}  # what was read of them before tmux told of their panes, by pane id
        self.early: set[str] = set()  # the panes whose screens were asked for then
        self.shots: Callable[[], dict] = dict
        self.walk = walker()
        super().__init__(config, db, now)

    def profile(self, name: str) -> dict:
        if name not in self.profiles:
            self.profiles[name] = agents.profile(self.config, name)
        return self.profiles[name]

    def readable(self, name: str) -> tuple[dict | None, str | None]:
        """(an agent's profile, or why there is none). The agents of other profiles are judged all the same."""
        try:
            return self.profile(name), None
        except Error as error:
            return None, str(error)

    # -- health

    def look_at(self, given: list[dict] | None) -> list[dict]:
        """Rows with their `health`, the looks at agents of ours written down. None: every pane. A project's row gets
        null; one that cannot be judged null and an error."""
        rows = self.all_rows() if given is None else given
        whose = rows if given is None else [self.of(row) if is_agent(row) else None for row in rows]
        known = [row for row in whose if row]
        verdicts = self.judge(known)
        self.save(known, verdicts)
        health = {id(row): verdict for row, verdict in zip(known, verdicts, strict=True)}
        return [self.judged(row, found, health) for row, found in zip(rows, whose, strict=True)]

    def judged(self, row: dict, found: dict | None, health: dict) -> dict:
        if found:
            return {**(found if row.keys() == {"target"} else row), "health": health[id(found)]}
        if is_agent(row):
            return {**row, "health": None, "error": "no such agent"}
        return {**row, "health": None}

    def judge(self, rows: list[dict]) -> list[dict]:
        """The `health` of these agent rows, each beside the last look; nothing is written."""
        facts = [self.presence(row) for row in rows]
        add_screens = self.ask_screens(facts)  # while tmux draws them, the traces are read
        for row, one in zip(rows, facts, strict=True):
            self.add_traces(one, row)
        add_screens()
        seen = [self.verdict(one) for one in facts]
        if self.server != "silent" and not self.server_ended() and self.mass_death(rows, seen):
            for verdict in seen:
                if verdict["state"] in ("shell", "dead", "missing"):
                    verdict.update(state="unknown", detail="too many agents vanished in one look")
        return [self.settle(row, one, verdict) for row, one, verdict in zip(rows, facts, seen, strict=True)]

    def verdict(self, facts: dict) -> dict:
        if facts["unreadable"]:
            return health.verdict("unknown", facts["unreadable"])
        return health.judge(facts, facts["profile"], self.config, self.now)

    def facts(self, row: dict) -> dict:
        """What is known of one agent without looking at its screen."""
        facts = self.presence(row)
        self.add_traces(facts, row)
        return facts

    def presence(self, row: dict) -> dict:
        """The agent of a row by its pane, its process and what it publishes of itself."""
        known = self.known.get((row["project_id"], row["role"]), {})
        pane = self.by_id.get(row["pane_id"])
        facts: dict = {
            "server": self.server, "pane": pane, "processes": [], "agent": None, "registry": None, "turn": None,
            "turning": None, "untold": False, "screen": None, "launched_at": known.get("launched_at"),
            "activity_at": None, "known": known, "watched_since": health.watched_since(known, self.config, self.now),
            "conversation_id": known.get("conversation_id"), "transcript": None, "profile": None,
            "unreadable": None, "home": "", "launching": False, "hooks_path": self.hooks_path(known.get("run")),
            "history_path": None, "shell": None,
        }  # fmt: skip
        self.found[row["project_id"], row["role"]] = facts
        facts["under_way"] = self.under_way(known, pane)
        if pane is None and self.server != "silent" and self.elsewhere(row["project_id"]):
            facts["server"] = "elsewhere"
        if pane is None or pane["pane_dead"]:
            return facts
        processes: Iterable[dict] = self.walk(pane["pane_pid"])
        name = row["agent"]
        if not name:  # read once: what is recognised and what is searched must be the same
            processes = list(processes)
            name = self.recognise(processes)
        if name:
            facts["profile"], facts["unreadable"] = self.readable(name)
        if facts["profile"]:
            facts["home"] = known.get("agent_home") or agents.home(facts["profile"], self.config.environ)
        facts |= self.of_last_look(pane, name) or self.search(processes, facts["profile"], facts["home"])
        facts["launched_at"] = launched_at(known, facts["processes"], self.now)
        facts["launching"] = not facts["agent"] and any(map(tmux.launching, facts["processes"][:1]))
        if not facts["agent"] and pane["@tmo_run"]:
            facts["shell"] = variable(pane["pane_pid"], "SHELL")
        if not facts["agent"] and any(process["state"] == "?" for process in facts["processes"]):
            facts["processes"] = []  # the agent may be the one that could not be read
        return facts

    def under_way(self, known: dict, pane: dict | None) -> bool:
        """Whether somebody is about to launch an agent: its new run is in the database, and neither the pane nor the
        history knows of it."""
        run = known.get("run")
        if not run or not self.db or (pane and pane["@tmo_run"] == run) or known["launched_at"] is None:
            return False
        young = 0 <= self.now - known["launched_at"] < LAUNCH_S
        return young and not self.db.launched(known["project_id"], run)

    def tree(self, pid: int) -> list[dict]:
        """The processes at and below one."""
        return list(self.walk(pid))

    def search(self, processes: Iterable[dict], profile: dict | None, home: str) -> dict:
        """The processes of a pane down to the agent, that agent, and its registry. What it started is not read."""
        seen: list[dict] = []
        for process in processes:
            seen.append(process)
            if profile and agents.is_agent(profile, process):
                return {"processes": seen, "agent": process, "registry": traces.registry(profile, home, process)}
        return {"processes": seen, "agent": None, "registry": None}

    def meanwhile(self) -> None:
        """The agents' processes of the last look that are there still, and the screens that they leave open: asked for
        before it is known that their panes are still those."""
        for agent in self.known.values() if self.every else ():
            place, process = last_process(agent)
            profile, _ = self.readable(agent["agent"])
            if process and profile:
                registry = traces.registry(profile, agent["agent_home"] or "", process)
                seen = {"processes": [process], "agent": process, "registry": registry}
                self.ahead[agent["pane_id"]] = {"place": (place, agent["agent"]), "seen": seen}
        self.early = {pane_id for pane_id, one in self.ahead.items() if not at_work(one["seen"])}
        self.shots = self.tmux.ask_captures(list(self.early))

    def survivors(self, number: int, role: str) -> list[dict]:
        """What still runs of an agent whose pane is gone: it may not have heeded the hang-up."""
        _, process = last_process(self.known.get((number, role), {"process": None}))
        return self.tree(process["pid"]) if process else []

    def of_last_look(self, pane: dict, name: str | None) -> dict | None:
        """What was read ahead of the agent in a pane, if the pane and its first process are those of the last look."""
        one = self.ahead.get(pane["pane_id"])
        if one and one["place"] == (str(pane["pane_pid"]), name):
            return one["seen"]
        self.early.discard(pane["pane_id"])
        return None

    def recognise(self, processes: list[dict]) -> str | None:
        """Which agent runs in a pane that nobody tagged."""
        for name in agents.names(self.config):
            profile, _ = self.readable(name)
            if profile and agents.find(profile, processes):
                return name
        return None

    def add_traces(self, facts: dict, row: dict) -> None:
        """What the agent wrote down: the conversation that it is in, how its last turn ended, when it last moved."""
        profile, home = facts["profile"], facts["home"]
        if not profile:
            return
        hook = traces.last_hook(facts["hooks_path"])
        facts["conversation_id"] = hook.get("session_id") or facts["conversation_id"]
        if facts["agent"]:
            facts["conversation_id"] = self.present_conversation(facts) or facts["conversation_id"]
        facts["untold"] = "conversation" in profile["traces"] and not facts["conversation_id"]
        path = traces.transcript_path(profile, home, row["directory"], facts["conversation_id"], hook)
        facts["transcript"], facts["history_path"] = path, traces.history_path(profile, home)
        if not at_work(facts):
            facts["turn"] = traces.last_turn(traces.newest(path), facts["launched_at"] or 0.0)
        if facts["agent"] and "registry" not in profile["traces"]:
            facts["turning"] = traces.turn_status(traces.newest(path), began_at(facts["agent"]))
        moved = [
            traces.changed(path),
            traces.acted(facts["hooks_path"], hook),
            traces.changed(f"{row['directory']}/.git/logs/HEAD"),
        ]
        works = at_work(facts) or facts["turning"] == "busy"
        if works and self.now - max(moved) >= self.config["stuck_s"]:  # it costs more, and is seldom asked for
            moved += [traces.helped(profile, path), git.changed(row["directory"])]
        facts["activity_at"] = min(max(moved), self.now) or None

    def present_conversation(self, facts: dict) -> str | None:
        """The conversation that the agent is in now, by its registry, or by the file that it holds open for it."""
        if facts["registry"]:
            return facts["registry"]["conversation_id"]
        if "conversation" not in facts["profile"]["traces"]:
            return None
        pids = [process["pid"] for process in self.tree(facts["agent"]["pid"])]
        return traces.held_conversation(facts["profile"], facts["home"], open_files(pids))

    def hooks_path(self, run: str | None) -> str | None:
        return os.path.join(self.config.state_dir, "hooks", f"{run}.jsonl") if run else None

    def add_screens(self, facts: list[dict]) -> None:
        """Add every agent's screen."""
        self.ask_screens(facts, every=True)()

    def ask_screens(self, facts: list[dict], every: bool = False) -> Callable[[], None]:
        """Capture, in one client, the panes whose state their registry leaves open (or every agent's) and that were not
        asked for yet. What is returned waits for the screens and adds them to the facts."""
        alive = [one for one in facts if one["agent"] and one["agent"]["state"] != "T"]
        open_ones = {one["pane"]["pane_id"]: one for one in alive if every or not at_work(one)}
        answer = self.tmux.ask_captures([pane_id for pane_id in open_ones if pane_id not in self.early])

        def add() -> None:
            # Nobody waits for screens that nobody needs: of a server that does not answer they would not come.
            shots = (self.shots() if self.early & open_ones.keys() else {}) | answer()
            self.shots = lambda: shots
            for pane_id, one in open_ones.items():
                shot = shots.get(pane_id)
                one["screen"] = screen.read(shot["text"], one["profile"]["screen"], shot["cursor_y"]) if shot else None

        return add

    def elsewhere(self, number: int | None) -> bool:
        """Whether a project's agents run where this look does not reach: on another host, or on a tmux server that lives
        and is not the one that answered (cron has another TMUX_TMPDIR, a person another socket)."""
        project = self.project(number) if number else None
        if not project or not project["server"]:
            return False
        if project["host"] not in (None, store.host()):
            return True
        return project["boot_id"] in (None, boot_id()) and self.runs_elsewhere(project["server"])

    def runs_elsewhere(self, server: str) -> bool:
        """Whether a tmux server (PID@START) lives that is not the one that answered."""
        return server not in {pane["server"] for pane in self.panes} and self.lives(int(server.partition("@")[0]))

    def out_of_reach(self, project: dict) -> str | None:
        """Where a project's session is, when this look cannot end it. One of another host that does not run any more is not
        asked for: that host may be gone for good, or have had its name changed."""
        if project["status"] == "queued" or not self.elsewhere(project["id"]):
            return None
        if project["host"] not in (None, store.host()):
            return f"host '{project['host']}'" if project["status"] in store.RUNNING else None
        pid = project["server"].partition("@")[0]
        return f"another tmux server (pid {pid}; TMO_SOCKET and TMUX_TMPDIR choose it)"

    @functools.cache  # noqa: B019 - a look lives no longer than its command
    def lives(self, pid: int) -> bool:
        """Whether a tmux server runs that does not answer. One that was told to end may take a moment for it."""

        def gone() -> bool:
            first = next(iter(walker()(pid)), None)
            return first is None or first["state"] == "Z" or not first["name"].startswith("tmux")

        return not until(gone, ENDING_S, POLL_S)

    def server_ended(self) -> bool:
        """The tmux server that the running projects were recorded on is proven gone: theirs may all be missing."""
        recorded = {project["server"] for project in self.projects.values() if project["status"] in store.LIVE}
        present = {pane["server"] for pane in self.panes}
        return bool(recorded) and not recorded & present

    def mass_death(self, rows: list[dict], seen: list[dict]) -> bool:
        pairs = [
            (self.known.get((row["project_id"], row["role"])), verdict) for row, verdict in zip(rows, seen, strict=True)
        ]
        alive = ("working", "idle", "draft", "dialog", "login", "limited", "api_error", "context_full", "hung")
        return health.mass_death(
            [{"had_agent": known["state"] in alive, "state": verdict["state"]} for known, verdict in pairs if known]
        )

    def settle(self, row: dict, facts: dict, verdict: dict) -> dict:
        known = facts["known"] or None
        if verdict["state"] == "draft":
            verdict["detail"] = self.whose_draft(row, facts)
        return health.settle(verdict, known, self.wanted(row), facts["activity_at"], self.config, self.now)

    def whose_draft(self, row: dict, facts: dict) -> str:
        """`ours` when the composer holds a message that we typed and that was not submitted."""
        shown = facts["screen"]["draft"]
        for message in self.db.typed_in(facts["pane"]) if self.db else []:
            if delivery.shows(shown, message["text"], facts["profile"]):
                return "ours"
        return "not ours"

    def wanted(self, row: dict) -> str:
        """What is wanted of an agent: work, until its role has said that it is done; later, while a message waits, after
        that word too."""
        project = self.projects.get(row["project_id"])
        if not project or project["status"] != "processing" or not row["role"] or not self.db:
            return "nothing"
        if not hasattr(self, "finished"):
            self.finished, self.awaited = self.db.roles_done(), self.db.roles_awaited()
        agent = (project["id"], row["role"])
        if agent in self.awaited:
            return "later"
        return "nothing" if agent in self.finished else "work"

    def save(self, rows: list[dict], verdicts: list[dict]) -> None:
        """Write the looks at agents of ours."""
        looks = []
        for row, verdict in zip(rows, verdicts, strict=True):
            known = self.known.get((row["project_id"], row["role"]))
            if known and self.db:
                looks.append((known, columns(row, self.found[row["project_id"], row["role"]], verdict, self.now)))
        if looks and self.db:
            self.note_pauses([known for known, _ in looks])
            self.db.save_looks(looks)

    def note_pauses(self, agents: list[dict]) -> None:
        """Write down for each running project how long nobody had looked at it, where that was too long: its time stands
        still meanwhile."""
        last: dict[int, float] = {}
        for agent in agents:
            number = agent["project_id"]
            last[number] = max(last.get(number, 0.0), agent["last_health_check_at"] or 0.0)
        for number, at in last.items():
            running = self.projects[number]["status"] in store.LIVE
            if at and running and self.now - at > self.config["look_max_age_s"] and self.db:
                why, span = f"nobody looked for {self.now - at:.0f} s", {"since_at": at, "until_at": self.now}
                self.db.event("health", "pause", "tmo-health", span, project_id=number, why=why)


def launched_at(known: dict, processes: list[dict], now: float) -> float | None:
    """When an agent was launched. A time that lies ahead was written by a clock that was set back since: then its first
    process tells, since the kernel's times follow the clock."""
    written = known.get("launched_at")
    if written is None or written <= now or not processes:
        return written
    return min(began_at(processes[0]), now)


def screen_only(shown: dict, profile: dict, config: Config, now: float) -> dict:
    """The `health` that a recorded screen alone tells."""
    facts = {"server": "up", "pane": {"pane_dead": False}, "processes": [{"name": "agent"}], "agent": {"state": "S"},
             "registry": None, "turn": None, "turning": None, "untold": False, "screen": shown,
             "under_way": False, "launched_at": None, "launching": False, "watched_since": None,
             "activity_at": None}  # fmt: skip
    return health.settle(health.judge(facts, profile, config, now), None, "nothing", None, config, now)


def columns(row: dict, facts: dict, verdict: dict, now: float) -> dict:
    """What of a look the agent's row in agent_health keeps."""
    known, agent = facts["known"], facts["agent"]
    process = f"{row['pane_pid']} {agent['pid']} {agent['started']} {agent['name']}" if agent else None
    stuck_since = now - verdict["stuck_s"] if verdict["stuck_s"] is not None else None
    return {
        "state": verdict["state"], "detail": verdict["detail"], "dialog": verdict["dialog"],
        "evidence": json.dumps(verdict["evidence"]), "since_at": verdict["since_at"],
        "confirmed": int(verdict["confirmed"]), "is_stuck": int(verdict["is_stuck"]),
        "stuck_since": known["stuck_since"] if known["is_stuck"] and verdict["is_stuck"] else stuck_since,
        "reset_at": verdict["reset_at"], "last_activity_at": verdict["last_activity_at"],
        "last_health_check_at": now, "window_index": row["window_index"],
        "conversation_id": facts["conversation_id"] or known["conversation_id"],
        "process": process if facts["pane"] else known["process"],  # without its pane it may run on
    }  # fmt: skip


def last_process(agent: dict) -> tuple[str, dict | None]:
    """(the pid of its pane, its process if that runs still), as the last look at an agent wrote them down."""
    place, pid, started, name = (agent["process"] or "- - - -").split(" ", 3)
    return place, again(int(pid), started, name) if pid != "-" else None


def at_work(facts: dict) -> bool:
    return bool(facts["registry"]) and facts["registry"]["status"] == "busy"
