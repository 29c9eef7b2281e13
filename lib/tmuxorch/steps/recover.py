"""Bring agents back: what is stuck is nudged or launched anew, a lost login or a limit holds and later resumes.

Every attempt is claimed by compare-and-set on the agent's next_recovery_at before it is made, so that no two
recoveries act on one agent, and one that was killed is made again when its wait is over.
"""

from __future__ import annotations

import contextlib

from .. import agents, git, recovery
from .. import project as projects
from ..agents import login, traces
from ..config import Config
from ..errors import Error, Later, in_words
from ..health import failed_turn
from ..store import Store, now
from .launch import Launcher, answer_dialog
from .logins import Logins
from .look import Look
from .send import Sender

ACTOR = "tmo-recover"
RETURNS = 4  # so many agents come back from a hold in one run: the rest follows in the next ones
STATE = {"login": "login", "limit": "limited"}  # of an agent, by the cause of its hold
LIMIT_S = 32 * 86400.0  # no limit lasts longer: an end beyond it was named by a clock that is no more
REST_S = 3600.0  # a limit whose end nobody named is tried again after this


class Recoverer:
    def __init__(self, config: Config, db: Store, dry: bool) -> None:
        self.config, self.db, self.dry = config, db, dry
        self.launcher = Launcher(config, db, ACTOR)
        self.sender = Sender(config, db)
        self.logins = Logins(config, db)
        self.returns = 0
        self.relaunched: list[tuple[dict, dict]] = []

    def run(self, rows: list[dict]) -> list[dict]:
        """The rows with their `recovery`; what was planned is done, unless this is a dry run."""
        if not self.dry and not self.config["observe"]:
            self.tend_holds()
        plans = [self.plan(row) for row in rows]
        planned = [(row, plan) for row, plan in zip(rows, plans, strict=True) if plan and not self.dry]
        for row, plan in sorted(planned, key=lambda pair: pair[1]["result"] != "held"):  # what is found lost stops the rest
            if projects.in_rollout(row["project_id"], self.config):
                self.carry_out(row, plan)
        self.await_relaunched()
        return [{**row, "recovery": plan and shown(plan), **trouble(row)} for row, plan in zip(rows, plans, strict=True)]

    def carry_out(self, row: dict, plan: dict) -> None:
        if plan["result"] == "needs_human":
            self.give_up(row, plan)
        elif plan["result"] == "held":
            self.hold(row)
        elif plan["action"] == "relaunch" and plan["result"] == "planned" and (why := self.logged_out(row)):
            plan.update(result="held", reason=why)
        elif plan["result"] == "planned":
            self.act(row, plan)

    # -- deciding

    def plan(self, row: dict) -> dict | None:
        """The step for a row's agent; None for what is not an agent of ours."""
        number, role, health = row.get("project_id"), row.get("role"), row.get("health")
        project = self.db.project(number) if type(number) is int and isinstance(role, str) else None
        agent = self.db.agent(project["id"], row["role"]) if project else None
        if not agent or not project or not isinstance(health, dict) or not recovery.readable(health):
            return None
        if recovery.recovered(agent, health, self.config, now()):
            fresh = {"recovery_attempts": 0, "needs_human": 0, "next_recovery_at": None}
            if not self.dry:
                self.db.update("agent_health", {"id": agent["id"]}, fresh)
            agent.update(fresh)
        context = self.context(project, agent, health)
        plan = recovery.plan(project, agent, health, context, self.config, now())
        known = {"next_recovery_at": agent["next_recovery_at"]}
        return {**plan, "attempt": agent["recovery_attempts"], "briefed": False, "known": known, "hold": context["hold"]}

    def hold_of(self, project: dict, role: str) -> dict | None:
        """The hold that stops an agent; the one that it is the first to come back from only when there is no other."""
        holds = [hold for hold in self.db.holds(now()) if projects.held(project, [hold])]
        return min(holds, key=lambda hold: hold["pilot"] == f"{project['id']}/{role}", default=None)

    def context(self, project: dict, agent: dict, health: dict) -> dict:
        at = now()
        hold = self.hold_of(project, agent["role"])
        return {
            "hold": hold,
            "pilot": hold is not None and hold["pilot"] == f"{project['id']}/{agent['role']}",
            "told": hold is not None and self.told(hold, project, agent),
            "released": None if hold else self.released(project, agent, health),
            "restarts": self.db.count_launches(project["id"], agent["role"], ACTOR, at - self.config["crash_loop_s"]),
            "nudges": self.nudges(project, agent, health),
            "failures": self.db.count_failures(project["id"], agent["role"], agent["recovery_attempts"]),
            "gave_up": self.db.gave_up(project["id"], agent["role"]) if agent["needs_human"] else None,
        }

    def nudges(self, project: dict, agent: dict, health: dict) -> int:
        """How often an agent that is stuck at its prompt was nudged since it last did more than talk: one that asks back
        each time is nudged in vain. Its changed files are asked for last, since they cost most."""
        if health["state"] != "idle" or not health["is_stuck"]:
            return 0
        number, role, directory = project["id"], agent["role"], project["project_path"]
        moved = past(traces.changed(f"{directory}/.git/logs/HEAD"))
        since = max(moved, self.db.last_word(number, role, ACTOR))
        count = self.db.count_nudges(number, role, since)
        if count < self.config["nudges"]:
            return count
        return self.db.count_nudges(number, role, max(since, past(git.changed(directory))))

    def released(self, project: dict, agent: dict, health: dict) -> dict | None:
        """The hold that this agent was under and that ended since, if it was not told yet."""
        for hold in reversed(self.db.all_holds()):
            if STATE.get(hold["cause"]) == health["state"] and projects.held(project, [hold]) and ended(hold):
                shown_at = min(health["since_at"], health["last_activity_at"] or health["since_at"])
                return hold if hold["released_at"] >= shown_at and not self.told(hold, project, agent) else None
        return None

    def told(self, hold: dict, project: dict, agent: dict) -> bool:
        message = self.db.message(return_key(hold, project["id"], agent["role"]))
        return message is not None and message["state"] in ("typing", "submitted", "accepted")

    # -- holds

    def tend_holds(self) -> None:
        """Move each login or limit hold on."""
        for hold in self.db.holds(now()):
            if hold["cause"] != "manual" and hold["name"].startswith("agent/"):
                with contextlib.suppress(Error):  # an agent without a readable profile: its hold waits, the others go on
                    self.tend(hold, hold["name"].removeprefix("agent/"))

    def tend(self, hold: dict, agent: str) -> None:
        """Choose who comes back first from a hold, and release it after its first good turn."""
        if hold["pilot"]:
            self.watch_pilot(hold, agent)
        elif self.may_return(hold, agent):
            if stopped := self.stopped(hold, agent):
                one = stopped[hold["probes"] % len(stopped)]  # another one each time
                first = f"{one['project_id']}/{one['role']}"
                self.db.update("hold", {"id": hold["id"], "pilot": None}, {"pilot": first, "probes": hold["probes"] + 1})
            else:
                self.db.release_hold(ACTOR, id=hold["id"])

    def stopped(self, hold: dict, agent: str) -> list[dict]:
        """The agents of this kind that the login or limit stopped and that may come back, in projects that run and that
        nothing else holds."""
        others = [one for one in self.db.holds(now()) if one["id"] != hold["id"]]
        live = {one["id"] for one in self.db.projects(status=("processing",)) if not projects.held(one, others)}
        return [
            row for row in self.db.agents()
            if row["agent"] == agent and row["state"] == STATE[hold["cause"]] and not row["needs_human"]
            and row["project_id"] in live and projects.in_rollout(row["project_id"], self.config)
        ]  # fmt: skip

    def may_return(self, hold: dict, agent: str) -> bool:
        """Whether one agent may be tried: the limit's time is over; the rejected credential has changed, or a real
        probe succeeds; a login that was missing locally is there."""
        at = now()
        if hold["cause"] == "limit":
            return not recovery.waits(hold["next_probe_at"], at, LIMIT_S)
        profile, environ, home = self.place(agent)
        if hold["credential"] is None:
            auth = Logins(self.config, self.db, fresh=True).check(agent, home)
            return auth["installed"] and auth["logged_in"] is True  # a login may outlive its program
        if login.fingerprint(profile, home) != hold["credential"]:
            return True
        if recovery.waits(hold["next_probe_at"], at, self.config["probe_max_s"]) or not profile["login"].get("probe"):
            return False
        wait = min(self.config["probe_max_s"], self.config["probe_min_s"] * 2 ** min(hold["probes"], 20))
        self.db.update("hold", {"id": hold["id"]}, {"probes": hold["probes"] + 1, "next_probe_at": at + wait})
        return login.probe(profile, home, environ, self.config["probe_timeout_s"]).get("rc") == 0

    def place(self, agent: str) -> tuple[dict, dict, str]:
        """(an agent's profile, the environment that one in a new pane has, its home there)."""
        profile = agents.profile(self.config, agent)
        environ = self.logins.environment(profile)
        return profile, environ, agents.home(profile, environ)

    def watch_pilot(self, hold: dict, agent: str) -> None:
        """Release the hold after the pilot's first good turn; another failure begins the wait anew. One that is gone, that
        needs a person, or has nothing to do any more, makes room for the next."""
        number, _, role = hold["pilot"].partition("/")
        pilot, project = self.db.agent(int(number), role), self.db.project(int(number))
        runs = project and project["status"] == "processing" and projects.in_rollout(project["id"], self.config)
        if not (pilot and project and runs) or pilot["needs_human"] or recovery.gone(pilot):
            self.db.update("hold", {"id": hold["id"], "pilot": hold["pilot"]}, {"pilot": None})
            return
        message = self.db.message(return_key(hold, int(number), role))
        if not message:
            others = [one for one in self.db.holds(now()) if one["id"] != hold["id"]]
            if pilot["state"] in ("working", "idle") or projects.held(project, others):  # it went on, or may not
                self.db.update("hold", {"id": hold["id"], "pilot": hold["pilot"]}, {"pilot": None})
            return
        after: list[dict] = []
        if message["state"] in ("submitted", "accepted"):
            after = list(traces.records(message["transcript"], message["taken_at"] or message["transcript_at"] or 0))
            kinds = {record["kind"] for record in after} if message["transcript"] else None
            turned_out = recovery.turned_out(kinds, pilot["state"])
            if turned_out is None:
                return  # its turn is under way
            if turned_out:
                self.db.release_hold(ACTOR, id=hold["id"])
                return
        elif message["state"] == "typing" or self.young(message):
            return  # it may get there yet; a person's draft, say, keeps it away for hours
        at = now()
        wait = min(self.config["probe_max_s"], self.config["probe_min_s"] * 2 ** min(hold["probes"], 20))
        again = {"pilot": None, "next_probe_at": at + wait, **self.named_anew(hold, agent, after, at + wait)}
        if hold["cause"] == "login" and message["state"] in ("submitted", "accepted"):  # its turn was with this one
            profile, _, home = self.place(agent)
            again["credential"] = login.fingerprint(profile, home)
        self.db.update("hold", {"id": hold["id"], "pilot": hold["pilot"]}, again)

    def named_anew(self, hold: dict, agent: str, after: list[dict], earliest: float) -> dict:
        """The columns of a limit hold whose pilot met a limit again, with its end as the new error names it: the weekly one
        behind that of the session, say, which no wait of ours outlasts."""
        failed = [record for record in after if record["kind"] == "error"]
        if hold["cause"] != "limit" or not failed:
            return {}
        verdict = failed_turn(failed[-1], agents.profile(self.config, agent), now())
        end = (verdict["reset_at"] or 0) + self.config["limit_margin_s"]
        return {"next_probe_at": max(earliest, end), "why": verdict["detail"]} if self.ahead(end) else {}

    def ahead(self, end: float) -> bool:
        return recovery.waits(end, now(), LIMIT_S)

    def young(self, message: dict) -> bool:
        wait = self.config["probe_min_s"]
        return recovery.waits(message["created_at"] + wait, now(), wait)

    def hold(self, row: dict) -> None:
        """Hold an agent's kind back after a lost login or a usage limit that no earlier hold was for."""
        health = row["health"]
        if health["state"] not in ("login", "limited") or not health["confirmed"]:
            return
        at = now()
        agent = self.db.agent(row["project_id"], row["role"]) or {}
        if self.over(agent, health):
            return
        name = f"agent/{agent['agent']}"
        why = health["detail"] or health["state"]
        if health["state"] == "limited":
            end = (health["reset_at"] or at + REST_S) + self.config["limit_margin_s"]
            if not self.db.set_hold(name, "limit", ACTOR, why, next_probe_at=end) and health["reset_at"]:
                self.put_off(agent, health, end, why)
            return
        profile, _, home = self.place(agent["agent"])
        mark = login.fingerprint(profile, home)
        self.db.set_hold(name, "login", ACTOR, why, credential=mark, next_probe_at=at + self.config["probe_min_s"])

    def put_off(self, agent: dict, health: dict, end: float, why: str) -> None:
        """Move a limit hold in force to a later end that this agent names. An error of before the last release names none
        that counts; nor does a screen, whose old words (resets 6pm) name another day once that hour is over."""
        old = health["since_at"] <= self.last_release(agent, health["state"])
        if old or "transcript" not in (agent["evidence"] or "") or not self.ahead(end):
            return
        for hold in self.db.holds(now()):
            known = hold["next_probe_at"] or 0
            if (hold["name"], hold["cause"]) == (f"agent/{agent['agent']}", "limit") and known < end:
                same = {"id": hold["id"], "next_probe_at": hold["next_probe_at"]}
                self.db.update("hold", same, {"next_probe_at": end, "why": why})

    def over(self, agent: dict, health: dict) -> bool:
        """Whether a hold for this was released since the agent last did anything: what it shows is an old error."""
        return self.last_release(agent, health["state"]) > (health["last_activity_at"] or now())

    def last_release(self, agent: dict, state: str) -> float:
        """When a hold on this kind of agent, for what this state is, was last released; 0 when none was."""
        mine = [hold for hold in self.db.all_holds() if hold["name"] == f"agent/{agent['agent']}"
                and STATE.get(hold["cause"]) == state and ended(hold)]  # fmt: skip
        return max((hold["released_at"] for hold in mine), default=0.0)

    def logged_out(self, row: dict) -> str | None:
        """Why an agent would be launched for nothing: it is not there, or not logged in, as it says itself in its own
        directory. Its kind is held then, until it is. None when it may be launched, or nobody can tell."""
        project = self.db.project(row["project_id"]) or {}
        try:
            auth = self.logins.check(project["agent"], project["project_path"])
        except Error:
            return None  # the launch says what is wrong, and the other agents are seen to
        if auth["installed"] and auth["logged_in"] is not False:
            return None
        why = f"{project['agent']} lacks {', '.join(auth['missing'])}: {auth['mend']}"
        self.db.set_hold(f"agent/{project['agent']}", "login", ACTOR, why)
        return why

    # -- acting

    def act(self, row: dict, plan: dict) -> None:
        """Claim the attempt, look again, and do it."""
        project = self.db.project(row["project_id"])
        agent = self.db.agent(row["project_id"], row["role"])
        if not project or not agent or (plan["action"] == "nudge" and self.returns >= RETURNS and self.is_return(row)):
            plan.update(result="waiting", reason="others come back first")
            return
        at = now()
        hold = self.hold_of(project, agent["role"])
        if hold and hold["id"] != (plan["hold"] or {}).get("id"):  # set since: by this run, or by another process
            plan.update(recovery.held(hold))
            return
        attempt = agent["recovery_attempts"] + 1
        claim = {"recovery_attempts": attempt, "last_recovery_at": at,
                 "next_recovery_at": recovery.next_attempt(agent["recovery_attempts"], self.config, at)}  # fmt: skip
        if plan["action"] == "relaunch":
            claim["needs_human"] = 0  # it was called for something else: what comes now may need one again
        if not self.db.update("agent_health", {"id": agent["id"], **plan["known"]}, claim):
            plan.update(result="waiting", reason="another process recovers it")
            return
        plan.update(attempt=attempt, next_at=claim["next_recovery_at"])
        try:
            look = Look(self.config, self.db, now())
            fresh = look.of({"project_id": row["project_id"], "role": row["role"]})
            health = look.judge([fresh])[0] if fresh else None
            if not fresh or not health or not recovery.still(row["health"], health, self.config):
                self.db.update("agent_health", {"id": agent["id"], **claim}, {key: agent[key] for key in claim})
                plan.update(result="waiting", reason="its state has changed", attempt=agent["recovery_attempts"])
                return
            getattr(self, plan["action"])(project, {**fresh, "health": health}, look, plan)
        except Later as error:
            plan.update(result="waiting", reason=str(error))
        except (Error, OSError) as error:
            plan.update(result="failed", reason=in_words(error))
        self.record(row, plan)

    def is_return(self, row: dict) -> bool:
        return row["health"]["state"] in ("login", "limited")

    def relaunch(self, project: dict, row: dict, look: Look, plan: dict) -> None:
        run = look.known[project["id"], row["role"]]["run"]
        self.launcher.relaunch(project, row["role"], row["health"]["state"], run)
        plan["project"] = project
        self.relaunched.append((row, plan))

    def await_relaunched(self) -> None:
        """Wait for all relaunched agents together, and brief those that are up."""
        if not self.relaunched:
            return
        keys = [(row["project_id"], row["role"]) for row, _ in self.relaunched]
        try:
            healths = self.launcher.wait_ready(keys)
        except (Error, OSError) as error:  # the attempts were made: they count, and tmo-deliver brings the briefings
            for row, plan in self.relaunched:
                plan.update(result="failed", reason=in_words(error))
                self.record(row, plan)
            return
        for row, plan in self.relaunched:
            try:
                self.welcome(row, plan, healths[row["project_id"], row["role"]])
            except (Error, OSError) as error:  # the others are briefed all the same
                plan.update(result="failed", reason=in_words(error))
            self.record(row, plan)

    def welcome(self, row: dict, plan: dict, health: dict) -> None:
        """Brief an agent that came back; how that went goes into the plan."""
        self.launcher.need_running(plan["project"])
        if health["state"] not in ("idle", "working"):
            plan.update(result="failed", reason=f"after the relaunch its state is {health['state']}")
            return
        message = self.launcher.brief(plan["project"], row["role"])
        plan["briefed"] = message["state"] in ("submitted", "accepted")
        plan.update(result="done" if plan["briefed"] else "failed", reason=message["reason"] or plan["reason"])

    def submit(self, project: dict, row: dict, look: Look, plan: dict) -> None:
        """Press Enter on our own draft, or answer a dialog as the settings say."""
        if row["health"]["state"] == "dialog":
            done = answer_dialog(self.config, look, row, row["health"]["dialog"])
            plan.update(result="done" if done else "failed")
            return
        for message in self.db.typed_in(look.by_id[row["pane_id"]]):
            settled = self.sender.finish(message)
            if settled and settled["state"] in ("submitted", "accepted"):
                plan.update(result="done")
                return
        plan.update(result="failed", reason="the draft could not be submitted")

    def nudge(self, project: dict, row: dict, look: Look, plan: dict) -> None:
        state = row["health"]["state"]
        if not self.made_room(project, row, look, plan):
            return
        text = recovery.NUDGE[state].format(project=project["id"])
        agent = self.db.agent(project["id"], row["role"]) or {}
        hold = self.hold_of(project, agent["role"]) or self.released(project, agent, row["health"])
        key = f"nudge/{agent['run']}/{state}/{plan['attempt']}/{int(agent['last_recovery_at'])}"
        if hold and state in ("login", "limited"):
            key = return_key(hold, project["id"], row["role"])
            before = self.db.message(key)
            if before and before["state"] in ("typed", "unknown", "refused", "expired"):
                key += f"/{plan['attempt']}"  # it was not told
            self.returns += 1
        message = self.sender.send_now(project, row["role"], key, text, ACTOR, (state,))
        if not key.startswith("return/"):
            message = self.withdrawn(message)
        plan.update(result="done" if message["state"] in ("submitted", "accepted") else "failed",
                    reason=message["reason"] or plan["reason"])  # fmt: skip

    def made_room(self, project: dict, row: dict, look: Look, plan: dict) -> bool:
        """Whether the composer is free for a message: what stands in it below a lost login or a limit is submitted first
        when it is ours; a person is called when it is not."""
        facts = look.found[project["id"], row["role"]]
        if not facts["screen"] or not facts["screen"]["draft"]:
            return True
        if look.whose_draft(row, facts) == "ours":
            self.submit(project, row, look, plan)
            return plan["result"] == "done"
        plan.update(result="needs_human", reason="a draft that is not ours stands in its composer")
        self.give_up(row, plan)
        return False

    def compact(self, project: dict, row: dict, look: Look, plan: dict) -> None:
        agent = self.db.agent(project["id"], row["role"]) or {}
        command = look.profile(row["agent"])["compose"]["compact"]
        key = f"compact/{agent['run']}/{plan['attempt']}/{int(agent['last_recovery_at'])}"
        message = self.withdrawn(self.sender.send_now(project, row["role"], key, command, ACTOR, ("context_full",)))
        plan.update(
            result="failed" if message["state"] in ("expired", "refused", "typed") else "done", reason=message["reason"]
        )

    def withdrawn(self, message: dict) -> dict:
        """A message that could not be typed now is not for later: the agent may be well then, and recovery tries again."""
        held = message["state"] == "held"
        return self.sender.close(message, "expired", f"not now: {message['reason']}") if held else message

    def give_up(self, row: dict, plan: dict) -> None:
        """Mark an agent as one for a person to see to, with one notice."""
        agent = self.db.agent(row["project_id"], row["role"])
        if agent and not agent["needs_human"]:
            self.db.call_person(
                agent, ACTOR, pane_id=row.get("pane_id"), source=row["health"]["state"], dest=plan.get("tried"),
                why=plan["reason"],
            )  # fmt: skip

    def record(self, row: dict, plan: dict) -> None:
        if plan["action"] == "relaunch" and plan["result"] == "planned":
            return  # its end is recorded when it is known
        self.db.event(
            "recovery", plan["action"], ACTOR, project_id=row["project_id"], role=row["role"], pane_id=row.get("pane_id"),
            source=row["health"]["state"], dest=plan["result"], why=plan["reason"],
        )  # fmt: skip


def past(at: float) -> float:
    """A file's time; one that lies ahead of the clock tells nothing."""
    return at if at <= now() else 0.0


def ended(hold: dict) -> bool:
    """Whether a hold was released. A release that lies ahead was written by a clock that is no more, and says nothing of
    what came since."""
    return hold["released_at"] is not None and hold["released_at"] <= now()


def return_key(hold: dict, project_id: int, role: str) -> str:
    """One message a hold and agent tells that it may go on; a pilot that failed is told again by its number."""
    return f"return/{hold['id']}/{hold['probes']}/{project_id}/{role}"


def trouble(row: dict) -> dict:
    """The `error` of a row whose health cannot be read; what came with one keeps it."""
    broken = row.get("health") is not None and not recovery.readable(row["health"])
    return {"error": "its health is not as tmo-health prints it"} if broken else {}


def shown(plan: dict) -> dict:
    return {key: plan[key] for key in ("action", "result", "reason", "attempt", "next_at", "briefed")}
