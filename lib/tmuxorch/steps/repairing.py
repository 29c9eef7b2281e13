"""Compare the database with tmux and git, and repair what contradicts them.

Facts are asked for once for the plan, and once more for each project right before it is changed; the change itself is a
compare-and-set on what the verdict rests on.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import git, importing, repair
from .. import project as projects
from ..config import Config
from ..errors import Error, Refused
from ..store import Store, host, now, read, repairs
from .judging import BUSY, Judge
from .look import Look
from .panes import roles

FRESH_S = 1.0  # an older look at tmux is taken anew before something is changed by it
TENDED_S = 900.0  # cron's watch ran so lately: it brings back what can be brought back
PASSES = 5  # what was repaired may show what stood behind it


class Repairer:
    def __init__(self, config: Config, db: Store) -> None:
        self.config, self.db = config, db
        self.look_again()

    def look_again(self) -> None:
        """One look at the world. Raises Later when tmux does not answer."""
        self.look = Look(self.config, self.db, now())
        self.look.need_server()
        self.judge = Judge(self.config, self.db, now())
        self.judge.look = self.look
        self.untagged = {pane["session_name"] for pane in self.look.panes if not pane["@tmo_project"]}
        self.owned: dict[int, list[dict]] = {}
        for pane in self.look.panes:
            if owner := self.look.owner(pane):
                self.owned.setdefault(owner["id"], []).append(pane)

    # -- the plan

    def plan(self) -> list[dict]:
        """Everything that contradicts, each row once."""
        names = {pane["session_name"] for pane in self.look.panes}
        rows = repairs.suspects(self.db, names, self.owned)
        found: list[dict | None] = [*self.twins(rows["twins"])]
        twins = {one["project_id"] for one in found if one}
        found += [self.of_project(row) for row in (*rows["failed"], *rows["running"]) if row["id"] not in twins]
        found += [repair.stale_session(row) for row in rows["queued"] if row["id"] not in twins]
        found += [repair.end(row) for row in rows["ends"]]
        found += [repair.agent(row, self.there(row)) for row in rows["agents"]]
        found += [repair.message(row, self.bound(row), now()) for row in rows["messages"]]
        found += [repair.hold(row) for row in rows["holds"]]
        return [one for one in found if one]

    def twins(self, rows: list[dict]) -> Iterator[dict]:
        groups: dict[str, list[dict]] = {}
        for row in rows:
            groups.setdefault(row["session_name"], []).append(row)
        for name, group in groups.items():
            owners = [number for number, panes in self.owned.items() if any(p["session_name"] == name for p in panes)]
            yield from repair.twins(group, owners[0] if owners else None)

    def of_project(self, project: dict) -> dict | None:
        if project["status"] == "failed":
            return repair.failed(project, self.failed_facts(project))
        return repair.running(project, self.running_facts(project))

    def there(self, agent: dict) -> bool:
        """Whether an agent's pane is there, still of that launch; yes where this look does not reach."""
        pane = self.look.by_id.get(agent["pane_id"])
        return bool(pane and pane["@tmo_run"] == agent["run"]) or self.look.elsewhere(agent["project_id"])

    def bound(self, message: dict) -> bool:
        """Whether the very pane that a message is bound to is there, as far as this look can tell."""
        pane = self.look.by_id.get(message["pane_id"])
        if pane:
            return (pane["server"], pane["pane_pid"]) == (message["server"], message["pane_pid"])
        number = (message["server"] or "").partition("@")[0]
        same = message["server"] in {pane["server"] for pane in self.look.panes}
        return not same and number.isdigit() and self.look.lives(int(number))

    # -- the facts of one project

    def presence(self, project: dict) -> dict:
        """Its session, and the states of its agents."""
        panes = self.owned.get(project["id"], [])
        self.look.project(project["id"])
        if panes:
            session = "ours"
        elif project["host"] not in (None, host()) or self.look.elsewhere(project["id"]):
            session = "unknown"
        else:
            session = "foreign" if project["session_name"] in self.untagged else "none"
        rows = [row for role in roles(project) if (row := self.look.by_role.get((project["id"], role)))]
        healths = dict(zip([row["role"] for row in rows], self.look.judge(rows) if rows else [], strict=True))
        return {
            "session": session,
            "names": sorted({pane["session_name"] for pane in panes}),
            "states": {role: health["state"] for role, health in healths.items()},
            "moved": [
                role for role, health in healths.items()
                if health["state"] == "working" and (health["last_activity_at"] or 0) > (project["completed_at"] or 0)
            ],
        }  # fmt: skip

    def failed_facts(self, project: dict) -> dict:
        facts, number, directory = self.presence(project), project["id"], project["project_path"] or "/"
        failure, neighbour = repairs.failure(self.db, number), repairs.neighbour(self.db, number)
        # What was said before it was queued anew is not of this run.
        done, marks = self.judge.done(project) if project["started_at"] else {}, repairs.marks(self.db, number)
        return {
            **facts,
            "failure": repair.failure_of(failure),
            "why": project["error_message"],
            "worth": importing.worth(project["error_message"]),
            "done": done,
            "marks": marks,
            "commits": self.commits(project, directory) if done or marks else None,
            "dirty": git.dirty(directory) if done else None,
            "told": self.judge.told(project),
            "open": 0,  # messages to a failed project go nowhere,
            "running": {},  # and what its agents left running is no work any more
            "busy": [role for role, state in facts["states"].items() if state in BUSY],
            "asking": [role for role, state in facts["states"].items() if state == "dialog"],
            "neighbour": neighbour["id"] if neighbour else None,
        }

    def commits(self, project: dict, directory: str) -> int | None:
        if project["base_commit"] or project["started_at"] is None:
            return git.commits(directory, project["base_commit"])
        return git.commits_since(directory, project["started_at"])

    def running_facts(self, project: dict) -> dict:
        over, _ = self.judge.grace({"project_id": project["id"]})
        return {
            **self.presence(project),
            "grace": over,
            "survivors": any(self.look.survivors(project["id"], role) for role in roles(project)),
            "kept": self.kept(project),
        }

    def kept(self, project: dict) -> str | None:
        """Why a project without a session is not given up: what is held waits for a person, else recovery brings it back
        as long as it runs and has not given up on all of its agents."""
        if hold := projects.held(project, self.db.holds(now())):
            return f"it is held ({hold['name']})"
        tended = now() - self.db.last_beat("watch") < TENDED_S
        awaited = any(not agent["needs_human"] for agent in self.db.agents([project["id"]]))
        return "tmo-recover starts its agents anew" if tended and awaited else None

    # -- repairing

    def apply(self) -> Iterator[dict]:
        """Every finding, with `applied`, and `backup` where something was changed: the copy made before the first one."""
        backup, told = "", set()
        for _ in range(PASSES):
            applied = False
            for one in self.plan():
                if not one["change"]:
                    if (one["kind"], one["project_id"]) not in told:
                        told.add((one["kind"], one["project_id"]))
                        yield row(one, applied=False)
                    continue
                backup = backup or repairs.backup(self.db)
                done = self.carry_out(one, backup)
                applied = applied or done
                yield row(one, applied=done, backup=backup)
            if not applied:
                return
            self.look_again()

    def carry_out(self, one: dict, backup: str) -> bool:
        """Make a change, if a look right now comes to the same verdict."""
        if one["kind"] in repair.BY_LOOK:
            if abs(now() - self.look.now) > FRESH_S:
                self.look_again()
            project = self.db.project(one["project_id"])
            again = self.of_project(project) if project and project["status"] == one["from"] else None
            if not again or not again["change"] or (again["kind"], again["to"]) != (one["kind"], one["to"]):
                return False
            one.update(again)
        try:
            done = repairs.carry_out(self.db, one["change"], one["reason"], one["evidence"], backup)
        except Refused as error:
            one["reason"] += f"; refused: {error}"
            return False
        if done and one["to"] == "processing":
            self.tag(one["project_id"])
        return done

    def tag(self, number: int) -> None:
        """Complete the tags of a session of ours that says whose it is, but not of which start."""
        project = self.db.project(number)
        sessions = {pane["session_name"] for pane in self.owned.get(number, []) if not pane["@tmo_start"]}
        for name in sessions if project and project["run"] else ():
            if project and projects.number(self.owned[number][0]["@tmo_project"]) == number:
                self.look.tmux.change(["set-option", "-t", f"={name}:", "@tmo_start", project["run"]])


