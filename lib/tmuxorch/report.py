"""What the report shows, worked out from rows: words, numbers and places on a line. The page itself is report.html."""

from __future__ import annotations

import json
import math
import time

from .doctor import HUNG_S
from .project import ENDS, SIZES

WIDE = 1000  # the units of a drawing from its left end to its right
TICKS = 8
STEPS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000)  # s between ticks
SHOWN = 40  # failures with their evidence; the page has to open on a phone
KEPT_LINES, KEPT = 30, 3000  # of an output or a screen: its end
MARKS_S = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 360000.0)  # on the line of waits
SILENT_S = 600.0  # a cron line of every minute that did not begin for so long
MARKED = 50  # marks on one lane; a crash loop is told by its first ones
STRIPES = {  # how a status is drawn; the ends have a mark instead
    "queued": "queued", "initializing": "setup", "authenticating": "setup", "setting_up": "setup",
    "processing": "processing", "completing": "completing", "recovering": "setup",
}  # fmt: skip
LABELS = {
    "false_failure_rate": "False failures",
    "manual_intervention_rate": "Needed a hand",
    "login_recovery_rate": "Logins that came back",
    "time_to_detect_p95_s": "Time to detect, p95",
    "success_rate": "Success",
    "fault_recovery_rate": "Faults recovered from",
    "time_to_detect_p50_s": "Time to detect, median",
    "time_to_recover_p50_s": "Time to recover, median",
    "time_to_recover_p95_s": "Time to recover, p95",
    "login_recovery_p50_s": "Login lost for, median",
    "login_recovery_p95_s": "Login lost for, p95",
    "delivery_rate": "Messages delivered",
    "delivery_p50_s": "Delivery, median",
    "delivery_p95_s": "Delivery, p95",
    "health_pass_rate": "Time in good health",
}


def page(facts: dict, rows: list[dict], since: float | None, now: float) -> dict:
    """Everything that the page shows.

    facts: projects, spans (project_span), units (by KPI view), holds, people (agents that need a person), heartbeats,
    screens (project: its last screen). rows: the figures.
    """
    projects = [row for row in facts["projects"] if seen(row, since)]
    first, last = extent(facts["spans"], projects, since, now)
    scale = Scale(first, last)
    found = {row["name"]: row for row in rows}
    failed = failures(projects, facts["units"]["kpi_failure"], facts["screens"])
    return {
        "from": moment(first), "until": moment(last), "made": moment(now), "zone": time.strftime("%z", time.localtime(now)),
        "counts": counts(projects), "total": len(projects), "headline": headline(projects),
        "needs": needs(facts, projects, len(failed), now),
        "targets": [card(row) for row in rows if row["target"] is not None],
        "others": [card(row) for row in rows if row["target"] is None and row["name"] in LABELS],
        "sizes": [card(found[f"success_rate.{size}"], size) for size in SIZES if f"success_rate.{size}" in found],
        "faults": by_fault(found),
        "ticks": scale.ticks(), "grid": scale.grid(), "lanes": lanes(projects, facts, scale, now),
        "failures": failed[:SHOWN], "more_failures": failed[SHOWN:],
        "delivery": delivery(facts["units"]["kpi_message"], found),
        "cron": [{**beat, "ago": ago(beat["started_at"], now)} for beat in facts["heartbeats"]],
    }  # fmt: skip


def seen(project: dict, since: float | None) -> bool:
    """Whether a project was not at its end before the window."""
    return since is None or project["completed_at"] is None or project["completed_at"] >= since


# Words


def moment(at: float) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(at)).lstrip("0")


def lasting(seconds: float) -> str:
    """A duration in its two largest units."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return ""


def ago(at: float, now: float) -> str:
    return f"{lasting(max(0.0, now - at))} ago"


def shown(figure: dict) -> str:
    """A figure's value for people."""
    if figure["value"] is None:
        return "–"
    return amount(figure["name"], figure["value"])


