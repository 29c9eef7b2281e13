"""Start agents: sessions, windows, launch lines, the wait for their composers, and their briefings.

A step, shared by tmo-start and tmo-recover. What is to be launched is in the database before tmux is asked.
"""

from __future__ import annotations

import os
import re
import sys

from .. import agents, briefing, delivery, git, proc, screen, tmux
from .. import project as projects
from ..agents import login, traces
from ..config import Config
from ..errors import Error, Later
from ..store import RUNNING, Store, now
from ..waiting import until
from .look import Look
from .panes import owns
from .send import Sender, commit_own

POLL_S = 0.1
ITEMS = 8  # a dialog has no more
MOVE_S = 2.0  # it shows the next item within this time
# The agent's own shell line ends with it: whoever looks in the morning finds a sane terminal in the directory.
# tmux gives a new pane the PATH of the client that asked for it, whatever -e says: it comes as the first word.
SCRIPT = r"""
PATH=$1
export PATH
shift
"$@"
status=$?
stty sane 2>/dev/null
printf '\033[?1049l\033[?2004l\033[?25h\033[0m\n[the agent ended with status %s]\n' "$status"
exec "${SHELL:-/bin/sh}"
"""


class Launcher:
    def __init__(self, config: Config, db: Store, actor: str) -> None:
        self.config, self.db, self.actor = config, db, actor
        self.tmux = tmux.Tmux(config.socket, config["tmux_timeout_s"])
        self.bin = os.path.dirname(os.path.realpath(sys.argv[0]))

    def prepare(self, project: dict, role: str, kind: str, state: str | None = None, run: str | None = None) -> dict:
        """Write down one launch (a new run, its conversation, its briefing); returns it as tmux.create wants it.

        In a recovery the conversation is resumed when the agent left a transcript of it, else it is a new one. run: the
        launch that is to be recovered; raises Later when that is not the agent's last one any more.
        """
        profile = agents.profile(self.config, project["agent"])
        known = self.db.agent(project["id"], role) or {}
        home = self.home(profile, project, known if kind == "recovery" else {})
        conversation = self.conversation(known) if kind == "recovery" else None
        path = traces.transcript_path(profile, home, project["project_path"], conversation, {})
        forgotten = self.forgotten(known.get("run"), path) if kind == "recovery" else []
        resume = bool(conversation) and traces.begun(path)
        values = {
            "agent": project["agent"], "run": agents.new_id(), "agent_home": home, "launched_at": now(),
            "conversation_id": conversation if resume else agents.new_conversation(profile), "state": "starting",
            "since_at": now(),
            "confirmed": 0, "detail": None, "dialog": None, "is_stuck": 0, "stuck_since": None,
        }  # fmt: skip
        if kind == "start":
            values |= {"recovery_attempts": 0, "next_recovery_at": None, "last_recovery_at": None, "needs_human": 0}
        if kind == "start":
            self.db.save_agent(project["id"], role, values)
        elif not self.db.relaunch_agent(project["id"], role, run, values):
            raise Later("another process launches it")
        self.commit_briefing(project, role, kind, values["run"], state, forgotten)
        words = agents.argv(profile, os.path.join(self.bin, "tmo-hook"), values["conversation_id"], resume)
        environment = self.environment(profile, project, role, values["run"], homed(profile, self.config.environ, home))
        return {
            "name": projects.window_name(role), "directory": project["project_path"], "project": project["id"],
            "start": project["run"],
            "role": role, "agent": project["agent"], "run": values["run"], "kind": kind,
            "command": ["/bin/sh", "-c", SCRIPT, tmux.LAUNCHER, environment["PATH"], *words],
            "environment": environment,
        }  # fmt: skip

    def home(self, profile: dict, project: dict, known: dict) -> str:
        """The home of an agent: where it was launched before lie its conversation and its login, whatever the environment
        of whoever launches it anew."""
        before = known.get("agent_home") if known.get("agent") == project["agent"] else None
        return before or agents.home(profile, self.config.environ)

    def conversation(self, known: dict) -> str | None:
        """The agent's conversation as it was last seen: by its hooks (it may have changed), by a look, or by the last
        message that was typed into it, which may have come before the first look."""
        path = os.path.join(self.config.state_dir, "hooks", f"{known.get('run')}.jsonl")
        told = traces.last_hook(path).get("session_id") or known.get("conversation_id")
        return told or self.db.last_conversation(known.get("run"))

    def forgotten(self, run: str | None, path: str | None) -> list[str]:
        """The texts that an agent took up and did not write down before it ended: Claude Code (2.1.330) reports a prompt to
        its hooks some 0.2 s before the prompt is in its transcript, and knows nothing of it once it is resumed."""
        return [
            message["text"] for message in self.db.last_submitted(run)
            if not delivery.taken(list(traces.records(path, message["transcript_at"] or 0)), message["text"])
        ]  # fmt: skip

    def environment(self, profile: dict, project: dict, role: str, run: str, given: dict) -> dict[str, str]:
        path = given.get("PATH") or os.defpath
        values = {
            "TMO_DB": self.config.db, "TMO_SOCKET": self.config.socket, "TMO_PROJECT": str(project["id"]),
            "TMO_ROLE": role, "TMO_RUN": run, "TMO_DIRECTORY": project["project_path"],
            "PATH": path if self.bin in path.split(":") else f"{path}:{self.bin}",
        }  # fmt: skip
        for name in ("TMO_CONFIG", "LANG", "LC_ALL"):
            if given.get(name):
                values[name] = given[name]
        values |= profile["env"]
        home = profile["home"]["env"]
        values.pop(home, None)  # the agent's settings may name another one than it was launched with before
        return {**values, home: given[home]} if given.get(home) else values

    def trust(self, project: dict, known: dict | None = None) -> None:
        """Write the trust of the project's directory into the config of the agent (of the known one, at a relaunch), as the
        settings allow."""
        profile = agents.profile(self.config, project["agent"])
        home = self.home(profile, project, known or {})
        path = login.config_path(profile, homed(profile, self.config.environ, home), home)
        if self.config["trust"] != "given" or login.trusted(profile, login.read_config(path), project["project_path"]):
            return
        for _ in range(20):  # running agents rewrite the file: each time it is read anew
            if login.give_trust(profile, path, project["project_path"]):
                self.db.event("trust", "given", self.actor, project_id=project["id"], why=project["project_path"])
                return
        raise Error(f"cannot write '{path}': it changes all the time")

    def start(self, project: dict) -> None:
        """Start every role of a project that has no pane yet: in a new session, or in ours that is there already. One that
        lost its pane after it was briefed is for tmo-recover: it would begin its work anew here."""
        self.trust(project)
        self.end_earlier(project)
        look, number = Look(self.config, self.db, now()), project["id"]
        roles = [
            role for role in project["roles"].split(",")
            if not look.find(f"{number}/{role}") and not self.db.briefed(number, role)
        ]  # fmt: skip
        launches = [self.prepare(project, role, "start") for role in roles]
        if launches and not self.session_there(project, look):
            made = self.tmux.create(project["session_name"], launches)
        else:
            made = [self.tmux.add_window(project["session_name"], launch) for launch in launches]
        for launch, place in zip(launches, made, strict=True):
            self.launched(launch, place)

    def relaunch(self, project: dict, role: str, state: str, run: str | None) -> None:
        """Start one role's agent anew: in its old pane, else in a window of the session, else in a new session.

        tmux ends what still runs in that pane; its last screen is kept. run: its launch that was looked at; raises Later
        when there has been another since, or the project was moved meanwhile: it gets no agent then.
        """
        self.need_running(project)
        self.trust(project, self.db.agent(project["id"], role))
        look = Look(self.config, self.db, now())
        ours = look.find(f"{project['id']}/{role}")
        if ours:
            self.keep([look.by_id[ours[0]["pane_id"]]], project, f"relaunch: {state}")
        launch = self.prepare(project, role, "recovery", state, run)
        # An agent may survive the hang-up that tmux sends; two must never share a pane, or a conversation.
        if ours:
            pane = look.by_id[ours[0]["pane_id"]]
            # The number of a process that ended may be another's by now.
            old = [] if pane["pane_dead"] else look.tree(pane["pane_pid"])
            self.tmux.respawn(pane["pane_id"], launch)
            proc.end(old)
            place = {key: pane[key] for key in ("pane_id", "window_index", "server")}
        else:
            proc.end(look.survivors(project["id"], role))
            place = self.place(project, launch, look)
        self.launched(launch, place)
        # Whoever cancelled the project before this ended its session before this pane was there; later ones see the pane.
        try:
            self.need_running(project)
        except Later as error:
            self.end_runs(project, {launch["run"]}, str(error))
            raise

    def place(self, project: dict, launch: dict, look: Look) -> dict:
        """A new window for a launch, in the project's session or a new one: {pane_id, window_index, server}."""
        if self.session_there(project, look):
            return self.tmux.add_window(project["session_name"], launch)
        return self.tmux.create(project["session_name"], [launch])[0]

    def session_there(self, project: dict, look: Look) -> bool:
        """Our session is there. Raises Error when one of that name is not ours."""
        named = [pane for pane in look.panes if pane["session_name"] == project["session_name"]]
        if not all(owns(project, pane) for pane in named):
            raise Error(f"a session '{project['session_name']}' is there that is not ours")
        return bool(named)

    def launched(self, launch: dict, place: dict) -> None:
        server = place.pop("server")
        self.db.update("agent_health", {"project_id": launch["project"], "role": launch["role"]}, place)
        self.db.update("project_queue", {"id": launch["project"]}, {"server": server, "boot_id": proc.boot_id()})
        self.db.event(
            "launch", launch["kind"], self.actor, project_id=launch["project"], role=launch["role"], run=launch["run"],
            pane_id=place["pane_id"],
        )  # fmt: skip

    def still_runs(self, project: dict) -> bool:
        """Whether nobody ended a project, or started it anew, since it was read."""
        fresh = self.db.project(project["id"]) or {}
        return fresh.get("run") == project["run"] and fresh.get("status") in RUNNING

    def need_running(self, project: dict) -> None:
        """Raises Later when a project was moved since it was read."""
        if not self.still_runs(project):
            raise Later(f"project {project['id']} was moved while its agent was launched")

    def end(self, project: dict, why: str) -> bool:
        """End the session of this start of a project, keeping the last screens; whether there was one. Raises Later when
        tmux does not answer."""
        look = Look(self.config, self.db, now())
        look.need_server()
        panes = [pane for pane in look.panes if owns(project, pane)]
        self.keep(panes, project, why)
        for session in {pane["session_name"] for pane in panes}:
            self.tmux.end_session(session)
        return bool(panes)

    def end_earlier(self, project: dict) -> None:
        """End the panes that an earlier start of a project left, keeping their last screens: whoever moved the project was
        killed before it ended them. Nobody else's pane is touched, whatever its session is called."""
        if not (runs := self.db.earlier_runs(project["id"])):
            return
        self.end_runs(project, runs, "it is of an earlier start")

    def end_runs(self, project: dict, runs: set[str], why: str) -> None:
        """End the panes of these launches, keeping their last screens."""
        panes = [pane for pane in Look(self.config, self.db, now()).panes if pane["@tmo_run"] in runs]
        self.keep(panes, project, why)
        for pane in panes:
            self.tmux.end_pane(pane["pane_id"])

    def keep(self, panes: list[dict], project: dict, why: str) -> None:
        """Record the last screens of panes that are about to be ended, and where their transcripts are."""
        shots = self.tmux.captures([pane["pane_id"] for pane in panes])
        known = {agent["role"]: agent for agent in self.db.agents([project["id"]])}
        try:
            profile = agents.profile(self.config, project["agent"])
        except Error:
            profile = None
        for pane in panes:
            lines = [screen.plain(line) for line in shots.get(pane["pane_id"], {"text": ""})["text"].split("\n")]
            agent = known.get(pane["@tmo_role"], {})
            conversation, home = self.conversation(agent), agent.get("agent_home") or ""
            path = traces.transcript_path(profile, home, project["project_path"], conversation, {}) if profile else None
            self.db.event(
                "end", "end", self.actor, project_id=project["id"], role=pane["@tmo_role"] or None,
                pane_id=pane["pane_id"], run=pane["@tmo_run"] or None, why=why,
                evidence={"screen": "\n".join(lines).strip()[-4000:], "conversation_id": conversation,
                          "transcript": traces.there(path)},
            )  # fmt: skip

    def wait_ready(self, wanted: list[tuple[int, str]]) -> dict[tuple[int, str], dict]:
        """Wait until each (project, role) shows its composer, or cannot any more; its last `health` each."""
        last: dict[tuple[int, str], dict] = {}

        def ready() -> bool:
            look = Look(self.config, self.db, now())
            rows = [row for key in wanted for row in look.find("{}/{}".format(*key)) or [self.gone(look, key)]]
            last.update(zip(wanted, look.judge(rows), strict=True))
            self.answer(look, rows, last)
            return all(map(settled, last.values()))

        until(ready, self.config["recover_wait_s"], POLL_S)
        return last

    def gone(self, look: Look, key: tuple[int, str]) -> dict:
        project = look.project(key[0])  # it may have been cancelled meanwhile
        assert project
        return look.missing_row(project, key[1])

    def answer(self, look: Look, rows: list[dict], healths: dict) -> None:
        """Answer the dialogs that the settings say how to answer."""
        for row in rows:
            health = healths[row["project_id"], row["role"]]
            if health["state"] == "dialog" and answer_dialog(self.config, look, row, health["dialog"]):
                self.db.event(
                    "recovery", "submit", self.actor, project_id=row["project_id"], role=row["role"],
                    pane_id=row["pane_id"], why=f"dialog {health['dialog']}",
                )  # fmt: skip

    def brief(self, project: dict, role: str) -> dict:
        """Deliver the briefing of a role's present launch, if tmo-deliver has not brought it already; its row."""
        agent = self.db.agent(project["id"], role) or {}
        row, sender = self.db.message(f"briefing/{agent.get('run')}"), Sender(self.config, self.db)
        if row and row["state"] == "typing":  # its sender was killed
            row = sender.settle(row)
        if row and row["state"] in ("queued", "held"):
            row = sender.attempt(row, self.config["send_timeout_s"], keep=True)
        return row or {"state": "unknown", "reason": "this launch has no briefing"}

    def commit_briefing(
        self, project: dict, role: str, kind: str, run: str, state: str | None, forgotten: list[str]
    ) -> None:
        """Put the briefing of a launch into the outbox before the launch: whoever comes next delivers it."""
        self.db.supersede_briefings(project["id"], role)
        text = compose(self.config, self.db, project, role, kind, state, forgotten)
        commit_own(self.config, self.db, project, role, f"briefing/{run}", text, self.actor)


