"""What state an agent is in, from the facts of one look; and what two looks say together.

A failed probe is `unknown`. Only the process tree tells that an agent is gone, only structure that a dialog is up.
"""

from __future__ import annotations

from . import reset, screen

STUCK = ("draft", "dialog", "api_error", "context_full", "hung", "shell", "dead", "missing")  # someone must act
HELD = ("login", "limited")  # they end by an outside event
ALIVE = ("working", "idle", "draft", "dialog", "login", "limited", "api_error", "context_full")  # it can go on
JOBLESS = {"elvish", "pwsh"}  # shells in whose own process group a person's program runs
SHELLS = JOBLESS | {
    "sh", "bash", "rbash", "dash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "ash", "busybox", "nu", "xonsh", "tmux",
}  # fmt: skip


def judge(facts: dict, profile: dict, settings: dict, now: float) -> dict:
    """The state that one look saw: {state, detail, dialog, reset_at, has_agent, evidence}.

    facts, each of which may be None for "not known":
      server      up, none (no server runs: a fact), silent (it did not answer), or elsewhere (the one that the agent was
                  launched on runs, but is not the one that was asked)
      pane        the pane's tmux record
      processes   the process tree of the pane, [] when it could not be read
      agent       the agent's process in it
      registry    what the agent publishes (`traces.registry`)
      turn        the error that ended its last turn (`traces.last_turn`)
      turning     busy or idle by its transcript (`traces.turn_status`), where it publishes nothing itself
      untold      it will hold a file open for its conversation, and does not yet
      screen      the pane's screen (`screen.read`)
      under_way   a launch of it was written down, and tmux has not carried it out yet
      launching   our launch line still waits for the agent in it to end
      shell       the shell that it becomes then, None in a pane that we did not launch
      launched_at, activity_at
      watched_since   since when looks have seen it at work (`watched_since`)
    """
    if facts["server"] == "silent":
        return verdict("unknown", "tmux does not answer")
    if facts["server"] == "elsewhere":
        return verdict("unknown", "its tmux server runs elsewhere")
    if facts["under_way"] and young(facts, settings, now):
        return verdict("starting", "its launch is under way", evidence=["database"])
    if facts["server"] == "none":
        return verdict("missing", "no tmux server is running", evidence=["tmux"])
    pane = facts["pane"]
    if pane is None:
        return verdict("missing", "no such pane", evidence=["tmux"])
    if pane["pane_dead"]:
        status = pane["pane_dead_status"]
        return verdict("dead", f"status {status}" if status else "by a signal", evidence=["tmux"])
    if not facts["processes"]:
        return verdict("unknown", "the process table could not be read")
    if facts["agent"] is None:
        return no_agent(facts, settings, now)
    if facts["agent"]["state"] == "T":
        return verdict("shell", "stopped", evidence=["process"])
    return with_agent(facts, profile, settings, now) | {"has_agent": True}


def verdict(state: str, detail: str | None = None, evidence: list[str] | None = None, **more: object) -> dict:
    return {"state": state, "detail": detail, "dialog": None, "reset_at": None, "has_agent": False,
            "evidence": evidence or [], **more}  # fmt: skip


def no_agent(facts: dict, settings: dict, now: float) -> dict:
    """No agent runs in the pane: it is not up yet, or has ended."""
    if facts["launching"] and young(facts, settings, now):
        return verdict("starting", "the program is not up yet", evidence=["process"])
    taken = runs_program(facts["processes"], facts["shell"])
    return verdict("shell", "program" if taken else "bare", evidence=["process"])


def runs_program(processes: list[dict], shell: str | None) -> bool:
    """Whether something runs in a pane beside its shell, which its name tells. The one that our launch line became may have
    any name; what is in its process group its rc file has started, since what a person starts there is a job, with a group
    of its own."""
    first = processes[0]
    ours = shell and first["argv"][-1:] == [shell] and first["name"] not in JOBLESS
    own = first["group"] if ours else None
    return any(one["state"] != "Z" and not of_shell(one["name"]) and one["group"] != own for one in processes)


def of_shell(name: str) -> bool:
    """A shell by its name, or the helper of a zsh prompt, which may have a process group of its own."""
    return name.removeprefix("-") in SHELLS or name.startswith("gitstatusd")


def young(facts: dict, settings: dict, now: float) -> bool:
    launched = facts.get("launched_at")
    return launched is not None and now - launched < settings["starting_s"]


def with_agent(facts: dict, profile: dict, settings: dict, now: float) -> dict:
    registry, shown = facts["registry"], facts["screen"]
    if shown and shown["dialog"]:
        return verdict("dialog", shown["selected"], ["screen"], dialog=shown["dialog"])
    status = registry["status"] if registry else facts["turning"]
    source = "registry" if registry else "transcript" if status else "screen"
    if status == "waiting":
        return verdict("dialog", registry["waiting_for"], ["registry"], dialog=kind_of(registry["waiting_for"]))
    if status == "busy" or (status is None and shown and shown["busy"]):
        return busy(facts, settings, now, source)
    failed = failed_turn(facts["turn"], profile, now) if facts["turn"] else None
    if failed and outweighs(failed["state"], shown):
        return failed
    if shown is None:
        return verdict("idle", None, [source]) if status == "idle" else verdict("unknown", "no trace and no screen")
    return quiet(facts, shown, status, settings, now, [source, "screen"] if status else ["screen"])