def amount(name: str, value: float) -> str:
    if "_rate" not in name:
        return lasting(value)
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def card(figure: dict, label: str | None = None) -> dict:
    """A figure as it is shown: its value, its cases, and how it stands to its target."""
    state = {True: "met", False: "missed", None: "none"}[figure["met"]]
    if figure["value"] is None:
        cases = "no case"
    elif figure["numerator"] is None:
        cases = f"{figure['n']} cases" if figure["n"] != 1 else "1 case"
    elif figure["name"] == "health_pass_rate":
        cases = f"{lasting(figure['numerator'])} of {lasting(figure['n'])}"
    else:
        cases = f"{figure['numerator']} of {figure['n']}"
    target = figure["target"] is not None and f"{figure['bound']} {amount(figure['name'], figure['target'])}"
    return {"name": figure["name"], "label": label or LABELS[figure["name"]], "raw": figure["value"], "value": shown(figure),
            "cases": cases, "target": target, "state": state}  # fmt: skip


def by_fault(found: dict[str, dict]) -> list[dict]:
    names = sorted({name.partition(".")[2] for name in found if name.startswith("time_to_detect_p50_s.")})
    keys = {"detect50": "time_to_detect_p50_s", "detect95": "time_to_detect_p95_s",
            "recover50": "time_to_recover_p50_s", "recover95": "time_to_recover_p95_s"}  # fmt: skip
    return [
        {"fault": name, **{key: card(found[f"{figure}.{name}"], name) for key, figure in keys.items()}} for name in names
    ]


def counts(projects: list[dict]) -> list[dict]:
    """How many projects are where, for the bar at the top: done, failed, running, waiting, cancelled."""
    groups = {"completed": 0, "failed": 0, "running": 0, "queued": 0, "cancelled": 0}
    for project in projects:
        groups[project["status"] if project["status"] in groups else "running"] += 1
    return [{"name": name, "n": n} for name, n in groups.items() if n]


def headline(projects: list[dict]) -> str:
    if not projects:
        return "No project in this time."
    groups = {row["name"]: row["n"] for row in counts(projects)}
    begun = len(projects) - groups.get("queued", 0)
    rest = [f"{groups[name]} {words}" for name, words in
            (("failed", "failed"), ("running", "running"), ("queued", "still queued"), ("cancelled", "cancelled"))
            if name in groups]  # fmt: skip
    return f"{groups.get('completed', 0)} of {begun} projects completed" + (f", {', '.join(rest)}" if rest else "") + "."


# What needs a person


def stuck(role: str | None) -> str:
    return f"the {role} is stuck" if role else "whether it is done cannot be told"


def needs(facts: dict, projects: list[dict], failed: int, now: float) -> list[dict]:
    """{what, why, since, type} each: what a person should see to, and the line to begin with."""
    open_ones = any(row["status"] not in ENDS for row in projects)
    items = [
        *(need(f"{row['name']}: {stuck(row['role'])}", row["why"] or row["state"], row["at"],
               f"tmux attach -t ={row['session_name']}") for row in facts["people"]),
        *(need(f"{hold['name']}: the login is lost", hold["why"], hold["since_at"], "tmo-authcheck")
          for hold in facts["holds"] if hold["cause"] == "login" and hold["released_at"] is None),
        *(need(f"{row['name']} waits to be started", row["error_message"], row["status_at"], f"tmo-log -p {row['id']}")
          for row in projects if row["status"] == "authenticating" and row["error_message"]),
        *(need(f"the cron line {beat['name']} is silent", "nobody looks after what runs", beat["started_at"], "crontab -l")
          for beat in facts["heartbeats"] if open_ones and silent(beat, now)),
    ]  # fmt: skip
    if failed:
        why = "queue them again, or say that they were done after all (see Failures)"
        items.append(need(f"{failed} failed project{'s' * (failed > 1)}", why, None, "tmo-project -s failed"))
    return [{**item, "since": item["since"] and ago(item["since"], now)} for item in items]


def need(what: str, why: str | None, since: float | None, line: str) -> dict:
    return {"what": what, "why": why or "", "since": since, "type": line}


def silent(beat: dict, now: float) -> bool:
    """Whether a cron line of every minute has not begun for long. One that is under way may take its time; what never
    ended was killed."""
    longest = HUNG_S if beat["finished_at"] is None else SILENT_S
    return beat["name"] != "nightly" and now - beat["started_at"] > longest