def homed(profile: dict, environ: dict, home: str) -> dict:
    """An environment in which an agent has this home, whatever its settings name now. No variable names the default one:
    the agent would look for its config at another place then."""
    environ, bare = agents.surroundings(profile, environ), {**profile, "env": {}}
    if agents.home(bare, environ) == home:
        return environ
    rest = {name: value for name, value in environ.items() if name != profile["home"]["env"]}
    return rest if agents.home(bare, rest) == home else {**rest, profile["home"]["env"]: home}


def settled(health: dict) -> bool:
    """Its composer is there, or it will not come by itself."""
    return health["state"] not in ("starting", "unknown")


def answer_dialog(config: Config, look: Look, row: dict, kind: str) -> bool:
    """Choose the item of a dialog that lets the agent go on, if the policy for its kind is `accept`.

    Enter is pressed only on what is read as selected. After each Down the screen must show another item first:
    a key more than was seen could move on to "No, exit".
    """
    profile = look.profile(row["agent"])
    pattern = profile["screen"].get("answer", {}).get(kind)
    if config["dialog"].get(kind, "report") != "accept" or not pattern:
        return False
    pane = look.by_id[row["pane_id"]]
    for _ in range(ITEMS):
        selected = shown_item(look.tmux, pane, profile, kind)
        if selected is None:
            return False
        if re.search(pattern, selected):
            return look.tmux.press(pane["pane_id"], "Enter", tmux.guard(pane))
        look.tmux.press(pane["pane_id"], "Down", tmux.guard(pane))
        if not moved(look.tmux, pane, profile, kind, selected):
            return False
    return False