def kind_of(waiting_for: str | None) -> str:
    return "permission" if "permission" in (waiting_for or "") else "other"


def busy(facts: dict, settings: dict, now: float, source: str) -> dict:
    """At work, unless nothing has moved for too long."""
    moved = max(facts["activity_at"] or 0, facts["launched_at"] or 0, facts["watched_since"] or 0)
    if moved and now - moved >= settings["stuck_s"]:
        return verdict("hung", f"nothing moved for {now - moved:.0f} s", [source])
    return verdict("working", None, [source])


def quiet(facts: dict, shown: dict, status: str | None, settings: dict, now: float, sources: list[str]) -> dict:
    """Not at work by its own word or its screen: at its prompt, or not there yet."""
    if young(facts, settings, now) and (facts["untold"] or not shown["composer"]):
        return verdict("starting", "the composer is not there yet", sources)
    if not shown["composer"]:
        return verdict("unknown", "no composer on the screen", sources)
    if status is None and shown["said"]:  # an agent without a transcript: its last words are all there is
        return verdict(shown["said"], None, sources, reset_at=limit_end(shown["said"], shown["saying"], now))
    if shown["draft"]:
        return verdict("draft", None, sources)
    return verdict("idle", None, sources)


def outweighs(state: str, shown: dict | None) -> bool:
    """Whether a failed turn tells more than the draft below it. What helps after the others is typed: it would wait for
    that draft for ever."""
    return state in HELD or not (shown and shown["draft"])


def failed_turn(turn: dict, profile: dict, now: float) -> dict:
    """The agent waits at its prompt because its last turn failed."""
    state = error_state(turn, profile)
    end = limit_end(state, turn["text"], turn.get("at") or now)
    return verdict(state, " ".join(turn["text"].split())[:200] or None, ["transcript"], reset_at=end)


def error_state(turn: dict, profile: dict) -> str:
    """login, limited or context_full by the profile's [errors], else api_error."""
    table = profile["errors"]
    if {str(turn.get("status")), str(turn.get("error"))} & set(table["login"]):
        return "login"
    words = {state: table[state] for state in ("limited", "context_full")}
    return screen.first_match(words, turn["text"]) or "api_error"


def limit_end(state: str | None, text: str, at: float) -> float | None:
    return reset.parse(text, at) if state == "limited" else None


def settle(
    seen: dict, before: dict | None, wanted: str, activity_at: float | None, settings: dict, now: float
) -> dict:  # fmt: skip
    """The `health` of a row: this look beside the last one (an agent_health row, None for a pane that is not ours).

    A state is confirmed by a second look at least `confirm_s` after the first that saw it (of a shell: with what runs in
    it). wanted: `work` when the agent's project wants work of it, `later` when something is on its way to it (a message,
    its own reminder), else `nothing`. Only an agent that is to work is stuck when it was idle for `stuck_s`; a shell where
    nobody wants an agent is just a shell.
    """
    same = before is not None and before["state"] == seen["state"] and before["since_at"] is not None
    same = same and fresh(before or {}, settings, now)
    if before and seen["state"] == "shell":
        same = same and before["detail"] == seen["detail"]
    since = min(before["since_at"], now) if before and same else now
    quiet_s = now - max(since, min(activity_at or 0, now))
    stuck = (seen["state"] in STUCK and (wanted != "nothing" or seen["has_agent"])) or (
        seen["state"] == "idle" and wanted == "work" and quiet_s >= settings["stuck_s"]
    )
    stuck_since = (before or {}).get("stuck_since") if stuck and before and before["is_stuck"] else None
    if stuck:
        stuck_since = now if stuck_since is None else min(stuck_since, now)
    return {
        "state": seen["state"],
        "detail": seen["detail"],
        "confirmed": same and now - since >= settings["confirm_s"],
        "since_at": since,
        "is_stuck": stuck,
        "stuck_s": round(now - stuck_since, 3) if stuck_since is not None else None,
        "has_agent": seen["has_agent"],
        "last_activity_at": activity_at,
        "evidence": seen["evidence"],
        "reset_at": seen["reset_at"],
        "dialog": seen["dialog"],
    }


def fresh(before: dict, settings: dict, now: float) -> bool:
    """Whether the last look is young enough to say anything of this one. After a longer pause (cron missed, the machine
    asleep, the clock set) nobody knows what happened meanwhile."""
    at = before["last_health_check_at"]
    return at is not None and now - at <= settings["look_max_age_s"]


def watched_since(before: dict | None, settings: dict, now: float) -> float | None:
    """Since when an agent at work has been looked at without a pause: nothing has moved for no longer than that. None for
    one that no look has seen at work yet."""
    if not before or before["last_health_check_at"] is None:
        return None
    if not fresh(before, settings, now):
        return now
    return before["since_at"] if before["state"] == "working" else None


def mass_death(looks: list[dict]) -> bool:
    """More than half of all agents, and at least five, vanished in one look: the look is wrong, not the world."""
    had = [look for look in looks if look["had_agent"]]
    lost = [look for look in had if look["state"] in ("shell", "dead", "missing")]
    return len(lost) >= 5 and len(lost) * 2 > len(had)
