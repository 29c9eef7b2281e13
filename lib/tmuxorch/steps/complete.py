"""Finish projects: the verdict, the verify command, and what follows from it. Only tmo-complete moves these."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator

from .. import completion, shell
from .. import project as projects
from ..agents import traces
from ..config import Config
from ..errors import Error, Later
from ..store import Store, now
from ..waiting import locked, until
from .judging import MARKED, Judge, markers
from .send import commit_own

ACTOR = "tmo-complete"
SAME = ("status", "status_at", "run")  # what a verdict rests on: whatever moved the project since makes it an old one
CANNOT = 126  # a shell's status for what it cannot run
SCARCE = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}  # nobody's work is to blame
LOCK_S = 0.2
TRY_S = 0.02
TURN_S = 20.0  # so long a verify command waits for others to end; then the next run tries it again
POLL_S = 0.2


class Completer:
    """`elsewhere`: has a process of its own finish the project of this number, so that a verify command holds up none that
    has none. None: they are run here."""

    def __init__(self, config: Config, db: Store, dry: bool, elsewhere: Callable[[int], None] | None = None) -> None:
        self.config, self.db, self.dry, self.elsewhere = config, db, dry, elsewhere
        self.judge = Judge(config, db, now())
        self.verdicts: dict[int, dict] = {}

    def add(self, row: dict) -> dict:
        """A row with its project's `completion`, which was carried out unless this is a dry run."""
        project, error = self.judge.project(row)
        if not project:
            return {**row, "completion": None, **({"error": error} if error else {})}
        try:
            if project["id"] not in self.verdicts:
                self.verdicts[project["id"]] = self.complete(project)
        except Later:
            raise
        except Error as one:  # the other projects are seen to
            return {**row, "completion": None, "error": str(one)}
        return {**row, "completion": self.verdicts[project["id"]]}

    def complete(self, project: dict) -> dict:
        acts = not self.dry and projects.in_rollout(project["id"], self.config)
        if acts and project["status"] == "processing":
            self.take_marker(project)
        verdict, evidence = self.judge.completion(project)
        if not acts:
            return verdict
        if project["status"] == "processing":
            why = "; ".join(verdict["reasons"])
            if verdict["verdict"] == "completing":
                if not self.db.move(project["id"], "work_complete", ACTOR, why, evidence, where=same(project)):
                    return verdict
                project = self.db.project(project["id"]) or project
            elif verdict["verdict"] == "failed":
                if not self.db.move(project["id"], "error", ACTOR, why, evidence, where=same(project)):
                    return moved_away(verdict)
            elif evidence["done"] and self.tell(project, verdict["reasons"][1:]):
                return verdict  # it may answer
            elif call := completion.call(project, verdict, evidence, self.config) or self.blind(project, evidence):
                self.db.call_person_to(project, ACTOR, *call)
        return self.finish(project, verdict) if project["status"] == "completing" else verdict

    def blind(self, project: dict, evidence: dict) -> tuple[str, str] | None:
        """What for and why a person is called to a project whose tmux server has not answered for `active_s`. The first
        look that found it so is an event: what nobody looked at for other reasons is none of it."""
        last = self.judge.last_look(project)
        if evidence["held"] or last is None or self.judge.look.server != "silent":
            return None
        events = [one["at"] for one in self.db.events(project["id"], last, kind="health") if one["name"] == "silent"]
        if not events:
            self.db.event("health", "silent", ACTOR, project_id=project["id"], why="tmux does not answer")
        elif (since := now() - min(events)) >= self.config["active_s"]:
            return "silent", f"tmux has not answered for {since:.0f} s"
        return None

    def take_marker(self, project: dict) -> None:
        """Write down what a marker says: a word like any other then, that counts once."""
        path, taken = markers(project)
        self.write_down(project, taken)  # what a kill left there
        with contextlib.suppress(OSError):  # none is there, or it has to stay: it is read where it is
            os.rename(path, taken)
            self.write_down(project, taken)

    def write_down(self, project: dict, taken: str) -> None:
        mark = {"marked_at": traces.changed(taken)}  # so that one is known that a kill left half written down
        for role, run in self.judge.marked(taken, project).items():
            said = self.db.done(project["id"], role)
            if not said or json.loads(said["evidence"] or "null") != mark:
                about = {"project_id": project["id"], "role": role, "run": run, "why": MARKED}
                self.db.event("done", "done", f"{project['id']}/{role}", mark, **about)
        with contextlib.suppress(OSError):
            os.unlink(taken)

    def tell(self, project: dict, objections: list[str]) -> bool:
        """Once a run: tell the lead what speaks against completion, if it can do something about it; whether it was told
        by this."""
        if not completion.for_the_agent(objections):
            return False
        text = (
            f"You said that project {project['id']} is done, but {'; '.join(objections)}. Commit or remove what is "
            "left, end or await what still runs (or leave it if it has to stay), and run tmo-done again."
        )
        return self.send(project, self.judge.tidy_key(project), text)

    def send(self, project: dict, key: str, text: str) -> bool:
        role = projects.lead(project) or project["roles"].split(",")[0]
        return commit_own(self.config, self.db, project, role, key, text, ACTOR)

    def finish(self, project: dict, verdict: dict) -> dict:
        """Move a project in `completing` on: at once, or by its verify command, unless another process runs it."""
        if not project["verify_command"]:
            if not self.db.move(project["id"], "finalize", ACTOR, "; ".join(verdict["reasons"]), where=same(project)):
                return moved_away(verdict)
            return {**verdict, "verdict": "completed", "verified": None}
        with contextlib.ExitStack() as stack:
            path = self.config.lock(f"verify-{project['id']}")
            try:
                stack.enter_context(locked(path, LOCK_S, "its verify command is running"))
                if not self.elsewhere:
                    stack.enter_context(self.turn())
            except Later as error:
                return with_reason(verdict, str(error))
            if not self.wanted(project):
                return moved_away(verdict)
            if not self.elsewhere:
                return self.verify(project, verdict)
        try:
            self.elsewhere(project["id"])  # it takes the lock itself
        except OSError as error:
            return with_reason(verdict, f"its verify command could not be started: {error.strerror}")
        return with_reason(verdict, "its verify command was started")

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One of the `max_verifying` places for verify commands; Later while others have them all."""
        with contextlib.ExitStack() as stack:

            def taken(number: int) -> bool:
                with contextlib.suppress(Later):
                    stack.enter_context(locked(self.config.lock(f"verifying-{number}"), TRY_S, "taken"))
                    return True
                return False

            if not until(lambda: any(map(taken, range(max(1, self.config["max_verifying"])))), TURN_S, POLL_S):
                raise Later("other verify commands are running")
            yield

    def wanted(self, project: dict) -> bool:
        """Whether a project still is where it was, as far as can be told."""
        try:
            fresh = self.db.project(project["id"]) or {}
        except Later:
            return True
        return all(fresh.get(key) == project[key] for key in SAME)

    def verify(self, project: dict, verdict: dict) -> dict:
        """Run the verify command, and move the project by its status."""
        command, limit = project["verify_command"], self.config["verify_timeout_s"]
        try:
            status, output = shell.run(command, project["project_path"], limit, wanted=lambda: self.wanted(project))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) in SCARCE:
                return with_reason(verdict, f"its verify command could not be started: {why}")
            status, output = CANNOT, f"it could not be run: {why}"  # its directory is gone, say
        event, why = completion.after_verify(project, status, self.config["max_rework"])
        evidence = {"command": command, "status": status, "output": output}
        text = f"The check of project {project['id']} did not pass: {why}. The command: {command}\n\n{output}"
        if event == "finalize" and (busy := completion.taken_up(*Judge(self.config, self.db, now()).since_done(project))):
            event, why = "rework", f"{why}, but {busy}"  # no round that counts; the word has to be said again
            text = f"The check of project {project['id']} passed, but {busy}. When that is finished, run tmo-done again."
        more = {"rework_count": project["rework_count"] + 1} if event == "rework" and status != 0 else {}
        with self.db.transaction():
            moved = self.db.move(project["id"], event, ACTOR, why, evidence, where=same(project), **more)
            if moved and event == "rework":
                self.send(project, f"rework/{project['id']}/{project['run']}/{self.db.given(project['id'])['id']}", text)
        if not moved:
            return with_reason({**verdict, "verdict": "unknown"}, "the project was moved while its verify command ran")
        verdicts = {"finalize": "completed", "rework": "working", "error": "failed"}
        return {**with_reason(verdict, why), "verdict": verdicts[event], "verified": status == 0}


def moved_away(verdict: dict) -> dict:
    return with_reason({**verdict, "verdict": "unknown"}, "the project was moved meanwhile")


def same(project: dict) -> dict:
    return {key: project[key] for key in SAME}


def with_reason(verdict: dict, why: str) -> dict:
    return {**verdict, "reasons": [*verdict["reasons"], why]}
