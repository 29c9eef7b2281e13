"""Where a row of the database contradicts the world, and the change that would repair it.

A finding: kind, project_id, from, to, reason, evidence, and `change` (what `Store.repair` carries out), None when it is
reported and left. A row that contradicts nothing has no finding (None).
"""

from __future__ import annotations

from . import completion
from .health import ALIVE

TERMINAL = ("completed", "failed", "cancelled")
GUESSES = ("sql", "tmo-import")  # whoever failed a row under these names had none of our evidence
BY_LOOK = ("failed_alive", "failed_done", "processing_gone", "recovering_left")  # they rest on a look at tmux and git
FRESH = {"needs_human": 0, "recovery_attempts": 0, "next_recovery_at": None}  # recovery looks after them again
REFUSALS = {
    "UNIQUE": "another row has its place by now",
    "FOREIGN KEY": "what it belongs to is not there any more",
}
SAME = ("status", "status_at", "session_name", "completed_at")  # what a verdict on a project rests on


def finding(
    kind: str, row: dict, source: str | None, dest: str | None, reason: str, evidence: dict, change: dict | None = None
) -> dict:
    return {
        "kind": kind, "project_id": row.get("project_id", row["id"]), "from": source, "to": dest, "reason": reason,
        "evidence": evidence, "change": change,
    }  # fmt: skip


def change(table: str, row: dict, same: tuple[str, ...], name: str, **more: object) -> dict:
    """What repairs a row that still has the columns `same` as they are: events of the state machine, then values; or its
    removal. first: values that the events need. alone: only while no other project runs in its directory. agents: values
    for all agents of the project. name: the event's."""
    return {
        "table": table, "id": row["id"], "project_id": row["id"] if table == "project_queue" else row.get("project_id"),
        "expect": {column: row[column] for column in same}, "name": name, "events": (), "values": {}, "delete": False,
        "alone": False, "first": {}, "agents": {}, **more,
    }  # fmt: skip


def of_project(project: dict, name: str, *events: str, **more: object) -> dict:
    return change("project_queue", project, SAME, name, events=events, **more)


# -- projects that are called failed


def failed(project: dict, facts: dict) -> dict | None:
    """A failed project that is done after all, or whose agents live.

    facts:
      session    ours, foreign (one of its name that carries no tag of ours), none, or unknown
      names      the sessions that its own panes are in
      states     {role: state} of its agents
      moved      the roles whose agent works, and did something since the project failed
      failure    how it failed: verify (its verify command), decision (our evidence), or guess (somebody's word, or SQL)
      why        the words that it failed with
      worth      what those prove (`importing.worth`)
      done, dirty, open, running, busy, asking, told, commits    as in `completion.judge`, of its last run
      marks      what the old system's records say of its completion
      neighbour  the project that runs in its directory, or None
    """
    if facts["session"] == "unknown":
        return None
    return done_after_all(project, facts) or alive_after_all(project, facts)


def done_after_all(project: dict, facts: dict) -> dict | None:
    said = completion.said_done(project, facts["done"])[0]
    if facts["failure"] == "verify" or not (said or facts["marks"]):
        return None
    evidence = {key: facts[key] for key in ("done", "marks", "commits", "dirty", "failure", "why")}
    against = completion.objections(project, facts) if said else unproved(facts)
    reason = said or "; ".join(facts["marks"])
    if against:
        reason = f"{reason}, but: {'; '.join(against)}"
    elif project["verify_command"] and not project["session_name"]:
        reason = f"{reason}, but its verify command has not been run, and it has no session to go back to"
    elif project["verify_command"]:
        if facts["neighbour"]:
            return finding("failed_done", project, "failed", None, taken(facts), evidence)
        why = f"{reason}; its verify command decides"
        back = of_project(project, "recover", "recover", "recovery_complete", alone=True, agents=FRESH)
        return finding("failed_done", project, "failed", "processing", why, evidence, back)
    else:
        return finding(
            "failed_done", project, "failed", "completed", reason, evidence, of_project(project, "reinstate", "reinstate")
        )
    # Somebody is still at it: what its agents do says more than what was said.
    return None if facts["moved"] else finding("failed_done", project, "failed", None, reason, evidence)


