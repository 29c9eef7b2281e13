"""Take over another system's database: its projects, those of its check-ins that make sense, and, when a person asks for
it, the sessions that its rows name.

Records are read one at a time and written in batches: what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator
from datetime import tzinfo

from .. import agents, delivery, importing, proc, tmux
from ..config import Config
from ..errors import Error
from ..store import Store, copies, host, imported, now
from .look import Look

ACTOR = "tmo-import"
BATCH = 500
KINDS = {"tasks": "task", "task_queue": "task", "message_queue": "message"}
BIGGEST = 8 << 20  # bytes of a registry file
DEEPEST = 4  # directories of a registry


class Taker:
    """db: None in a dry run before there is a database. progress: told how many records of how many are done."""

    def __init__(
        self, config: Config, db: Store | None, dry: bool, zone: tzinfo | None, progress: Callable[[int, int], None]
    ) -> None:
        self.config, self.db, self.dry, self.zone, self.progress = config, db, dry, zone, progress
        self.files: dict[str, dict] = {}
        self.look: Look | None = None
        self.complaints: list[str] = []
        self.taken = 0  # records in this run
        self.planned: list[dict] = []  # projects that a dry run would take, and whose session lives
        self.defaults = {"agent": config["agent"], "roles": ",".join(config["roles"])}
        self.look_again()

    def look_again(self) -> None:
        """The sessions that tmux has. Where it cannot be asked the records are taken over all the same."""
        try:
            self.look = Look(self.config, self.db, now())
        except Error as error:
            self.silence = error
        self.live = {pane["session_name"] for pane in self.look.panes} if self.look else set()

    def run(self, path: str, adopt: bool) -> Iterator[dict]:
        """A row for each record, and for each session that was to be adopted."""
        with copies.snapshot(path) as connection:
            old = copies.Old(connection, path)
            tables = old.tables()
            if "state_transition" in tables:
                raise Error(f"'{path}' is a database of tmuxorch itself")
            if "project_queue" not in tables:
                raise Error(f"'{path}' has no table project_queue")
            yield from self.projects(old)
            if adopt:
                yield from self.adopt()
            for table in tables:
                if table in KINDS:
                    yield from self.checkins(old, table)
                elif table != "project_queue" and (count := old.count(table)):
                    yield result("table", "left", "nothing of this table is needed here", table=table, records=count)
        if self.db and self.taken:
            self.db.event("import", "import", ACTOR, why=os.path.realpath(path), evidence={"records": self.taken})

    # -- projects

    def projects(self, old: copies.Old) -> Iterator[dict]:
        old.group(self.places(old))
        total, done = old.count("project_queue"), 0
        records = old.records("project_queue")
        while batch := list(itertools.islice(records, BATCH)):
            yield from self.batch(old, batch)
            done += len(batch)
            self.progress(done, total)

    def places(self, old: copies.Old) -> Iterator[tuple[int, str | None, str | None, int]]:
        for number, record in old.records("project_queue"):
            place = importing.place(record, self.live)
            spec, path = importing.text(record.get("spec_path")), importing.text(record.get("project_path"))
            same = place["open"] and not importing.placeholder(spec)
            yield number, place["session"], f"{real(spec)}\n{real(path)}" if same else None, place["rank"]

    def batch(self, old: copies.Old, batch: list[tuple[int, dict]]) -> Iterator[dict]:
        keys = {number: importing.key("project_queue", record, number) for number, record in batch}
        before = imported.taken(self.db, keys.values()) if self.db else {}
        chosen = [self.project(old, number, record, keys[number]) for number, record in batch if keys[number] not in before]
        numbers = imported.take_projects(self.db, chosen) if self.db and not self.dry else [None] * len(chosen)
        self.planned += [{**one["values"], "id": None, "run": None, "raw": one["record"]["raw"]} for one in chosen
                         if self.dry and one["values"]["session_name"] in self.live]  # fmt: skip
        self.taken += sum(number is not None for number in numbers)
        rows = dict(zip([one["record"]["old_id"] for one in chosen], zip(chosen, numbers, strict=True), strict=True))
        for number, record in batch:
            if number in rows:
                yield self.project_row(record, *rows[number])
            else:
                yield self.known_row(record, number, before[keys[number]])

    def project(self, old: copies.Old, number: int, record: dict, key: str) -> dict:
        """A record as `Store.take_projects` takes it."""
        files: dict = next((self.files[name] for name in importing.sessions(record) if name in self.files), {})
        of, by = old.first_of(number)
        spec = importing.text(record.get("spec_path"))
        unfinished = importing.place(record, self.live)["open"] and not importing.placeholder(spec)
        context = {
            "zone": self.zone, "live": self.live, "of": of, "shared": by == "session", "files": files,
            "spec": read(spec) if unfinished else None,
        }  # fmt: skip
        found = importing.project(record, context, self.defaults, now())
        values = found["values"]
        for column in ("spec_path", "project_path"):
            values[column] = real(values[column]) if (values[column] or "").startswith("/") else values[column]
        values |= {"actor": ACTOR, "why": "; ".join(found["notes"]) or None}
        return {
            **found, "values": values, "wanted": number if 0 < number < importing.HIGHEST else None,
            "record": {"key": key, "kind": "project", "old_id": number, "source": old.path, "imported_at": now(),
                       "raw": importing.kept(record),
                       "evidence": json.dumps(found["marks"]) if found["marks"] else None},
        }  # fmt: skip

    def project_row(self, record: dict, one: dict, number: int | None) -> dict:
        old_id, values, notes = one["record"]["old_id"], one["values"], list(one["notes"])
        if number is None and not self.dry:
            return result("project", "left", "another process took it over", old_id=old_id, project_id=None)
        if number is not None and number != old_id:
            notes.append(f"its number here is {number}")
        return result(
            "project", "changed" if notes else "taken", "; ".join(notes) or None, old_id=old_id, project_id=number,
            **{"from": importing.text(record.get("status")), "to": values["status"]}, name=values["name"],
            session_name=values["session_name"], failure=one["failure"], marks=one["marks"],
        )  # fmt: skip

    def known_row(self, record: dict, number: int, taken: dict) -> dict:
        since = "" if taken["raw"] == importing.kept(record) else "; it changed there since"
        why = f"it was taken over before, as project {taken['project_id']}{since}"
        status = importing.text(record.get("status"))
        return result("project", "left", why, old_id=number, project_id=taken["project_id"], **{"from": status, "to": None})

    # -- its files

    def read_registry(self, folder: str) -> None:
        if not os.path.isdir(folder):
            raise Error(f"cannot find directory '{folder}'")
        found = []
        for at, folders, names in os.walk(folder):
            if os.path.relpath(at, folder).count(os.sep) >= DEEPEST:
                folders.clear()
            folders.sort()
            for name in sorted(set(names) & importing.FILES.keys()):
                try:
                    with open(os.path.join(at, name), encoding="utf-8") as file:
                        found.append((at, name, json.loads(file.read(BIGGEST))))
                except (OSError, ValueError, RecursionError) as error:
                    self.complaints.append(f"cannot read '{os.path.join(at, name)}': {error}")
        self.files = importing.registry(found, self.zone)

    # -- sessions

    def adopt(self) -> Iterator[dict]:
        """Tag the sessions that projects name exactly and that nobody has tagged."""
        if not self.look:
            raise self.silence
        self.look.need_server()
        for project in [*(imported.named(self.db, self.live) if self.db else []), *self.planned]:
            name = project["session_name"]
            panes = [pane for pane in self.look.panes if pane["session_name"] == name]
            yield self.adopt_session(self.look, project, name, panes)
        if not self.dry:
            self.look_again()

    def adopt_session(self, look: Look, project: dict, name: str, panes: list[dict]) -> dict:
        told = {"session_name": name, "project_id": project["id"]}
        living = [other for other in importing.sessions(json.loads(project["raw"])) if other in self.live]
        tagged = {pane["@tmo_project"] for pane in panes} - {""}
        ours = all(pane["@tmo_start"] == project["run"] for pane in panes)
        if tagged:
            whose = "it is ours already" if ours else "it carries the tag of another project"
            return result("session", "left", whose, **told)
        if project["status"] not in ("processing", "failed"):
            return result("session", "left", f"its project is {project['status']}", **told)
        if len(living) > 1:
            return result("session", "left", f"its record names several that live: {', '.join(living)}", **told)
        roles, rest = importing.roles_of(windows(look, panes))
        if not roles:
            return result("session", "left", "none of its windows is named after a role", **told)
        why = f"windows of no role: {', '.join(rest)}" if rest else None
        if not self.dry:
            self.tag(look, project, name, roles)
        return result("session", "changed" if rest else "taken", why, **told, roles=list(roles))

    def tag(self, look: Look, project: dict, name: str, roles: dict[str, dict]) -> None:
        """Write down whose agents these are, then say so in tmux: what was interrupted in between is said the next time."""
        assert self.db
        number, run = project["id"], project["run"] or agents.new_id()
        kinds = [window["agent"] for window in roles.values() if window["agent"]]
        agent = kinds[0] if kinds else project["agent"]
        first = next(iter(roles.values()))["pane"]
        values = {
            "run": run, "roles": ",".join(roles), "agent": agent, "host": host(), "boot_id": proc.boot_id(),
            "server": first["server"], "project_path": project["project_path"] or first["pane_current_path"],
        }  # fmt: skip
        if not self.db.update("project_queue", {"id": number, "status": project["status"], "run": project["run"]}, values):
            return
        commands = [["set-option", "-t", f"={name}:", f"@tmo_{key}", value] for key, value in
                    (("project", str(number)), ("start", run))]  # fmt: skip
        for role, window in roles.items():
            pane, known = window["pane"], self.db.agent(number, role)
            launch = {"role": role, "agent": window["agent"] or agent, "run": known["run"] if known else agents.new_id()}
            self.db.save_agent(number, role, {
                "agent": launch["agent"], "run": launch["run"], "pane_id": pane["pane_id"],
                "window_index": pane["window_index"],
                "agent_home": agents.home(agents.profile(self.config, launch["agent"]), self.config.environ),
            })  # fmt: skip
            commands += tmux.tags(pane["pane_id"], launch)
        look.tmux.change(*commands)
        self.db.event("import", "adopt", ACTOR, project_id=number, why=name, evidence={"roles": list(roles)})

    # -- check-ins

    def checkins(self, old: copies.Old, table: str) -> Iterator[dict]:
        """Of each role's check-ins the newest that makes sense; of the messages all that do."""
        newest: dict[tuple, int] = {}
        for number, record in old.records(table) if KINDS[table] == "task" else ():
            found = importing.checkin(table, record, self.zone, now())
            if not self.senseless(found):
                newest[self.addressee(found)] = number
        for number, record in old.records(table):
            found = importing.checkin(table, record, self.zone, now())
            yield self.checkin(old, table, number, record, found, newest.get(self.addressee(found), number))

    def checkin(self, old: copies.Old, table: str, number: int, record: dict, found: dict, newest: int) -> dict:
        kind, key = KINDS[table], importing.key(table, record, number)
        told = {"old_id": number, "table": table, "session_name": found["session"]}
        if self.db and (taken := imported.taken(self.db, [key]).get(key)):
            return result(kind, "left", "it was taken over before", **told, project_id=taken["project_id"])
        if senseless := self.senseless(found):
            return result(kind, "left", senseless, **told, project_id=None)
        project, role = self.addressee(found)
        if newest != number:
            return result(kind, "left", f"{newest} is a newer one for the same role", **told, project_id=project)
        at = now()
        message = {
            "key": f"import/{key}", "project_id": project, "role": role, "target": f"{project}/{role}",
            "text": found["text"], "actor": ACTOR, "created_at": at, "due_at": found["due_at"],
            "next_attempt_at": found["due_at"], "expires_at": found["due_at"] + self.config["message_max_age_s"],
        }  # fmt: skip
        entry = {"key": key, "kind": kind, "old_id": number, "project_id": project, "source": old.path, "imported_at": at,
                 "raw": importing.kept(record)}  # fmt: skip
        if self.db and not self.dry and not imported.take_message(self.db, message, entry):
            return result(kind, "left", "it was taken over before", **told, project_id=project)
        self.taken += not self.dry
        notes = ["once: what repeats is a line of cron"] if found["repeats"] else []
        notes += [f"cut after {importing.LONGEST} characters"] if found["cut"] else []
        return result(kind, "changed" if notes else "taken", "; ".join(notes) or None, **told, project_id=project, role=role)

    def senseless(self, found: dict) -> str | None:
        """Why a check-in is not taken over, None when it is."""
        if found["left"]:
            return found["left"]
        if found["session"] not in self.live:
            return "its session does not exist"
        project, role = self.addressee(found)
        if project is None:
            return "its session is not ours (see --adopt)"
        row = self.db.project(project) if self.db else None
        if row is None or row["status"] != "processing":
            return f"its project is {row['status'] if row else 'gone'}"
        if role is None:
            return "no role of its session is meant"
        return delivery.refusal(found["text"], agents.profile(self.config, row["agent"]))

    def addressee(self, found: dict) -> tuple[int | None, str | None]:
        """(project, role) that a check-in is for: by its role, else by its window."""
        rows = self.look.rows if self.look else []
        ours = [row for row in rows if row["session_name"] == found["session"] and row["project_id"] and row["role"]]
        if not ours:
            return None, None
        for row in ours:
            if row["role"] == found["role"]:
                return row["project_id"], row["role"]
        return ours[0]["project_id"], next((row["role"] for row in ours if row["window_index"] == found["window"]), None)


def windows(look: Look, panes: list[dict]) -> list[dict]:
    """A session's windows, each with its pane: the one in which an agent runs, else the first."""
    found: dict[int, dict] = {}
    for pane in panes:
        agent = look.recognise(look.tree(pane["pane_pid"]))
        known = found.get(pane["window_index"])
        if known is None or (agent and not known["agent"]):
            found[pane["window_index"]] = {"name": pane["window_name"], "pane": pane, "agent": agent}
    return [found[index] for index in sorted(found)]


def result(kind: str, what: str, why: str | None, **more: object) -> dict:
    """A record as it is printed: `result` is taken, changed or left."""
    return {"kind": kind, "result": what, **more, "why": why}


@functools.lru_cache(maxsize=1024)
def real(path: str | None) -> str | None:
    return os.path.realpath(path) if path else None


def read(spec: str | None) -> str | None:
    try:
        with open(spec or "", encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except (OSError, ValueError):
        return None