# The timeline


class Scale:
    """Times on a line of WIDE units."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, max(last, first + 1)

    def x(self, at: float) -> float:
        place = WIDE * (at - self.first) / (self.last - self.first)
        return round(min(max(place, 0), WIDE), 1)

    def step(self) -> int:
        return next((step for step in STEPS if (self.last - self.first) / step <= TICKS), STEPS[-1])

    def ticks(self) -> list[dict]:
        """The round local times in it: {left (per cent), text}."""
        step, zone = self.step(), time.localtime(self.first).tm_gmtoff or 0
        at = math.ceil((self.first + zone) / step) * step - zone
        form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"
        found: list[dict] = []
        while at <= self.last and len(found) <= 2 * TICKS:
            found.append({"left": round(self.x(at) * 100 / WIDE, 2), "text": time.strftime(form, time.localtime(at))})
            at += step
        return found

    def grid(self) -> dict | None:
        """The ticks' lines as a repeated background: per cent of the width from the left, and from one to the next."""
        ticks, size = self.ticks(), 100 * self.step() / (self.last - self.first)
        return {"left": ticks[0]["left"], "size": round(size, 3)} if ticks and size < 100 else None


def extent(spans: list[dict], projects: list[dict], since: float | None, now: float) -> tuple[float, float]:
    """From when until when something went on: no empty hours before the first start and after the last end."""
    ids = {project["id"] for project in projects}
    begun = [row for row in spans if row["project_id"] in ids and row["status"] != "queued"]
    first = max(min((row["since_at"] for row in begun), default=now - 3600), since or 0)
    open_ones = any(row["until_at"] is None and row["status"] not in ENDS for row in begun)
    last = now if open_ones or not begun else max(row["since_at"] for row in begun)
    return first, max(first, min(last, now))


def lanes(projects: list[dict], facts: dict, scale: Scale, now: float) -> list[dict]:
    """A lane for each project: its stripes, holds, fault spans and marks."""
    spans, faults = group(facts["spans"]), group(facts["units"]["kpi_fault"])
    return [
        {
            "id": row["id"], "name": row["name"], "status": row["status"], "took": took(row, now),
            "stripes": stripes(spans.get(row["id"], []), scale), "holds": held(row, facts["holds"], scale, now),
            **marks(faults.get(row["id"], []), row["completed_at"] or now, scale), "end": end(row, scale),
        }
        for row in projects
    ]  # fmt: skip


def group(rows: list[dict]) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for row in rows:
        found.setdefault(row["project_id"], []).append(row)
    return found


def took(project: dict, now: float) -> str:
    if project["started_at"] is None:
        return ""
    return lasting(max(0.0, (project["completed_at"] or now) - project["started_at"]))


def line(scale: Scale, since: float, until: float) -> str | None:
    """A stretch of time as a piece of an SVG path; None outside of the drawing."""
    if until < scale.first or since > scale.last:
        return None
    left = scale.x(since)
    return f"M{left:g} 0H{max(scale.x(until), min(left + 1, WIDE)):g}"


def stripes(spans: list[dict], scale: Scale) -> dict[str, str]:
    """{how it is drawn: its path}."""
    paths: dict[str, str] = {}
    for span in spans:
        kind = STRIPES.get(span["status"])
        piece = kind and line(scale, span["since_at"], scale.last if span["until_at"] is None else span["until_at"])
        if kind and piece:
            paths[kind] = paths.get(kind, "") + piece
    return paths


def held(project: dict, holds: list[dict], scale: Scale, now: float) -> str:
    """The path of the holds on a project, while it ran."""
    names = {"all", f"agent/{project['agent']}", f"batch/{project['batch_id']}", f"project/{project['id']}"}
    since, until = project["started_at"], project["completed_at"] or now
    pieces = [
        line(scale, max(hold["since_at"], since), min(hold["released_at"] or hold["until_at"] or now, until))
        for hold in holds
        if since is not None and hold["name"] in names and hold["since_at"] < until
        and (hold["released_at"] or hold["until_at"] or now) > since
    ]  # fmt: skip
    return "".join(filter(None, pieces))