def unproved(facts: dict) -> list[str]:
    """Why the old system's word alone is not believed: it wrote its markers itself."""
    return [] if facts["commits"] else ["no commit since the start bears it out"]


def alive_after_all(project: dict, facts: dict) -> dict | None:
    evidence = {key: facts[key] for key in ("session", "states", "moved", "failure", "why", "worth")}
    alive = sorted(role for role, state in facts["states"].items() if state in ALIVE)
    if facts["session"] == "foreign":
        reason = "a session of its name lives that carries no tag of ours: `tmo-import --adopt` can make it ours"
        return finding("failed_alive", project, "failed", None, reason, evidence)
    if facts["session"] != "ours":
        return None
    if facts["failure"] != "guess" and not facts["moved"]:
        return None  # it failed by evidence, and its session is left to be looked at
    if not alive:
        return finding("failed_alive", project, "failed", None, "its session lives, but no agent in it", evidence)
    listed = ", ".join(f"{role} ({facts['states'][role]})" for role in alive)
    reason = f"its session is ours, and its agents live: {listed}"
    if facts["failure"] == "verify":
        return finding("failed_alive", project, "failed", None, f"{reason}; but its verify command failed", evidence)
    if facts["neighbour"]:
        return finding("failed_alive", project, "failed", None, taken(facts), evidence)
    back = of_project(project, "recover", "recover", "recovery_complete", alone=True, agents=FRESH)
    if project["session_name"] not in facts["names"]:
        back["first"] = {"session_name": facts["names"][0]}
    return finding("failed_alive", project, "failed", "processing", reason, evidence, back)


def taken(facts: dict) -> str:
    return f"it should go on, but project {facts['neighbour']} runs in its directory"


def failure_of(event: dict | None) -> str:
    """How a project failed: `verify`, `decision` or `guess`, by its event. A person cancels what is to end: `failed` is
    as much a guess of theirs as of a script that typed SQL."""
    if event is None or event["actor"] in GUESSES or "/" in event["actor"]:
        return "guess"
    return "verify" if "command" in (event["evidence"] or {}) else "decision"


# -- projects that are called running


def running(project: dict, facts: dict) -> dict | None:
    """A running project that nothing runs of.

    facts: session, names, states as above; survivors (processes of its agents that outlived their panes); grace (its
    own); kept (why it is not given up: it is held, or tmo-recover is at it; else None)."""
    status, left = project["status"], facts["grace"]
    evidence = {"session": facts["session"], "states": facts["states"], "deadline_at": left["deadline_at"]}
    if facts["session"] == "unknown" or (status != "recovering" and facts["session"] == "ours"):
        return None
    if facts["session"] == "foreign":
        reason = "its session lives and carries no tag of ours: `tmo-import --adopt` can make it ours"
        return finding("unowned", project, status, None, reason, evidence)
    alive = [role for role, state in facts["states"].items() if state in ALIVE]
    if status == "recovering" and alive:
        back = of_project(project, "recover", "recovery_complete")
        return finding("recovering_left", project, status, "processing", "its agents live", evidence, back)
    if facts["session"] == "ours" or facts["survivors"] or (status != "recovering" and not left["expired"]):
        return None
    reason = "it has no session, and its grace is over"
    if facts["kept"]:
        return finding("processing_gone", project, status, None, f"{reason}; but {facts['kept']}", evidence)
    return finding("processing_gone", project, status, "failed", reason, evidence, of_project(project, "error", "error"))


# -- columns that do not fit their status


def stale_session(project: dict) -> dict:
    reason = "it is queued, and named a session of an earlier run"
    return finding("stale_session", project, project["session_name"], None, reason, {"status": "queued"},
                   of_project(project, "session", values={"session_name": None}))  # fmt: skip


def end(project: dict) -> dict:
    """completed_at where there was no end, or none where there was."""
    status = project["status"]
    if status in TERMINAL:
        at = project["status_at"] or project["enqueued_at"]
        reason = f"it is {status}, and when is not written down"
    else:
        at, reason = None, f"it is {status}, and has an end"
    return finding("completed_at", project, text(project["completed_at"]), text(at), reason, {"status": status},
                   of_project(project, "completed_at", values={"completed_at": at}))  # fmt: skip