def undo(db: Store, path: str) -> Iterator[dict]:
    """Take back, the last one first, what was repaired after the backup at this path was made."""
    old = read(path, older=True)
    if old is None:
        raise Error(f"cannot find backup '{path}'")
    transitions = db.transitions()
    for event in repairs.made_after(db, path):
        told = event["evidence"]
        dest, source = told["columns"].get("status", (None, None))
        way = repair.way(transitions, source, dest) if source else []
        why_not = undo_one(db, event, old.row(told["table"], told["id"]), way)
        reason = why_not or f"the repair in event {event['id']}: {event['why']}"
        one = repair.finding("undo", {"id": None, "project_id": event["project_id"]}, source, dest, reason,
                             {key: told[key] for key in ("table", "id", "columns")})  # fmt: skip
        yield row(one, applied=not why_not)


def undo_one(db: Store, event: dict, before: dict | None, way: list[str] | None) -> str:
    """Why one repair is not undone, "" when it is: what stands in the way of one row keeps no other from going back."""
    try:
        done = before is not None and way is not None and repairs.undo(db, event, before, way)
    except Refused as error:
        return repair.in_the_way(str(error))
    return "" if done else "it changed since"


def row(one: dict, **more: object) -> dict:
    """A finding as it is printed."""
    return {key: value for key, value in one.items() if key != "change"} | more
