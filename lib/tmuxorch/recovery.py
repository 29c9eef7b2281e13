"""What to do about an agent that cannot go on by itself."""

from __future__ import annotations

NUDGE = {
    "idle": "You have been idle for a while and project {project} is not done. Carry on with the spec; when your part "
    'is done and committed, run: tmo-done -m "one line on what you did".',
    "api_error": "The last request failed with an error of the API. Carry on where you stopped.",
    "login": "The login had been lost and is back. Carry on where you stopped.",
    "limited": "The usage limit is over. Carry on where you stopped.",
}


NUMBER = (int, float)
SHAPE: dict[str, type | tuple[type, ...]] = {
    "state": str, "detail": (str, type(None)), "dialog": (str, type(None)), "confirmed": bool, "is_stuck": bool,
    "since_at": NUMBER, "reset_at": (*NUMBER, type(None)), "last_activity_at": (*NUMBER, type(None)),
}  # fmt: skip


def readable(health: object) -> bool:
    """Whether a row's `health` is as tmo-health prints it: rows may come from anywhere."""
    return isinstance(health, dict) and all(key in health and isinstance(health[key], kind) for key, kind in SHAPE.items())


def plan(project: dict, agent: dict, health: dict, context: dict, settings: dict, now: float) -> dict:
    """The step for one agent: {action, result, reason, next_at}; result `planned` means: now.

    agent: its agent_health row. health: its judged state. context:
      hold      the hold in force for it, or None
      pilot     it was chosen to come back first from that hold, which stops all others
      told      and it was told that it may go on
      released  the hold that it was under and that ended, or None
      restarts  how often it was relaunched within `crash_loop_s`
      nudges    how often it was nudged while it was idle, since it last did more than talk
      failures  {action: how often it failed since the agent last did well}
      gave_up   the action that a person was called for, None when recovery had none, or never gave up
    """
    if project["status"] != "processing":
        return step("none", "none", f"the project is {project['status']}")
    if not needs(health):
        return step("none", "none", None)
    action, reason = choose(health, settings)
    if not health["confirmed"]:
        action = "wait" if action == "hold" else action
        return step(action, "waiting", "a second look is to confirm it", health["since_at"] + settings["confirm_s"])
    if context["hold"] and not context["pilot"]:
        return held(context["hold"])
    if action in ("hold", "wait"):
        return returning(action, health, context)
    if action == "report":
        return step(action, "needs_human", reason)
    if agent["needs_human"] and not (action == "relaunch" and context["gave_up"] != "relaunch"):
        return step("report", "needs_human", "recovery has given up on it")
    if tired := exhausted(action, health["state"], context, settings):
        return {**step("report", "needs_human", tired), "tried": action}
    if waits(agent["next_recovery_at"], now, settings["backoff_max_s"]):
        return step(action, "waiting", reason, agent["next_recovery_at"])
    return step(action, "planned", reason)


def step(action: str, result: str, reason: str | None, next_at: float | None = None) -> dict:
    return {"action": action, "result": result, "reason": reason, "next_at": next_at}


def still(health: dict, fresh: dict, settings: dict) -> bool:
    """Whether a look just before acting finds the same thing to do."""
    return (
        fresh["state"] == health["state"] and fresh["confirmed"] and needs(fresh)
        and choose(fresh, settings)[0] == choose(health, settings)[0]
    )  # fmt: skip


def held(hold: dict) -> dict:
    return step("wait", "held", f"hold {hold['name']}: {hold['why']}")


def needs(health: dict) -> bool:
    return health["is_stuck"] or health["state"] in ("login", "limited")


def choose(health: dict, settings: dict) -> tuple[str, str | None]:
    """(action, reason) by the state alone. `hold` and `wait` are about login and limit."""
    state, detail = health["state"], health["detail"]
    reason = f"the agent's state is {state}" + (f" ({health['dialog'] or detail})" if health["dialog"] or detail else "")
    if state in ("dead", "missing", "hung") or (state == "shell" and detail == "bare"):
        return "relaunch", reason
    if state == "draft":
        return ("submit" if detail == "ours" else "report"), reason
    if state in ("idle", "api_error"):
        return "nudge", reason
    if state == "context_full":
        return "compact", reason
    if state == "login":
        return "hold", reason
    if state == "limited":
        return "wait", reason
    if state == "dialog":
        policy = settings["dialog"].get(health["dialog"], settings["dialog"]["other"])
        return ("submit" if policy != "report" else "report"), reason
    return "report", reason


def gone(agent: dict) -> bool:
    """Whether two looks saw that an agent (its agent_health row) can take up nothing."""
    return bool(agent["confirmed"]) and agent["state"] in ("shell", "dead", "missing", "hung")


def returning(action: str, health: dict, context: dict) -> dict:
    """An agent that lost its login or hit a limit: held, or told once that it may go on."""
    if (context["pilot"] and not context["told"]) or context["released"]:
        return step("nudge", "planned", "the first to come back" if context["pilot"] else "the hold has ended")
    return step("wait", "held", "a hold is set", health["reset_at"] if action == "wait" else None)


def turned_out(kinds: set[str] | None, state: str) -> bool | None:
    """How the turn of the first to come back from a hold turned out: True when it went well, False when it failed, None
    while it is under way. kinds: of the records since, None for an agent without a transcript, whose state has to tell.
    An answer that ended in an error is no good turn."""
    if kinds is None:
        return {"idle": True, "login": False, "limited": False}.get(state)
    if "error" in kinds:
        return False
    return True if kinds & {"assistant", "turn_end"} else None


def exhausted(action: str, state: str, context: dict, settings: dict) -> str | None:
    """Why recovery gives up on an agent. An API that fails all night comes back by itself: that is tried on."""
    if action == "relaunch" and context["restarts"] >= settings["crash_loop_restarts"]:
        return f"{context['restarts']} restarts within {settings['crash_loop_s']:.0f} s: a crash loop"
    if action == "nudge" and state == "idle" and context["nudges"] >= settings["nudges"]:
        return f"{context['nudges']} nudges did not help"
    if action != "nudge" and context["failures"].get(action, 0) >= settings["crash_loop_restarts"]:
        return f"{context['failures'][action]} attempts ({action}) did not help"
    return None


def next_attempt(attempts: int, settings: dict, now: float) -> float:
    """When the next attempt may be made after so many: the wait doubles up to its cap."""
    return now + min(settings["backoff_max_s"], settings["backoff_min_s"] * 2 ** min(attempts, 30))


def waits(until: float | None, now: float, longest: float) -> bool:
    """Whether a wait that we set still lasts. One that would last longer than any was set by a clock that is no more."""
    return until is not None and 0 < until - now <= longest


def recovered(agent: dict, health: dict, settings: dict, now: float) -> bool:
    """It went on well for long enough after its last recovery: earlier attempts no longer count, but for its nudges."""
    if not agent["recovery_attempts"] and not agent["needs_human"]:
        return False
    last = agent["last_recovery_at"] or 0
    since = last if last <= now else 0  # a clock that is no more
    return (
        not health["is_stuck"]
        and health["state"] in ("working", "idle")
        and (health["last_activity_at"] or 0) >= since + settings["backoff_min_s"]
    )
