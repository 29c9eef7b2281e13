"""The outbox: committing a message before it is typed, and which of them are due.

A step, shared by tmo-send and tmo-deliver.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from .. import agents, delivery, grace, recovery
from .. import project as projects
from ..config import Config
from ..errors import LATER, NO, OK, Error, Later
from ..store import Store, now
from .look import Look
from .send import Sender, agents_only, binding

SHOWN = (
    "id", "key", "target", "pane_id", "state", "evidence", "attempts", "duration_s", "reason",
    "project_id", "role", "due_at",
)  # fmt: skip


def row(message: dict) -> dict:
    """A message as it is printed."""
    return {key: message[key] for key in SHOWN}


def status(message: dict, only_queued: object) -> int:
    if message["state"] in ("submitted", "accepted") or (only_queued and message["state"] in ("queued", "held")):
        return OK
    return LATER if message["state"] in ("held", "queued", "typing") else NO


def text_of(given: dict) -> tuple[str, str]:
    target, text = given.get("target"), given.get("text")
    if not isinstance(target, str) or not isinstance(text, str):
        raise Error("a row needs a target and a text")
    return target, text


def commit(sender: Sender, target: str, text: str, key: str | None, at: float | None, command: bool) -> dict:
    """The outbox row of a message (due at once, or `at`): a new one, or the one of its key. Raises Error when that has
    another text."""
    config, db = sender.config, sender.db
    text, start = delivery.clean(text), now()
    due = at or start
    key = key or str(uuid.uuid4())
    values = {
        "key": key, "target": target, "text": text, "actor": config.person(), "created_at": start, "due_at": due,
        "next_attempt_at": due, "expires_at": due + config["message_max_age_s"], **address(config, db, target),
    }  # fmt: skip
    reason = values.pop("refused") or refusal(config, db, values, text, command)
    if reason:
        values |= {"state": "refused", "reason": reason, "closed_at": start, "duration_s": 0.0}
    if not db.add_message(values):
        known = db.message(key)
        if known and (known["target"], known["text"]) != (target, text):
            raise Error(f"key '{key}' is of another message")
    found = db.message(key)
    assert found is not None
    return found


def address(config: Config, db: Store, target: str) -> dict:
    """Where a message goes: the project and role, else the very pane (server, id, pid) that the target names now."""
    word, slash, role = target.partition("/")
    number = projects.number(word) if slash else None
    project = db.project(number) if number else None
    if project:
        role = projects.role_key(role)
        if role not in project["roles"].split(","):
            return {"refused": f"project {number} has no role '{role}'"}
        return {"project_id": project["id"], "role": role, "refused": None}
    if number:
        return {"refused": f"no project {number}"}
    try:
        look = Look(config, db, now())
        rows = agents_only(look.find(target), look)
    except Later:
        return {"refused": None}  # tmux does not answer: tmo-deliver finds out
    if len(rows) != 1:
        return {"refused": "no such pane" if not rows else "the window has several panes"}
    return {**binding(rows[0], look.by_id[rows[0]["pane_id"]]), "refused": None}


def refusal(config: Config, db: Store, values: dict, text: str, command: bool) -> str | None:
    project = db.project(values["project_id"]) if values.get("project_id") else None
    if not delivery.bare(text):
        return "the message is empty"
    return (
        None if command else delivery.refusal(text, agents.profile(config, project["agent"] if project else config["agent"]))
    )


def deliver(config: Config, db: Store, sender: Sender, message: dict, wait_s: float) -> dict:
    """Deliver a message now, and before it what waits for the same addressee; its row. What a hold keeps back stays
    behind: a person's message may overtake it."""
    for earlier in db.messages(("queued", "held")):
        if earlier["id"] >= message["id"] or addressee(earlier) != addressee(message) or not delivery.due(earlier, now()):
            continue
        row = bring(config, db, sender, earlier, wait_s)
        if row["state"] in ("queued", "held", "typing") and not (row["reason"] or "").startswith(("hold ", "planned")):
            return sender.attempt(message, wait_s, behind=f"message {row['id']} to it waits: {row['reason']}")
    return sender.attempt(message, wait_s)


def addressee(message: dict) -> tuple | str | None:
    return (message["project_id"], message["role"]) if message["role"] else message["pane_id"] or message["target"]


def bring_due(config: Config, db: Store, sender: Sender, wait_s: float) -> Iterator[dict]:
    """Try what is due, each addressee's messages in order: one that cannot be brought holds back those behind it."""
    behind: set = set()
    at = now()
    for message in db.messages(("queued", "held", "typing")):
        who = addressee(message)
        if not delivery.due(message, at) or who in behind:
            continue
        if message["state"] == "typing" or recovery.waits(message["next_attempt_at"], at, config["message_retry_s"]):
            behind.add(who)
            continue
        row = bring(config, db, sender, message, wait_s)
        if row["state"] in ("queued", "held", "typing"):
            behind.add(who)
        yield row


def bring(config: Config, db: Store, sender: Sender, message: dict, wait_s: float) -> dict:
    """One due message: expired, held, or tried."""
    at = now()
    project = db.project(message["project_id"]) if message["project_id"] else None
    if at >= message["expires_at"] + held_s(db, message, project, at):
        return sender.close(message, "expired", f"not delivered within {config['message_max_age_s']:.0f} s")
    if message["attempts"] >= config["message_max_attempts"]:
        return sender.close(message, "expired", f"not delivered in {message['attempts']} attempts")
    if project and project["status"] in ("completed", "failed", "cancelled"):
        return sender.close(message, "expired", f"the project is {project['status']}")
    if hold := hold_of(config, db, message, at):
        return sender.close(message, "held", f"hold {hold['name']}")
    if not in_rollout(config, message):
        return {**message, "reason": "planned"}
    return sender.attempt(message, wait_s, keep=project is not None)


def held_s(db: Store, message: dict, project: dict | None, at: float) -> float:
    """How long holds have kept a message of a project that is past its time: that does not count."""
    if not project or at < message["expires_at"]:
        return 0.0
    return grace.held_s([hold for hold in db.all_holds() if projects.held(project, [hold])], message["due_at"], at)


def hold_of(config: Config, db: Store, message: dict, at: float) -> dict | None:
    """The hold that stops a message: its project's, or, in a pane that nobody tagged, of all or of the agent in it."""
    if not (holds := db.holds(at)):
        return None
    if message["project_id"]:
        project = db.project(message["project_id"])
        return projects.held(project, holds) if project else None
    look = Look(config, db, at)
    pane = look.by_id.get(message["pane_id"])
    agent = look.recognise(look.tree(pane["pane_pid"])) if pane and not pane["pane_dead"] else None
    return next((hold for hold in holds if hold["name"] in ("all", f"agent/{agent}")), None)


def in_rollout(config: Config, message: dict) -> bool:
    """Whether tmo-deliver may act on a message: a pane that nobody tagged has no part in a rollout by projects."""
    return projects.in_rollout(message["project_id"], config) if message["project_id"] else not config["observe"]


def settle_left(config: Config, db: Store, sender: Sender) -> Iterator[dict]:
    """Settle what dead senders left, and what waits inside its agent: the rows that changed. A hold leaves what stands in
    a composer there, but for the word that an agent may come back from it."""
    at = now()
    for message in db.messages(("typing", "accepted")):
        own = message["state"] == "accepted" or message["key"].startswith("return/")
        if not in_rollout(config, message) or (not own and hold_of(config, db, message, at)):
            continue
        try:
            settled = sender.settle(message)
        except Later:
            continue  # its sender lives, or tmux does not answer
        if settled["state"] != message["state"]:
            yield settled