def text(value: object) -> str | None:
    return None if value is None else str(value)


def twins(rows: list[dict], owner: int | None) -> list[dict]:
    """Several projects that name one session: it is of the one that its tags name, else of one that runs, else of the
    newest. owner: the project of its tags."""
    first = max(rows, key=lambda row: (row["id"] == owner, row["status"] in ("processing", "completing"), row["id"]))
    found = []
    for row in rows:
        if row is first or row["status"] in ("initializing", "authenticating", "setting_up"):
            continue
        reason = f"the session '{row['session_name']}' is of project {first['id']}"
        ended = row["status"] in ("processing", "completing", "recovering")
        repaired = of_project(row, "duplicate", *(["cancel"] if ended else []), values={"session_name": None})
        dest = "cancelled" if ended else None
        found.append(finding("duplicate_session", row, row["status"], dest or row["status"], reason,
                             {"session_name": row["session_name"], "owner": owner}, repaired))  # fmt: skip
    return found


# -- agents, messages, holds


def agent(row: dict, there: bool) -> dict | None:
    """The row of an agent that its project does not have (any more). there: its pane is, with its tag."""
    named = {"role": row["role"], "pane_id": row["pane_id"]}
    if row["status"] is None or row["role"] not in row["roles"].split(","):
        reason = "its project does not exist" if row["status"] is None else "its project has no such role"
        gone = change("agent_health", row, ("state", "run"), "agent", delete=True)
        return finding("agent_gone", row, row["state"], None, f"{row['role']}: {reason}", named, gone)
    if there or (row["state"] in ("missing", "dead", "shell") and not row["is_stuck"]):
        return None
    values = {"state": "missing", "is_stuck": 0, "stuck_since": None, "detail": None, "dialog": None}
    reason = f"{row['role']}: its project is {row['status']}, and its pane is gone"
    gone = change("agent_health", row, ("state", "run", "is_stuck"), "agent", values=values)
    return finding("agent_gone", row, row["state"], "missing", reason, named, gone)


def message(row: dict, there: bool, now: float) -> dict | None:
    """A message that waits for what is over. there: the pane that it is bound to is."""
    if row["status"] in TERMINAL:
        reason = f"the project is {row['status']}"
    elif row["project_id"] is None and row["pane_id"] and not there:
        reason = "the pane is gone"
    else:
        return None
    values = {"state": "expired", "reason": reason, "closed_at": now}
    gone = change("message", row, ("state", "attempts"), "message", values=values)
    evidence = {"message_id": row["id"], "target": row["target"]}
    return finding("message_gone", row, row["state"], "expired", f"message {row['id']}: {reason}", evidence, gone)


def hold(row: dict) -> dict:
    kind, _, number = row["name"].partition("/")
    whose = {"id": None, "project_id": int(number) if kind == "project" and number.isdigit() else None}
    values = {"released_at": row["until_at"], "released_by": "time"}
    over = change("hold", {**row, **whose, "id": row["id"]}, ("released_at", "until_at"), "hold", values=values)
    evidence = {"name": row["name"], "until_at": row["until_at"]}
    return finding("hold_over", whose, "held", "released", f"the hold {row['name']} is past its end", evidence, over)


def in_the_way(refusal: str) -> str:
    """Why a row cannot go back to what it was, by what the database says of it."""
    words = next((words for start, words in REFUSALS.items() if refusal.startswith(start)), "it cannot go back")
    return f"{words}: {refusal}"


def way(transitions: list[dict], source: str, dest: str) -> list[str] | None:
    """The shortest list of events from one status to another, None when there is none."""
    ways: dict[str, list[str]] = {source: []}
    todo = [source]
    for status in todo:
        for row in transitions:
            if row["source"] == status and row["dest"] not in ways:
                ways[row["dest"]] = [*ways[status], row["event"]]
                todo.append(row["dest"])
    return ways.get(dest)