def marks(faults: list[dict], until: float, scale: Scale) -> dict:
    """The spans of faults (to the project's end, if nothing came of them), and a mark where each began and was over."""
    inside = [row for row in faults if scale.first <= row["at"] <= scale.last][:MARKED]
    pieces = [line(scale, row["at"], row["recovered_at"] or until) for row in inside]
    return {
        "trouble": "".join(filter(None, pieces)),
        "faults": [{"x": f"{scale.x(row['at']):g}", "text": f"{moment(row['at'])} {row['role']}: {row['fault']}"}
                   for row in inside],
        "recoveries": [{"x": f"{scale.x(row['recovered_at']):g}", "text": f"back after {lasting(row['recover_s'])}"}
                       for row in inside if row["recovered_at"] is not None],
    }  # fmt: skip


def end(project: dict, scale: Scale) -> dict | None:
    if project["completed_at"] is None:
        return None
    return {"x": f"{scale.x(project['completed_at']):g}", "status": project["status"]}


# Failures


def failures(projects: list[dict], verdicts: list[dict], screens: dict[int, str]) -> list[dict]:
    """The projects that are failed, with what the verdict rests on."""
    last = {row["project_id"]: row for row in verdicts}
    return [
        {
            "id": row["id"], "name": row["name"], "why": row["error_message"] or "", "at": moment(row["completed_at"] or 0),
            "took": took(row, 0), "evidence": evidence(last.get(row["id"], {}).get("evidence")),
            "screen": tail(screens.get(row["id"], "")),
        }
        for row in projects if row["status"] == "failed"
    ]  # fmt: skip


def evidence(text: str | None) -> list[dict]:
    """{key, value, long} each, as the event has them."""
    found = json.loads(text) if text else None
    if not isinstance(found, dict):
        return [{"key": "evidence", "value": tail(str(found)), "long": False}] if found else []
    rows = []
    for key, value in found.items():
        plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append({"key": key, "value": tail(plain), "long": "\n" in plain.strip() or len(plain) > 200})
    return [row for row in rows if row["value"]]


def tail(text: str) -> str:
    """The end of a text, at most KEPT_LINES lines and KEPT characters."""
    return "\n".join(text.strip().split("\n")[-KEPT_LINES:])[-KEPT:]


# Delivery


def delivery(messages: list[dict], found: dict[str, dict]) -> dict:
    """The waits of delivered messages on a logarithmic line: bars, ticks and the two percentiles, all in per cent."""
    waits = [max(row["wait_s"], MARKS_S[0]) for row in messages if row["is_delivered"]]
    ends: dict[str, int] = {}
    for row in messages:
        ends[row["state"]] = ends.get(row["state"], 0) + 1
    top = next((at for at in MARKS_S[1:] if at >= max(waits, default=1)), MARKS_S[-1])  # the line has a length
    decades = math.log10(top / MARKS_S[0])

    def left(seconds: float) -> float:
        return round(100 * min(1.0, max(0.0, math.log10(seconds / MARKS_S[0]) / decades)), 2)

    bins = [0] * round(10 * decades)
    for wait in waits:
        bins[min(len(bins) - 1, int(left(wait) * len(bins) / 100))] += 1
    width, most = 100 / len(bins), max(*bins, 1)
    lines = [{"left": left(max(row["value"], MARKS_S[0])), "text": f"{label} {lasting(row['value'])}"}
             for label, row in (("median", found["delivery_p50_s"]), ("p95", found["delivery_p95_s"]))
             if row["value"] is not None]  # fmt: skip
    return {
        "n": len(waits), "ends": sorted(ends.items()),
        "bars": [{"x": round(place * width, 2), "width": round(width * 0.86, 2), "height": round(100 * n / most, 1), "n": n}
                 for place, n in enumerate(bins) if n],
        "ticks": [{"left": left(at), "text": lasting(at)} for at in MARKS_S if at <= top],
        "lines": lines,
    }  # fmt: skip
