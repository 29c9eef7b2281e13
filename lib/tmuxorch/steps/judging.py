"""The facts behind a project's grace and completion, each project judged once.

A step, shared by tmo-grace, tmo-complete and tmo-recover.
"""

from __future__ import annotations

import functools
import os

from .. import completion, delivery, git, grace
from .. import project as projects
from ..agents import traces
from ..config import Config
from ..health import ALIVE, fresh
from ..proc import began_at
from ..store import OPEN_MESSAGE, Store
from .look import Look
from .panes import roles

BUSY = ("working", "starting", "unknown")
MARKED = "by its marker"


class Judge:
    """Judges projects at one moment. Every answer is (object, error): what cannot be judged is None with its reason."""

    def __init__(self, config: Config, db: Store | None, now: float) -> None:
        self.config, self.db, self.now = config, db, now
        self.graces: dict[int, dict] = {}

    def project(self, row: dict) -> tuple[dict | None, str | None]:
        """The project of a row; (None, None) for a row about none."""
        number = row.get("project_id")
        if number is None:
            return None, None
        found = self.db.project(number) if self.db and type(number) is int else None
        return found, None if found else f"cannot find project '{number}'"

    def holds(self, project: dict) -> list[dict]:
        """The holds that concern a project and were in force in this run, ended ones too."""
        assert self.db
        since = project["started_at"] or 0
        return [
            hold for hold in self.db.all_holds()
            if projects.held(project, [hold]) and (hold["released_at"] is None or hold["released_at"] >= since)
        ]  # fmt: skip

    def grace(self, row: dict) -> tuple[dict | None, str | None]:
        project, error = self.project(row)
        if not project or not self.db:
            return None, error
        if project["id"] not in self.graces:
            agents = self.db.agents([project["id"]])
            activity = max((agent["last_activity_at"] or 0 for agent in agents), default=0) or None
            events = self.db.events(project["id"], project["started_at"] or 0, kind="health")
            pauses = [*self.holds(project), *self.unseen(agents)]
            self.graces[project["id"]] = grace.judge(project, events, pauses, activity, self.config, self.now)
        return self.graces[project["id"]], None

    def unseen(self, agents: list[dict]) -> list[dict]:
        """The time since the last look, as a hold: too long a one is a pause that no look has written down yet (the machine
        woke up a moment ago)."""
        looks = [agent["last_health_check_at"] for agent in agents if agent["last_health_check_at"]]
        if not looks or self.now - max(looks) <= self.config["look_max_age_s"]:
            return []
        return [{"since_at": max(looks), "released_at": None, "until_at": None, "cause": None}]

    def evidence(self, project: dict) -> dict:
        """What speaks for and against a project's completion (`completion.judge`)."""
        assert self.db
        number, directory = project["id"], project["project_path"] or "/"
        agents = {agent["role"]: agent for agent in self.db.agents([number])}
        over, _ = self.grace({"project_id": number})
        done = self.done(project)
        evidence: dict = {
            "done": done,
            "held": bool(projects.held(project, self.db.holds(self.now))),
            "expired": bool(over and over["expired"]),
            "unclear": {
                role: agent["detail"] for role, agent in agents.items()
                if fresh(agent, self.config, self.now) and self.unclear(agent)
            },
        }  # fmt: skip
        if completion.plain(project, evidence):
            return evidence
        states = self.states(project)
        pending = [role for role in states if role in agents and role not in done]
        return {
            **evidence,
            "commits": git.commits(directory, project["base_commit"]),
            "dirty": git.dirty(directory),
            "told": self.told(project),
            "open": self.open(number),
            "running": {role: names for role in states if (names := self.sub_tasks(number, role))},
            "busy": [role for role, health in states.items() if health["state"] in BUSY],
            "unclear": {role: health["detail"] for role, health in states.items() if self.unclear(health)},
            "asking": [role for role, health in states.items() if health["state"] == "dialog"],
            "moving": [role for role, health in states.items() if self.moves(health)],
            "exhausted": bool(pending) and all(agents[role]["needs_human"] for role in pending),
            "nursed": self.db.count_recoveries(number, over["deadline_at"]) if over and over["expired"] else 0,
        }

    def states(self, project: dict) -> dict[str, dict]:
        """{role: health} of a project's agents."""
        rows = [self.look.of({"project_id": project["id"], "role": role}) or {} for role in roles(project)]
        return dict(zip(roles(project), self.look.judge(rows), strict=True))

    def open(self, number: int) -> int:
        """How many messages are still on their way to a project's agents. One for later is not, until then: it would keep a
        project open for as long."""
        assert self.db
        under_way = self.db.messages(OPEN_MESSAGE, number)
        return sum(1 for one in under_way if one["state"] in ("typing", "accepted") or delivery.due(one, self.now))

    def since_done(self, project: dict) -> tuple[int, dict[str, str]]:
        """What came up since a project was done (`completion.taken_up`)."""
        return self.open(project["id"]), {role: health["state"] for role, health in self.states(project).items()}

    def last_look(self, project: dict) -> float | None:
        """When anybody last saw a project's agents, if that is longer ago than it should be; else None."""
        assert self.db
        looks = [agent["last_health_check_at"] or self.now for agent in self.db.agents([project["id"]])]
        return max(looks) if looks and self.now - max(looks) > self.config["look_max_age_s"] else None

    @functools.cached_property
    def look(self) -> Look:
        """One look for all projects, when the first of them needs it."""
        return Look(self.config, self.db, self.now)

    def sub_tasks(self, number: int, role: str) -> list[str]:
        """The names of what an agent started and runs on beside it. What came up with the agent (MCP servers) is part of
        it."""
        facts = self.look.found[number, role]
        since = (facts["launched_at"] or 0) + self.config["starting_s"]
        below = self.look.tree(facts["agent"]["pid"])[1:] if facts["agent"] else []
        return sorted({one["name"] for one in below if one["state"] not in ("Z", "?") and began_at(one) > since})

    def unclear(self, health: dict) -> bool:
        return health["state"] == "unknown" and self.now - health["since_at"] >= self.config["active_s"]

    def moves(self, health: dict) -> bool:
        return health["state"] in ALIVE and self.now - (health["last_activity_at"] or 0) < self.config["active_s"]

    def done(self, project: dict) -> dict[str, str]:
        """{role: summary} of those that said that their work is done: by tmo-done, or by a marker."""
        assert self.db
        said = {role: MARKED for path in markers(project) for role in self.marked(path, project)}
        events = {role: self.db.done(project["id"], role) for role in roles(project)}
        return said | {role: event["why"] or "" for role, event in events.items() if event}

    def marked(self, path: str, project: dict) -> dict[str, str]:
        """{role: run} of the run ids that a marker holds, if it was written since work was last given; of earlier launches
        too: what an agent said before it was brought back it has said. A time ahead of the clock tells nothing."""
        assert self.db
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                marks = set(file.read(4096).split())
        except OSError:
            return {}
        if traces.changed(path) <= self.db.given(project["id"])["at"] <= self.now:
            return {}
        found = {role: marks & self.db.role_runs(project["id"], role) for role in roles(project)}
        return {role: min(runs) for role, runs in found.items() if runs}

    def told(self, project: dict) -> bool:
        """The agents were told what speaks against completion, and said again since that they are done."""
        assert self.db
        return self.db.answered(project["id"], self.tidy_key(project))

    def tidy_key(self, project: dict) -> str:
        """One message each time that it is given work tells what speaks against completion."""
        assert self.db
        return f"tidy/{project['id']}/{project['run']}/{self.db.given(project['id'])['id']}"

    def completion(self, project: dict) -> tuple[dict, dict]:
        """(the verdict before any verify command, its evidence)."""
        evidence = self.evidence(project) if project["status"] == "processing" else {}
        return completion.judge(project, evidence), evidence


def markers(project: dict) -> tuple[str, str]:
    """The marker by which an agent says that it is done when it does not reach the database; and where it is taken to."""
    path = os.path.join(project["project_path"] or "/", ".tmuxorch", "done")
    return path, path + ".taken"


def number(word: str) -> int | str:
    """A project's number on a command line; `-` stays."""
    return word if word == "-" else int(word)
