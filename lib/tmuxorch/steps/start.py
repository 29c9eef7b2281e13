"""Bring queued projects to `processing`: claim, check the login, trust, launch, brief.

Every status is written before its act, and a claim runs out: whatever a killed tmo-start left, the next one takes up.
"""

from __future__ import annotations

import os

from .. import git, grace
from .. import project as projects
from ..agents import new_id, profile
from ..config import Config
from ..errors import LATER, NO, OK, Error, Later, in_words
from ..project import CLAIM_S
from ..store import RUNNING, Store, host, now
from .launch import Launcher
from .logins import Logins

ACTOR = "tmo-start"
UNFINISHED = ("initializing", "authenticating", "setting_up")


class Starter:
    def __init__(self, config: Config, db: Store, limit: int, wanted: set[int] | None) -> None:
        self.config, self.db, self.limit, self.wanted = config, db, limit, wanted
        self.claimer = f"{host()}/{os.getpid()}"
        self.launcher = Launcher(config, db, ACTOR)
        self.logins = Logins(config, db)
        self.troubles: list[str] = []

    def run(self) -> tuple[list[dict], int]:
        """(the rows of the projects that were touched, the exit status)."""
        self.tell_stranded()
        stalled = self.stalled()
        ready = list(filter(self.prepared, stalled))  # what waited for its login takes a place before what is queued
        due = self.due({project["id"] for project in stalled})
        ready += filter(self.prepared, due)
        if not (taken := stalled + due):
            return self.planned(), self.nothing()
        if ready:
            self.set_up(ready)
        rows = [self.db.project(project["id"]) or project for project in taken]
        for row in rows:  # what is not up yet is free for the next run
            if row["status"] in UNFINISHED:
                self.db.update("project_queue", {"id": row["id"], "claimed_by": self.claimer}, {"claimed_until": now()})
        return rows + self.planned(), OK if any(row["status"] not in UNFINISHED for row in rows) else LATER

    def nothing(self) -> int:
        return LATER if self.db.projects(status=("queued", *UNFINISHED)) else NO

    def tell_stranded(self) -> None:
        """Tell once of each queued project that depends on what will not be completed by itself: only a person can help."""
        waiting = [project for project in self.db.projects(status=("queued",)) if project["depends_on"]]
        needed = {one for project in waiting for one in projects.ids(project["depends_on"]) if isinstance(one, int)}
        statuses = {row["id"]: row["status"] for row in (self.db.projects(needed) if needed else [])}
        for project in waiting:
            why = projects.stranded(project, statuses)
            if why == project["error_message"] or not projects.in_rollout(project["id"], self.config):
                continue
            same = {key: project[key] for key in ("id", "status", "error_message")}
            with self.db.transaction():
                if self.db.update("project_queue", same, {"error_message": why}) and why:
                    self.db.call_person_to(project, ACTOR, "stranded", why)
                    self.troubles.append(f"project {project['id']} waits: it {why}")

    # -- claiming

    def stalled(self) -> list[dict]:
        """Projects of this host that a start began and did not end, claimed by nobody any more."""
        taken = []
        for project in self.db.projects(status=UNFINISHED):
            at = now()
            free = not projects.claimed(project, at) and project["host"] in (None, host())
            wanted = self.wanted is None or project["id"] in self.wanted
            if (
                free
                and wanted
                and not projects.held(project, self.db.holds(at))
                and projects.in_rollout(project["id"], self.config)
            ):
                claim = {"claimed_by": self.claimer, "claimed_until": at + CLAIM_S}
                if self.db.update("project_queue", {k: project[k] for k in ("id", "status", "claimed_until")}, claim):
                    taken.append({**project, **claim})
        return taken

    def due(self, stalled: set[int]) -> list[dict]:
        """Claim what is due, up to the limit of running projects. What this run took up and queued again is for the next."""

        def choose(queued: list[dict], running: list[dict], holds: list[dict], completed: set[int]) -> dict | None:
            others = [row for row in queued if row["id"] not in stalled]
            return projects.next_due(others, running, holds, completed, self.limit, self.config, now(), self.wanted)

        taken = []
        while project := self.db.claim(choose, self.claimer, now() + CLAIM_S, host=host(), run=new_id(), rework_count=0):
            taken.append(project)
        return taken

    def planned(self) -> list[dict]:
        """What would start now as well, if `observe` or `enabled` did not leave it out: its rows with `start`."""
        queued = sorted(self.db.projects(status=("queued",)), key=lambda row: -row["priority"])
        running, holds = self.db.projects(status=RUNNING), self.db.holds(now())
        done, everything = {row["id"] for row in self.db.projects(status=("completed",))}, {"observe": False, "enabled": 100}
        found = []
        while project := projects.next_due(queued, running, holds, done, self.limit, everything, now(), self.wanted):
            queued.remove(project)
            running.append(project)
            if not projects.in_rollout(project["id"], self.config):
                found.append({**project, "start": "planned"})
        return found

    # -- one project, up to its session

    def prepared(self, project: dict) -> bool:
        """Bring a project to `setting_up`; False when it has to wait or has failed."""
        try:
            if project["status"] == "initializing":
                self.initialize(project)
            if project["status"] == "authenticating" and not self.authenticated(project):
                return False
            return project["status"] == "setting_up"
        except (Error, OSError) as error:
            self.trouble(project, error)
            return False

    def initialize(self, project: dict) -> None:
        directory = project["project_path"]
        if not directory or not os.path.isdir(directory):
            raise Error(f"cannot find directory '{directory}'")
        self.move(
            project, "auth_required", None, session_name=projects.session_name(project),
            base_commit=git.head(directory), base_dirty=git.dirty(directory),
        )  # fmt: skip

    def authenticated(self, project: dict) -> bool:
        """Check the login in the project's directory; where it is missing, a hold and a word on how to mend it."""
        auth = self.logins.check(project["agent"], project["project_path"])
        trust = profile(self.config, project["agent"])["login"]["trust"]["key"]
        blocking = [name for name in auth["missing"] if name != trust]
        if blocking:
            why = f"{project['agent']} lacks {', '.join(blocking)}: {auth['mend']}"
            login = {"login", "installed"} & set(blocking)  # what else a start needs is no trouble of agents that run
            new = (
                self.db.set_hold(f"agent/{project['agent']}", "login", ACTOR, why)
                if login
                else project["error_message"] != why
            )
            if new:
                self.troubles.append(f"project {project['id']} waits: {why}")
            return self.waits(project, why)
        if auth["trusted"] is False and self.config["trust"] == "required":
            return self.waits(project, f"{project['agent']} lacks {trust} in '{project['project_path']}': {auth['mend']}")
        if auth["logged_in"] is None:
            return self.waits(project, f"the login of {project['agent']} cannot be told: {auth['error']}")
        return self.placed(project, f"logged in by {auth['method']}")

    def placed(self, project: dict, why: str) -> bool:
        """Move a project whose login is there on to its session, if a place is free. Both in one transaction, as a claim is:
        no two starts together pass the limit."""
        with self.db.transaction():
            if not projects.full(self.db.projects(status=RUNNING), self.limit, now(), self.claimer):
                self.move(project, "auth_complete", why)
                return True
        self.leave(project, f"no free place: {self.limit} may run at once")  # one comes by itself: nobody is called
        return False

    def waits(self, project: dict, why: str) -> bool:
        self.leave(project, why)
        if project["error_message"] != why:
            self.db.event("auth", "waiting", ACTOR, project_id=project["id"], why=why)
        return False

    def leave(self, project: dict, why: str) -> None:
        """Leave a project to later runs: what only waits keeps no place from others."""
        mine = {"id": project["id"], "claimed_by": self.claimer}
        self.db.update("project_queue", mine, {"error_message": why, "claimed_until": now()})

    def move(self, project: dict, event: str, why: str | None, **columns: object) -> None:
        """Move a project that is still ours. Raises Later when it is not any more."""
        mine = {"claimed_by": self.claimer, "status": project["status"]}
        columns = {"claimed_until": now() + CLAIM_S, **columns}
        if not self.db.move(project["id"], event, ACTOR, why, where=mine, **columns):
            raise Later(f"project {project['id']} was taken over by another process")
        project.update(self.db.project(project["id"]) or {})

    # -- sessions

    def set_up(self, ready: list[dict]) -> None:
        """Launch all that is ready, wait for it together, and brief it."""
        launched = []
        for project in ready:
            try:
                if self.ours(project) and not projects.held(project, self.db.holds(now())):  # one set a moment ago
                    self.launcher.start(project)
                    launched.append(project)
            except Later:
                continue  # tmux does not answer: the next run goes on
            except (Error, OSError) as error:
                self.trouble(project, error)
        keys = [(project["id"], role) for project in launched for role in project["roles"].split(",")]
        if not keys:
            return
        healths = self.launcher.wait_ready(keys)
        for project in launched:
            try:
                if not self.ours(project):
                    continue
                self.finish(project, {role: healths[project["id"], role] for role in project["roles"].split(",")})
            except Later:
                continue
            except (Error, OSError) as error:
                self.trouble(project, error)

    def ours(self, project: dict) -> bool:
        """Renew the claim of a project that is being set up. One that a person moved meanwhile is left, its session
        ended."""
        mine = {"id": project["id"], "status": project["status"], "run": project["run"], "claimed_by": self.claimer}
        if self.db.update("project_queue", mine, {"claimed_until": now() + CLAIM_S}):
            return True
        if not self.launcher.still_runs(project):
            self.launcher.end(project, "the project was moved while it was started")
        return False

    def finish(self, project: dict, healths: dict[str, dict]) -> None:
        """Brief the agents that are up; `processing` once all were. One that ended after that had begun its work:
        tmo-recover brings it back with its conversation."""
        waiting = []
        for role, health in healths.items():
            message = self.launcher.brief(project, role)
            if message["state"] in ("expired", "refused"):
                raise Error(f"the {role}'s briefing was not delivered: {message['reason']}")
            if message["state"] not in ("queued", "held", "typing"):
                continue
            if health["state"] in ("shell", "dead", "missing") and message["state"] != "typing":
                raise Error(f"the {role}'s agent ended as it was started")
            why = health["dialog"] or health["detail"] or message["reason"] or ""
            waiting.append(f"the {role}'s agent is not ready: {health['state']} {why}".strip())
        if not waiting:
            self.move(project, "setup_complete", None)
        elif self.setting_up_s(project) > self.config["setup_timeout_s"]:
            raise Error(f"not set up within {self.config['setup_timeout_s']:.0f} s: {'; '.join(waiting)}")
        else:
            self.waits(project, "; ".join(waiting))

    def setting_up_s(self, project: dict) -> float:
        """How long a project is being set up, without the time in which it was held."""
        at = now()
        since = min(project["status_at"] or at, at)
        holds = [hold for hold in self.db.all_holds() if projects.held(project, [hold])]
        return at - since - grace.held_s(holds, since, at)

    def trouble(self, project: dict, error: Error | OSError) -> None:
        """A start that failed: its session is ended, and it is queued again while it has retries left."""
        fresh, why = self.db.project(project["id"]) or project, in_words(error)
        if isinstance(error, Later) or fresh["claimed_by"] != self.claimer:
            return
        try:
            self.launcher.end(fresh, why)
        except Later:
            return  # tmux does not answer: the next run tries it again
        self.troubles.append(f"project {project['id']}: {why}")
        with self.db.transaction():
            failed = self.db.move(project["id"], "error", ACTOR, why, where={"claimed_by": self.claimer})
            if failed and fresh["retry_count"] < fresh["max_retries"]:
                retries = fresh["retry_count"] + 1
                self.db.move(project["id"], "requeue", ACTOR, "it has retries left", retry_count=retries)
