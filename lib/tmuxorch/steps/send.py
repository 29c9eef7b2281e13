"""Type a message into an agent's pane and prove what became of it: the outbox row first, then the act.

A step, shared by tmo-send and tmo-deliver (and by what they are called from).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator

from .. import delivery, recovery, screen, tmux
from ..agents import traces
from ..config import Config
from ..errors import Later
from ..store import Store, now
from ..waiting import locked, until
from .look import Look

POLL_S = 0.02
SETTLE_S = 5.0  # an agent writes its transcript at most this long after the Enter (measured: 1.3 s)
PRESSES = 2  # Enter is pressed so often at most
AGAIN_S = 1.5  # and so long after the first
LEAST_S = 2.0  # its proof is waited for so long at least: what is called unknown is never looked for again
LOCK_S = 1.0


@contextlib.contextmanager
def pane_lock(config: Config, pane: dict, wait_s: float) -> Iterator[None]:
    """Only one of us writes to a pane, however each of us names the server: by its path, its name, or not at all."""
    name = re.sub(r"\W", "_", pane["socket_path"]) + "-" + pane["pane_id"][1:]
    with locked(config.lock(name), wait_s, f"pane '{pane['pane_id']}' is being written to"):
        yield


def commit_own(config: Config, db: Store, project: dict, role: str, key: str, text: str, actor: str) -> bool:
    """Put a message of our own to a role into the outbox, once a key; False when it is there already."""
    at, text = now(), delivery.clean(text)  # it may hold a program's output, or a commit's subject
    return db.add_message(
        {"key": key, "project_id": project["id"], "role": role, "target": f"{project['id']}/{role}", "text": text,
         "actor": actor, "created_at": at, "due_at": at, "next_attempt_at": at,
         "expires_at": at + config["message_max_age_s"]}
    )  # fmt: skip


class Sender:
    """Sends messages of the outbox."""

    def __init__(self, config: Config, db: Store) -> None:
        self.config, self.db = config, db
        self.tmux = tmux.Tmux(config.socket, config["tmux_timeout_s"])

    def attempt(
        self, message: dict, wait_s: float, keep: bool = False, allowed: tuple[str, ...] = (), behind: str | None = None
    ) -> dict:
        """Try to deliver an open message now; its row afterwards.

        wait_s (LEAST_S at least) bounds the wait for evidence. keep: hold what a caller would be refused (tmo-deliver,
        while the project runs). allowed: states that the caller treats by this very message. behind: why it has to wait
        although its agent could take it.
        """
        wait_s = max(wait_s, LEAST_S)
        try:
            look = Look(self.config, self.db, now())
            rows = self.rows(message, look)
        except Later as error:
            return self.close(message, "held", str(error))
        if len(rows) != 1:
            reason = "no such pane" if not rows else "the window has several panes"
            return self.close(message, "held" if keep else "refused", reason)
        pane = look.by_id[rows[0]["pane_id"]]
        message = self.bound(message, rows[0], pane)
        if replaced(message, pane):
            return self.close(message, "expired", "the pane is another one now")
        try:
            with pane_lock(self.config, pane, wait_s):
                return self.locked(message, pane["pane_id"], wait_s, keep, allowed, behind)
        except (Later, tmux.Gone, tmux.NoServer) as error:
            # What may have been typed is settled later from what is noted in the row, and never typed again before.
            fresh = self.db.message(message["key"]) or message
            return fresh if fresh["state"] == "typing" else self.close(fresh, "held", str(error))

    def send_now(self, project: dict, role: str, key: str, text: str, actor: str, allowed: tuple[str, ...]) -> dict:
        """Commit a message of our own to a role and try it at once; its row."""
        commit_own(self.config, self.db, project, role, key, text, actor)
        message = self.db.message(key)
        assert message is not None
        if message["state"] not in ("queued", "held"):
            return message
        return self.attempt(message, self.config["send_timeout_s"], keep=True, allowed=allowed)

    def finish(self, message: dict) -> dict | None:
        """Submit a message of ours that stands unsubmitted in its pane's composer; its row, None when it is not there."""
        pane = Look(self.config, self.db, now()).by_id.get(message["pane_id"])
        if not pane:
            return None
        with pane_lock(self.config, pane, LOCK_S):
            look = Look(self.config, self.db, now())
            pane = look.by_id.get(message["pane_id"])
            facts = look.facts(look.row(pane)) if pane else None
            if not facts or not facts["agent"] or not self.shown(message, facts):
                return None
            self.db.update("message", {"key": message["key"], "state": message["state"]}, {"state": "typing"})
            reopened = {**message, "state": "typing"}
            return self.submit(reopened, facts, self.config["send_timeout_s"])

    def rows(self, message: dict, look: Look) -> list[dict]:
        """The rows of the panes that a message may go to. It belongs to the agent, or, in a pane that nobody tagged, to
        that very pane: its target is read once only, since tmux gives its numbers and names to others later."""
        look.need_server()
        if message["role"]:
            row = look.by_role.get((message["project_id"], message["role"]))
            return [row] if row else []
        if message["pane_id"]:
            pane = look.by_id.get(message["pane_id"])
            return [look.row(pane)] if pane else []
        return agents_only(look.find(message["target"]), look)

    def bound(self, message: dict, row: dict, pane: dict) -> dict:
        """A message with what its target names written down, if tmux did not answer when it was committed."""
        if message["role"] or message["pane_id"]:
            return message
        where = binding(row, pane)
        self.db.update("message", {"key": message["key"], "state": message["state"]}, where)
        return {**message, **where}

    def locked(
        self, message: dict, pane_id: str, wait_s: float, keep: bool, allowed: tuple[str, ...], behind: str | None
    ) -> dict:
        """The look just before writing, and then the writing."""
        fresh = self.db.message(message["key"])
        if fresh is None or fresh["state"] not in ("queued", "held"):
            return fresh or message  # somebody else brought it while we waited for the lock
        if not until(lambda: not self.echo(fresh, pane_id), wait_s, POLL_S):
            return self.close(fresh, "held", "an earlier message that holds this text has not left its traces yet")
        seen: dict = {}

        def caught_up() -> bool:
            seen["look"] = Look(self.config, self.db, now())
            seen["facts"] = self.facts(seen["look"], fresh, pane_id)
            return seen["facts"] is None or not self.behind(seen["facts"])

        until(caught_up, min(wait_s, SETTLE_S), POLL_S)
        look, facts = seen["look"], seen["facts"]
        if facts is None:
            return self.close(fresh, "held", "the pane moved away")
        verdict = look.verdict(facts)
        decision = delivery.gate(verdict["state"], allowed)
        if decision != "type":
            words = " ".join(filter(None, (verdict["state"], verdict["dialog"] or verdict["detail"])))
            return self.close(fresh, "held" if keep else decision, f"the agent's state is {words}")
        if why_not := behind or self.not_now(facts):
            return self.close(fresh, "held", why_not)
        return self.write(fresh, facts, wait_s)

    def echo(self, message: dict, pane_id: str) -> bool:
        """Whether a trace of an earlier message may still come that would be taken for one of this: agents write a
        prompt down a while after the Enter, and one that waits inside them when they take it up."""
        for other in self.db.typed_lately(pane_id, now() - SETTLE_S, message["id"]):
            if not delivery.holds_text(other["text"], message["text"]):
                continue
            records = list(traces.records(other["transcript"], other["transcript_at"] or 0))
            if other["transcript"] and not delivery.taken(records, other["text"]):
                return True
            path = os.path.join(self.config.state_dir, "hooks", f"{other['run']}.jsonl")
            if os.path.exists(path) and not delivery.hooked(traces.hooks(path, other["hook_at"] or 0), other["text"]):
                return True
        return False

    def behind(self, facts: dict) -> bool:
        """Whether the composer still shows a message that was taken up a moment ago: a loaded machine draws late."""
        shown = facts["screen"]
        if not shown or not shown["draft"]:
            return False
        lately = self.db.typed_lately(facts["pane"]["pane_id"], now() - SETTLE_S, -1)
        taken = [message["text"] for message in lately if message["state"] in ("submitted", "accepted")]
        return any(delivery.shows(shown["draft"], text, facts["profile"]) for text in taken)

    def facts(self, look: Look, message: dict, pane_id: str) -> dict | None:
        """What is known of the agent in this pane, its screen included even while it works: the composer must be
        seen to be free. None when the message is no longer for this pane."""
        rows = [row for row in self.rows(message, look) if row["pane_id"] == pane_id]
        if not rows or replaced(message, look.by_id[pane_id]):
            return None  # it moved meanwhile
        facts = look.facts(rows[0])
        look.add_screens([facts])
        return facts

    def not_now(self, facts: dict) -> str | None:
        shown = facts["screen"]
        if not shown or not shown["composer"]:
            return "the composer is not on the screen"
        if shown["draft"]:
            return "the composer holds a draft"
        pane, moved_at = facts["pane"], facts["activity_at"] or 0
        if pane["pane_synchronized"]:
            return "the panes of its window are synchronized: the others would get the Enter too"
        if self.busy(facts) and self.db.unread(pane["pane_id"], pane["@tmo_run"] or None, moved_at):
            return "the agent has not read an earlier message yet: the two would become one"
        profile, hooked = facts["profile"], facts["hooks_path"] and facts["profile"]["launch"]["hooks"]
        if profile["traces"].get("transcript") and not facts["transcript"] and not hooked:
            # In a pane that we did not launch, the composer may be up before the agent's registry is.
            return "the agent has not told its conversation yet: nothing could prove that the text was taken up"
        if self.db.typed_since(pane["pane_id"], now() - 60) >= self.config["pane_messages_per_minute"]:
            return "the pane was written to too often in the last minute"
        return None

    def write(self, message: dict, facts: dict, wait_s: float) -> dict:
        """Paste, see the text, press Enter, and watch for the proof."""
        pane, profile = facts["pane"], facts["profile"]
        noted = {
            "state": "typing", "reason": None, "pane_id": pane["pane_id"], "pane_pid": pane["pane_pid"],
            "server": pane["server"], "run": pane["@tmo_run"] or None, "conversation_id": facts["conversation_id"],
            "transcript": facts["transcript"], "transcript_at": traces.size(facts["transcript"]),
            "hook_at": traces.size(facts["hooks_path"]), "history_at": traces.size(facts["history_path"]),
            "typed_at": now(), "attempts": message["attempts"] + 1,
        }  # fmt: skip
        if not self.db.update("message", {"key": message["key"], "state": message["state"]}, noted):
            return self.db.message(message["key"]) or message
        message = {**message, **noted}
        if not self.tmux.paste(pane["pane_id"], delivery.typed_form(message["text"], profile), tmux.guard(pane)):
            return self.close(message, "held", "the pane changed just before it was written to")
        if not until(lambda: self.shown(message, facts), wait_s, POLL_S):
            return self.close(message, "typed", "the composer did not show the text alone; Enter was not pressed")
        return self.submit(message, facts, wait_s)

    def submit(self, message: dict, facts: dict, wait_s: float) -> dict:
        """Press Enter on our own text, which the composer was just seen to hold, and once more while it still does,
        until something proves that it was taken up."""
        was_busy, presses, again_at = self.busy(facts), 0, 0.0

        def closed() -> dict | None:
            nonlocal presses, again_at
            late = time.monotonic() >= again_at
            if presses and (proved := self.proof(message, facts, was_busy, late)):
                return proved
            if not presses or (late and presses < PRESSES and self.shown(message, facts)):
                pane, key = facts["pane"], facts["profile"]["compose"]["submit"]
                if not self.tmux.press(pane["pane_id"], key, tmux.guard(pane)):
                    return self.close(message, "unknown", "the pane changed before Enter was pressed")
                presses, again_at = presses + 1, time.monotonic() + AGAIN_S
            return None

        found = until(closed, max(wait_s, LEAST_S), POLL_S) or self.proof(message, facts, was_busy, late=True)
        return found or self.unproved(message, facts)

    def proof(self, message: dict, facts: dict, was_busy: bool, late: bool) -> dict | None:
        """The row of a message that something proves by now to have been taken up or queued. late: what is not taken up
        by now waits inside the agent."""
        if not delivery.channels(facts["profile"]):
            return self.seen(message, facts, was_busy)
        records = list(traces.records(message["transcript"], message["transcript_at"]))
        hooks = traces.hooks(facts["hooks_path"], message["hook_at"])
        proved = delivery.proof(records, hooks, message["text"], was_busy)
        if not proved:
            queued = was_busy and late and self.told(message, facts)
            return self.close(message, "accepted", None, "history") if queued else None
        found = delivery.taken(records, message["text"])
        return self.close(message, proved[0], None, proved[1], found["place"] if found else None)

    def unproved(self, message: dict, facts: dict) -> dict:
        """What can be said when the wait for evidence is over."""
        if delivery.hooked(traces.hooks(facts["hooks_path"], message["hook_at"]), message["text"]):
            return self.close(message, "accepted", None, "hook")
        if self.told(message, facts):
            return self.close(message, "accepted", None, "history")
        if self.shown(message, facts):
            return self.close(message, "typed", "Enter did not submit the text")
        return self.close(message, "unknown", "the text left the composer, and nothing proves that it was taken up")

    def seen(self, message: dict, facts: dict, was_busy: bool) -> dict | None:
        """The row of a message to an agent without traces, once it began to work or its composer is empty."""
        began = not was_busy and self.busy(facts)
        if began or self.draft(facts) == "":
            return self.close(message, "submitted", None, "registry" if began else "screen")
        return None

    def told(self, message: dict, facts: dict) -> bool:
        """Whether the agent's history of prompts holds the message."""
        history = traces.history(facts["history_path"], message["history_at"] or 0, message["conversation_id"])
        return delivery.told(history, message["text"])

    def busy(self, facts: dict) -> bool:
        """Whether the agent works as Enter is pressed: then a hook only proves that the text was queued inside it."""
        if "registry" not in facts["profile"]["traces"]:
            return facts["turning"] == "busy"
        entry = traces.registry(facts["profile"], facts["home"], facts["agent"])
        return entry is not None and entry["status"] == "busy"

    def shown(self, message: dict, facts: dict) -> bool:
        """Whether the composer holds this message and nothing else, now."""
        draft = self.draft(facts)
        return draft is not None and delivery.shows(draft, message["text"], facts["profile"])

    def draft(self, facts: dict) -> str | None:
        """What the composer holds now; None when it is not on the screen."""
        pane_id = facts["pane"]["pane_id"]
        shot = self.tmux.captures([pane_id]).get(pane_id)
        found = screen.read(shot["text"], facts["profile"]["screen"], shot["cursor_y"]) if shot else None
        return found["draft"] if found and found["composer"] else None

    def close(
        self, message: dict, state: str, reason: str | None = None, evidence: str | None = None, taken_at: int | None = None
    ) -> dict:
        """Set a message's state after an attempt; its row."""
        at = now()
        values: dict = {"state": state, "reason": reason, "evidence": evidence, "taken_at": taken_at}
        if state in ("held", "queued"):
            values["next_attempt_at"] = at + self.config["message_retry_s"]
        elif state != "accepted":
            values |= {"closed_at": at, "duration_s": round(at - message["created_at"], 3)}
        self.db.update("message", {"key": message["key"], "state": message["state"]}, values)
        return self.db.message(message["key"]) or message

    # -- what dead senders and dead agents left

    def settle(self, message: dict) -> dict:
        """Find out what became of a message in `typing` (its sender died) or `accepted`; its row."""
        look = Look(self.config, self.db, now())
        pane = look.by_id.get(message["pane_id"])
        if look.server == "silent":
            return message
        if message["state"] == "typing" and pane:
            with pane_lock(self.config, pane, LOCK_S):  # free once its sender is dead
                return self.settle_locked(message, look, pane)
        return self.settle_locked(message, look, pane)

    def settle_locked(self, message: dict, look: Look, pane: dict | None) -> dict:
        fresh = self.db.message(message["key"])
        if fresh is None or fresh["state"] != message["state"]:
            return fresh or message
        facts = look.facts(look.row(pane)) if pane and same_pane(message, pane) else None
        if (facts and facts["unreadable"]) or out_of_sight(message, facts, look):
            return message
        alive = bool(facts and facts["agent"])
        records = self.records(message)
        if prompt := delivery.taken(records, message["text"]):
            return self.close(message, "submitted", None, "transcript", prompt["place"])
        if facts and (place := self.taken_elsewhere(message, facts["transcript"])) is not None:
            with self.db.transaction():
                moved = {"transcript": facts["transcript"], "transcript_at": 0}  # that is its transcript then
                self.db.update("message", {"key": message["key"], "state": message["state"]}, moved)
                return self.close(message, "submitted", None, "transcript", place)
        if delivery.withdrawn(records, message["text"]):
            return self.settle_withdrawn(message, facts)
        if alive and delivery.queued(records, message["text"]):
            return message if message["state"] == "accepted" else self.close(message, "accepted", None, "transcript")
        if alive and facts and message["state"] == "typing":
            return self.settle_alive(message, facts)
        if alive or unsettled(message):
            return message
        if not traces.there(message["transcript"]):
            return self.close(message, "unknown", "the agent ended, and it left no transcript to prove what it took up")
        return self.close(message, "queued", "the agent ended before it took the message up")

    def records(self, message: dict) -> list[dict]:
        """What the transcript holds since a message was typed, without what other messages with its text are known by."""
        others = self.db.taken_for_others(message)
        found = traces.records(message["transcript"], message["transcript_at"] or 0)
        return [record for record in found if record["place"] not in others]

    def settle_withdrawn(self, message: dict, facts: dict | None) -> dict:
        """A person took a message out of the agent's queue: it stands in the composer, or was submitted from there, or
        they did something else with it."""

        def back() -> bool:
            draft = self.draft(facts) if facts and facts["agent"] else None
            # With others that were taken back, or with what the person adds, it is more than this text alone.
            stands = draft and (delivery.holds_text(draft, message["text"]) or self.shown(message, facts or {}))
            return bool(stands) or delivery.taken(self.records(message), message["text"]) is not None

        if until(back, SETTLE_S, POLL_S):
            return message
        return self.close(message, "expired", "a person took it back out of the agent's queue")

    def taken_elsewhere(self, message: dict, path: str | None) -> int | None:
        """Where the agent took a message up in another conversation, into which it went meanwhile (it waited behind a
        `/clear`, say); None when it did not."""
        if not path or path == message["transcript"] or not message["typed_at"]:
            return None
        others = self.db.taken_for_others({**message, "transcript": path})
        younger = (one for one in traces.records(path) if (one["at"] or 0) >= message["typed_at"])
        prompt = delivery.taken([one for one in younger if one["place"] not in others], message["text"])
        return prompt["place"] if prompt else None

    def settle_alive(self, message: dict, facts: dict) -> dict:
        """The sender died, the agent lives: our text is still in the composer, or it never came there."""
        if self.shown(message, facts):
            return self.submit(message, facts, self.config["send_timeout_s"])
        if unsettled(message):
            return message
        if delivery.hooked(traces.hooks(facts["hooks_path"], message["hook_at"]), message["text"]):
            return self.close(message, "submitted", None, "hook")
        if self.told(message, facts):
            return self.close(message, "accepted", None, "history")
        draft = self.draft(facts)
        if draft is None:
            return message  # a dialog hides what the composer holds
        if not draft and self.busy(facts) and (facts["activity_at"] or 0) <= message["typed_at"]:
            return message  # it may not have read its keyboard since
        if draft:
            return self.close(message, "typed", "the composer holds the text together with something else")
        if not delivery.channels(facts["profile"]):
            return self.close(
                message, "unknown", "its sender died, and the agent leaves no traces to prove what became of it"
            )
        return self.close(message, "queued", "its sender died, and the agent never saw it")


