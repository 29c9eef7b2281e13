"""How long a project may take: by its size, longer after login trouble and while work is verifiably going on,
and with all time that was held, or in which nobody looked, not counted."""

from __future__ import annotations


def judge(
    project: dict, events: list[dict], holds: list[dict], activity_at: float | None, settings: dict, now: float
) -> dict:
    """The `grace` of a project's rows. events: the project's of the kind `health`, of this run; holds: all that concern it,
    also past ones."""
    terms = settings["grace"]
    started = project["started_at"]
    base = terms[project["size"]]
    auth = (
        terms["auth"] if any(login_trouble(event) for event in events) or any(h["cause"] == "login" for h in holds) else 0.0
    )
    active = activity_at is not None and now - min(activity_at, now) < settings["active_s"]
    activity = terms["activity"] if active and project["status"] == "processing" else 0.0
    held = held_s([*holds, *pauses(events)], started, now) if started is not None else 0.0
    total = base + auth + activity + held
    deadline = started + total if started is not None else None
    return {
        "size": project["size"],
        "base_s": base,
        "auth_s": auth,
        "activity_s": activity,
        "held_s": round(held, 3),
        "total_s": round(total, 3),
        "started_at": started,
        "deadline_at": round(deadline, 3) if deadline is not None else None,
        "left_s": round(deadline - now, 3) if deadline is not None else None,
        "expired": deadline is not None and now >= deadline,
    }


def login_trouble(event: dict) -> bool:
    return event["kind"] == "health" and event["dest"] == "login"


def pauses(events: list[dict]) -> list[dict]:
    """The times in which nobody looked, as `held_s` takes them: the machine was off or asleep, cron did not run, or the
    clock was set."""
    ended = [event["evidence"] for event in events if event["name"] == "pause"]
    return [{"since_at": pause["since_at"], "released_at": pause["until_at"], "until_at": None} for pause in ended]


def held_s(holds: list[dict], since: float, now: float) -> float:
    """The seconds since then in which at least one hold was in force, or nobody looked."""
    spans = sorted(
        (max(hold["since_at"], since), min(hold["released_at"] or now, hold["until_at"] or now, now)) for hold in holds
    )
    total, reached = 0.0, since
    for start, end in spans:
        start = max(start, reached)
        if end > start:
            total, reached = total + end - start, end
    return total
