"""What a person is told of: which events, in which words, and when it is not told again."""

from __future__ import annotations

HOUR_S = 3600.0
OLD_S = 86400.0  # what could not be told for so long is given up
RETRY_MIN_S, RETRY_MAX_S = 50.0, 600.0  # the wait after a failed attempt doubles; the first is over within a cron minute
WORDS = {  # the reasons to tell somebody, each with its words
    "needs_human": "needs a person",
    "failed": "failed",
    "login": "is held until somebody logs in",
    "limit": "is held at a usage limit",
    "waiting": "waits",
    "completed": "is completed",
}


def reason(event: dict, hold: dict | None) -> str | None:
    """Which reason of WORDS an event is, None for one that nobody is told of. `hold` is the hold that it speaks of."""
    if event["kind"] == "hold":
        return {"login": "login", "limit": "limit"}.get(hold["cause"]) if hold else None
    if event["kind"] == "status":
        return event["dest"] if event["dest"] in ("failed", "completed") else None
    return {"notice": "needs_human", "auth": "waiting"}.get(event["kind"])


def over(event: dict, why: str, project: dict | None, agent: dict | None, hold: dict | None) -> bool:
    """Whether what an event says is so no more: the project, the agent and the hold as they are now, None when gone."""
    if why in ("login", "limit"):
        return not hold or hold["released_at"] is not None
    if project is None:
        return event["project_id"] is not None
    if why == "needs_human":
        if not event["role"]:
            queued = project["status"] == "queued" and project["error_message"] == event["why"]
            return not queued and project["status"] != "processing"
        return not (agent and agent["needs_human"])
    if why == "waiting":
        return project["error_message"] != event["why"]
    return project["status"] != why


def subject(event: dict, why: str) -> str:
    """What an event is about; of two with the same subject one is enough. A login that is missing is one trouble,
    however many projects wait for it. The end of another start, or for another cause, is another one."""
    if why in ("login", "waiting"):
        return f"login {event['why']}"
    if why == "limit":
        return f"limit {event['dest']}"
    run = "" if why == "needs_human" else event["run"] or ""
    return f"{why} {event['project_id']}/{event['role'] or run} {event['why'] or ''}".rstrip()


def text(event: dict, why: str, project: dict | None, host: str) -> str:
    """One line for a person."""
    whose = event["dest"] if why in ("login", "limit") else "this"
    if project:
        whose = f"project {project['id']} ({project['name']}){', ' + event['role'] if event['role'] else ''}"
    line = f"tmuxorch on {host}: {whose} {WORDS[why]}{': ' + event['why'] if event['why'] else ''}"
    return " ".join(line.split())


def waits(notification: dict, event: dict, after_s: float, now: float) -> bool:
    """Whether it is too early: what has just happened may be taken back, and a failed attempt is not repeated at once.
    A time that lies ahead of the clock is past."""
    if not notification["attempts"]:
        return 0 <= now - event["at"] < after_s
    wait = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(notification["attempts"] - 1, 20))
    return notification["state"] == "queued" and 0 <= now - notification["attempted_at"] < wait


def skipped(why: str, wanted: list, command: str) -> str | None:
    """Why an event is not told at all, None when it is. `why` is empty for an event that is none of WORDS."""
    if not command:
        return "no notify_command is set"
    return None if why in wanted else "not in notify_on"


def old(event: dict, again_s: float, now: float) -> bool:
    """Whether it is given up: after a day, or when the wait for the same to be told again is long over."""
    return now - event["at"] > max(OLD_S, 2 * again_s)


def again(about: str, told: list[dict], event: dict, since: float) -> str | None:
    """The state of an event if the same was told since, else None: `skipped` if it was told after that event, `queued` if
    it was before, as what has come to pass anew may still be so then. `told` are the notifications of the last hours."""
    times = [
        row["attempted_at"] for row in told
        if row["subject"] == about and row["event_id"] != event["id"] and row["state"] == "sent"
        and row["attempted_at"] > since
    ]  # fmt: skip
    if not times:
        return None
    return "skipped" if max(times) >= event["at"] else "queued"


def full(told: list[dict], event_id: int, most: int, now: float) -> bool:
    """Whether so many were told within the hour that this one has to wait."""
    lately = [row for row in told if row["state"] in ("sent", "sending") and row["attempted_at"] > now - HOUR_S]
    return len([row for row in lately if row["event_id"] != event_id]) >= most