def unsettled(message: dict) -> bool:
    """What it leaves may still be on its way."""
    return recovery.waits((message["typed_at"] or 0) + SETTLE_S, now(), SETTLE_S)


def binding(row: dict, pane: dict) -> dict:
    """What a message to the agent of a row is bound to: its project and role, else that very pane."""
    if row["role"]:
        return {"project_id": row["project_id"], "role": row["role"], "pane_id": row["pane_id"]}
    return {"pane_id": pane["pane_id"], "pane_pid": pane["pane_pid"], "server": pane["server"]}


def same_pane(message: dict, pane: dict) -> bool:
    """Whether a pane is the very one that a message was typed into, or is bound to."""
    return (pane["pane_pid"], pane["server"]) == (message["pane_pid"], message["server"])


def replaced(message: dict, pane: dict) -> bool:
    """Whether there is another pane in the place of the one that a message is bound to. An agent may be in any."""
    return not message["role"] and message["pane_pid"] is not None and not same_pane(message, pane)


def out_of_sight(message: dict, facts: dict | None, look: Look) -> bool:
    """Whether a look cannot see the agent of a message: then it proves nothing that none is seen."""
    if facts:
        return not facts["processes"] and not facts["pane"]["pane_dead"]
    if message["project_id"]:
        return look.elsewhere(message["project_id"])
    return message["server"] is not None and look.runs_elsewhere(message["server"])


def agents_only(rows: list[dict], look: Look) -> list[dict]:
    """Of a window with several panes the one that holds an agent."""
    if len(rows) < 2:
        return rows
    return [row for row in rows if look.recognise(look.tree(row["pane_pid"]))]