def moved(server: tmux.Tmux, pane: dict, profile: dict, kind: str, item: str) -> bool:
    """Wait until the dialog shows another item as selected, or is gone."""
    return until(lambda: shown_item(server, pane, profile, kind) != item, MOVE_S, POLL_S)


def shown_item(server: tmux.Tmux, pane: dict, profile: dict, kind: str) -> str | None:
    """The selected item of the dialog, None when this dialog is not on the screen."""
    shot = server.captures([pane["pane_id"]]).get(pane["pane_id"])
    found = screen.read(shot["text"], profile["screen"], shot["cursor_y"]) if shot else {"dialog": None}
    return found["selected"] if found["dialog"] == kind else None


def compose(
    config: Config,
    db: Store,
    project: dict,
    role: str,
    kind: str,
    state: str | None = None,
    forgotten: list[str] | None = None,
) -> str:
    """The text of a role's briefing."""
    whole, part, source = config.briefing(kind, role)
    waiting = db.messages(("queued", "held", "accepted"), project["id"], role)
    facts = {"commits": git.log(project["project_path"] or "/", 5), "open": len(waiting), "state": state,
             "forgotten": forgotten or [], "now": now()}  # fmt: skip
    values = briefing.values(project, role, facts)
    return briefing.fill(whole, {**values, "role_text": briefing.fill(part, values, f"{kind}/{role}.md")}, source).strip()
