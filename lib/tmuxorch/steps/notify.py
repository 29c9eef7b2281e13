"""Tell a person: run the notify command for each event that is due, and note what became of it."""

from __future__ import annotations

import json
import os

from .. import notify, shell
from ..config import Config
from ..store import Store, host, now
from ..waiting import locked

ACTOR = "tmo-notify"
LOCK_S = 0.1  # another run is under way: the next minute will do


class Notifier:
    """`rows` are the events that were looked at, each with its `notify`: reason, text, state, attempts, why."""

    def __init__(self, config: Config, db: Store, dry: bool) -> None:
        self.config, self.db, self.dry = config, db, dry
        self.rows: list[dict] = []
        self.troubles: list[str] = []

    def run(self) -> list[dict]:
        with locked(self.config.lock("notify"), LOCK_S, "another tmo-notify is at work"):
            for event in self.db.notifications():
                if not self.handle(event, event.pop("notification")):
                    break
        return self.rows

    def handle(self, event: dict, notification: dict) -> bool:
        """One event; False when the command does not do today, and the rest has to wait."""
        at, config = now(), self.config
        hold = next((h for h in self.db.all_holds() if (h["name"], h["since_at"]) == (event["dest"], event["at"])), None)
        reason = notify.reason(event, hold) or ""
        if unwanted := notify.skipped(reason, config["notify_on"], config["notify_command"]):
            return self.settle(event, reason, None, "skipped", unwanted)
        if notify.waits(notification, event, config["notify_after_s"], at):
            return True
        project = self.db.project(event["project_id"]) if event["project_id"] else None
        agent = self.db.agent(event["project_id"], event["role"]) if project and event["role"] else None
        text, about = notify.text(event, reason, project, host()), notify.subject(event, reason)
        if notify.old(event, config["notify_again_s"], at):
            state = "failed" if notification["attempts"] else "skipped"
            self.troubles.append(f"event {event['id']} could not be told for a day: {text}")
            return self.settle(event, reason, text, state, "it could not be told for a day", notification["attempts"])
        if notify.over(event, reason, project, agent, hold):
            return self.settle(event, reason, text, "skipped", "it was over before it was told")
        told = self.db.told(at - max(notify.HOUR_S, config["notify_again_s"]))
        if fate := notify.again(about, told, event, at - config["notify_again_s"]):
            return self.settle(event, reason, text, fate, "the same was told already", notification["attempts"])
        if notify.full(told, event["id"], config["notify_per_hour"], at):
            return self.show(event, reason, text, "queued", notification["attempts"], "so many were told within the hour")
        return self.tell(event, reason, text, about, notification["attempts"] + 1)

    def tell(self, event: dict, reason: str, text: str, about: str, attempt: int) -> bool:
        if self.dry:
            return self.show(event, reason, text, "queued", attempt - 1, None)
        # The row before the act: what dies from here on is told again, and what was told is known.
        if not self.db.set_notification(
            event["id"], state="sending", subject=about, attempts=attempt, attempted_at=now(), why=None
        ):
            return True
        why = call(self.config, {**event, "notify": {"reason": reason, "text": text, "attempts": attempt}})
        self.settle(event, reason, text, "sent" if why is None else "queued", why, attempt)
        if why is not None and attempt == 1:
            self.troubles.append(f"event {event['id']} is not told yet: {why}")
        return why is None

    def settle(self, event: dict, reason: str, text: str | None, state: str, why: str | None, attempts: int = 0) -> bool:
        if not self.dry:
            self.db.set_notification(event["id"], state=state, why=why)
        return self.show(event, reason, text, state, attempts, why)

    def show(self, event: dict, reason: str, text: str | None, state: str, attempts: int, why: str | None) -> bool:
        shown = {"reason": reason or None, "text": text, "state": state, "attempts": attempts, "why": why}
        self.rows.append({**event, "notify": shown})
        return True


def call(config: Config, row: dict) -> str | None:
    """Run the notify command with a row on its stdin; None when it ended with 0, else what was wrong."""
    line, longest = config["notify_command"], config["notify_timeout_s"]
    given = json.dumps(row, ensure_ascii=False) + "\n"
    home = config.environ.get("HOME") or "/"
    status, output = shell.run(line, home if os.path.isdir(home) else "/", longest, given)
    if status == 0:
        return None
    how = f"took more than {longest:g} s" if status is None else f"ended with {status}"
    last = " ".join(output.strip().rpartition("\n")[2].split())[-200:]
    return f"the notify command {how}{': ' + last if last else ''}"


def trial(config: Config) -> dict:
    """The row of an event that did not happen, told now, to see whether the command works."""
    row = {"id": None, "at": now(), "kind": "notice", "name": "needs_human", "project_id": None, "role": None,
           "pane_id": None, "run": None, "message_id": None, "actor": config.person(), "source": None, "dest": None,
           "why": "a test of the notify command: nothing is wrong", "evidence": None}  # fmt: skip
    shown = {"reason": "needs_human", "text": notify.text(row, "needs_human", None, host()), "attempts": 1}
    why = call(config, {**row, "notify": shown})
    return {**row, "notify": {**shown, "state": "failed" if why else "sent", "why": why}}
