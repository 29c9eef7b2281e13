"""Finish projects: the verdict, the verify command, and what follows from it. Only tmo-complete moves these."""

from __future__ import annotations

import os

from .. import completion, recovery, shell
from .. import project as projects
from ..config import Config
from ..store import Store, host, now
from .judging import Judge, tidy_key
from .send import commit_own

ACTOR = "tmo-complete"
CANNOT = 126  # a shell's status for what it cannot run


class Completer:
    def __init__(self, config: Config, db: Store, dry: bool) -> None:
        self.config, self.db, self.dry = config, db, dry
        self.judge = Judge(config, db, now())
        self.verdicts: dict[int, dict] = {}

    def add(self, row: dict) -> dict:
        """A row with its project's `completion`, which was carried out unless this is a dry run."""
        project, error = self.judge.project(row)
        if not project:
            return {**row, "completion": None, **({"error": error} if error else {})}
        if project["id"] not in self.verdicts:
            self.verdicts[project["id"]] = self.complete(project)
        return {**row, "completion": self.verdicts[project["id"]]}

    def complete(self, project: dict) -> dict:
        verdict, evidence = self.judge.completion(project)
        if self.dry or not projects.in_rollout(project["id"], self.config):
            return verdict
        if project["status"] == "processing":
            if verdict["verdict"] == "completing":
                if not self.db.move(project["id"], "work_complete", ACTOR, "; ".join(verdict["reasons"]), evidence):
                    return verdict
                project = self.db.project(project["id"]) or project
            elif verdict["verdict"] == "failed":
                self.db.move(project["id"], "error", ACTOR, "; ".join(verdict["reasons"]), evidence)
            elif evidence["done"] and len(verdict["reasons"]) > 1:
                self.tell(project, verdict["reasons"][1:])
        return self.finish(project, verdict) if project["status"] == "completing" else verdict

    def tell(self, project: dict, objections: list[str]) -> None:
        """Once a run: tell the lead what speaks against completion, if it can do something about it."""
        if completion.for_the_agent(objections):
            text = (
                f"You said that project {project['id']} is done, but {'; '.join(objections)}. Commit or remove what is "
                "left, end or await what still runs (or leave it if it has to stay), and run tmo-done again."
            )
            self.send(project, tidy_key(project), text)

    def send(self, project: dict, key: str, text: str) -> None:
        role = projects.lead(project) or project["roles"].split(",")[0]
        commit_own(self.config, self.db, project, role, key, text, ACTOR)

    def finish(self, project: dict, verdict: dict) -> dict:
        """Run the verify command of a project in `completing`, unless another process does, and move it on."""
        if not project["verify_command"]:
            self.db.move(project["id"], "finalize", ACTOR, "; ".join(verdict["reasons"]))
            return {**verdict, "verdict": "completed", "verified": None}
        at, longest = now(), self.config["verify_timeout_s"] + 60
        claim = {"claimed_by": f"{host()}/{os.getpid()}", "claimed_until": at + longest}
        if recovery.waits(project["claimed_until"], at, longest) or not self.db.update(
            "project_queue", {key: project[key] for key in ("id", "status", "claimed_until")}, claim
        ):
            return {**verdict, "reasons": [*verdict["reasons"], "its verify command is running"]}
        status: int | None
        try:
            status, output = shell.run(project["verify_command"], project["project_path"], self.config["verify_timeout_s"])
        except OSError as error:  # its directory is gone, the disk is full: the other projects are judged all the same
            status, output = CANNOT, f"it could not be run: {error.strerror}"
        event, why = completion.after_verify(project, status, self.config["max_rework"])
        more = {"rework_count": project["rework_count"] + 1} if event == "rework" else {}
        evidence = {"command": project["verify_command"], "status": status, "output": output}
        if not self.db.move(project["id"], event, ACTOR, why, evidence, where={"claimed_by": claim["claimed_by"]}, **more):
            return {**verdict, "verdict": "unknown", "reasons": ["the project was moved while its verify command ran"]}
        if event == "rework":
            command = project["verify_command"]
            text = f"The check of project {project['id']} did not pass: {why}. The command: {command}\n\n{output}"
            self.send(project, f"rework/{project['id']}/{project['run']}/{project['rework_count']}", text)
        verdicts = {"finalize": "completed", "rework": "working", "error": "failed"}
        return {"verdict": verdicts[event], "reasons": [*verdict["reasons"], why], "verified": status == 0}
