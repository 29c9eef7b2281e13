"""Is a project done, failed, or still at it: a verdict over evidence, with its reasons."""

from __future__ import annotations

from . import project as projects


def judge(project: dict, evidence: dict) -> dict:
    """The `completion` of a project's rows, before its verify command: {verdict, reasons, verified}.

    evidence:
      done      {role: summary} of the roles that said so with tmo-done (or by their marker) in this run
      commits   how many commits since the start, None when git cannot tell
      dirty     changed or untracked files now, None when git cannot tell
      told      the agents were told what speaks against completion, and said again since that they are done
      open      messages that are still on their way to its agents, but those for later
      running   {role: names of programs} that an agent started and that run on beside it
      busy      roles whose agent works, or whose state is not known
      unclear   {role: detail} of the agents whose state has not been known for long
      asking    roles whose agent shows a dialog: its turn is not over
      moving    roles whose agent is alive and did something lately
      exhausted recovery has given up on every agent that did not say so
      held      a hold is in force
      expired   its grace is over
      nursed    how often recovery has helped one of its agents since then, at most
    """
    status = project["status"]
    if status in ("completed", "failed", "cancelled"):
        verdict = status if status != "cancelled" else "unknown"
        return result(verdict, [f"the project is {status}"], verified=None)
    if status == "completing":
        return result("completing", ["the agents said that the work is done"])
    if status != "processing":
        return result("unknown", [f"the project is {status}"])
    said, missing = said_done(project, evidence["done"])
    if said:
        against = objections(project, evidence)
        if not against:
            return result("completing", [said, *support(evidence)])
        if evidence["expired"] and not evidence["held"] and not evidence["moving"]:
            return result("unknown", [said, *against, "its grace is over"])
        return result("working", [said, *against])
    if evidence["held"]:
        return result("working", ["held", *missing])
    if evidence["expired"] and evidence["busy"] and not evidence["moving"]:
        return result("unknown", ["its grace is over", "at work, or not known to be: " + ", ".join(evidence["busy"])])
    if evidence["expired"] and evidence["exhausted"] and not evidence["moving"]:
        return result("failed", ["its grace is over", "nothing moves", "recovery has given up on every agent"])
    if evidence["expired"] and not evidence["moving"] and not evidence["exhausted"]:
        return result("unknown", ["its grace is over, recovery is not"])
    return result("working", missing)


def call(project: dict, verdict: dict, evidence: dict, settings: dict) -> tuple[str, str] | None:
    """(what for, why) a person is to be called to a project as a whole, None when nobody is: it is `stalled`, nobody can
    tell how one of its agents is (`unknown`), or it goes on past its grace only because it is `helped` again and again."""
    if verdict["verdict"] == "unknown" and stalled(project, evidence):
        return "stalled", "; ".join(verdict["reasons"])
    if evidence["unclear"] and not evidence["held"]:
        unclear = evidence["unclear"].items()
        return "unknown", "; ".join(f"the state of the {role}'s agent cannot be told: {detail}" for role, detail in unclear)
    nursed = evidence.get("nursed", 0)
    if nursed and nursed >= settings["nudges"] and not evidence["held"]:
        return "helped", f"its grace is over, and one of its agents was helped {nursed} times since"
    return None


def stalled(project: dict, evidence: dict) -> bool:
    """Whether only a person can tell what an `unknown` one is: it is said to be done, and what speaks against that does
    not go away; or an agent has long been in a state that cannot be told. Any other is recovery's, which calls a person
    at its end; and one look that failed is no reason to call anybody."""
    said, _ = said_done(project, evidence["done"])
    return bool(said or evidence["busy"]) and set(evidence["busy"]) <= set(evidence["unclear"])


def plain(project: dict, evidence: dict) -> bool:
    """Whether done, held and expired alone decide: most projects, most minutes, need no look at their agents and trees."""
    return said_done(project, evidence["done"])[0] is None and (evidence["held"] or not evidence["expired"])


def result(verdict: str, reasons: list[str], verified: bool | None = None) -> dict:
    return {"verdict": verdict, "reasons": reasons, "verified": verified}


def said_done(project: dict, done: dict[str, str]) -> tuple[str | None, list[str]]:
    """Who said that the work is done: the lead, or all roles; else who did not."""
    lead = projects.lead(project)
    if lead in done:
        return f"the {lead} said that the work is done", []
    roles = project["roles"].split(",")
    missing = [role for role in roles if role not in done]
    if not missing:
        return "all roles said that the work is done", []
    return None, ["not done yet: " + ", ".join(missing)]


def for_the_agent(objections: list[str]) -> bool:
    """Whether its agents can do something about what speaks against completion."""
    return any(reason.startswith(("the work tree", "still running", "git")) for reason in objections)


def objections(project: dict, evidence: dict) -> list[str]:
    """What speaks against completion."""
    found = []
    more = (evidence["dirty"] or 0) - (project["base_dirty"] or 0)
    if more > 0 and not evidence["told"]:
        found.append(f"the work tree holds {more} uncommitted files more than at the start")
    if evidence["dirty"] is None and project["base_dirty"] is not None and not evidence["told"]:
        found.append("git does not tell about its work tree")
    if evidence["running"] and not evidence["told"]:
        ones = [f"{', '.join(names)} (of the {role})" for role, names in evidence["running"].items()]
        found.append(f"still running: {'; '.join(ones)}")
    if evidence["open"]:
        found.append(f"{evidence['open']} messages are still on their way")
    if evidence["busy"]:
        found.append("still at work: " + ", ".join(evidence["busy"]))
    if evidence["asking"]:
        found.append("asks for an answer: " + ", ".join(evidence["asking"]))
    return found


def taken_up(messages: int, states: dict[str, str]) -> str | None:
    """What came up for a project's agents while its verify command ran, None when nothing did: messages that are on their
    way, or agents at work ({role: state}; one whose state cannot be told is none)."""
    if messages:
        return f"{messages} messages are still on their way"
    busy = [role for role, state in states.items() if state in ("working", "starting")]
    return f"at work again: {', '.join(busy)}" if busy else None


def support(evidence: dict) -> list[str]:
    return [f"{evidence['commits']} commits since the start"] if evidence["commits"] else []


def after_verify(project: dict, status: int | None, max_rework: int) -> tuple[str, str]:
    """(event, why) after the verify command ended with a status (None: it took too long)."""
    if status == 0:
        return "finalize", "the verify command succeeded"
    how = "took too long" if status is None else f"failed with status {status}"
    if project["rework_count"] >= max_rework:
        return "error", f"the verify command {how}, after {max_rework} rounds of rework"
    return "rework", f"the verify command {how}"
