"""The figures that a batch is judged by: what the KPI views list, counted and set beside the targets."""

from __future__ import annotations

import math

# What a batch has to reach to be left alone at night.
TARGETS = {
    "false_failure_rate": ("below", 0.05),
    "manual_intervention_rate": ("below", 0.02),
    "login_recovery_rate": ("at least", 1.0),
    "time_to_detect_p95_s": ("at most", 1800.0),
    "success_rate": ("above", 0.95),
}
MEETS = {
    "below": lambda value, target: value < target,
    "at most": lambda value, target: value <= target,
    "at least": lambda value, target: value >= target,
    "above": lambda value, target: value > target,
}


def figures(units: dict[str, list[dict]], since: float | None, now: float) -> list[dict]:
    """All figures: {name, value, n, numerator, target, bound, met, window} each.

    units: the rows of each view, by its name. A share's value is numerator / n; a time's a percentile of n times, in
    seconds, its numerator null. Without a case n is 0 and the value null; without a target or a value met is null.
    """
    failed, logins, faults = units["kpi_failure"], units["kpi_login"], units["kpi_fault"]
    ended = [project for project in units["kpi_project"] if project["status"] in ("completed", "failed")]
    touched = {row["project_id"] for row in units["kpi_intervention"]}
    over = [login for login in logins if login["at"] is not None]
    messages, spans = units["kpi_message"], units["agent_span"]
    sent = [message["wait_s"] for message in messages if message["is_delivered"]]
    found = [
        share("false_failure_rate", [row["is_reversed"] for row in failed]),
        share("manual_intervention_rate", [project["project_id"] in touched for project in units["kpi_project"]]),
        share("login_recovery_rate", [not login["is_by_hand"] for login in over]),
        *times("time_to_detect", [fault["detect_s"] for fault in faults]),
        share("success_rate", [project["status"] == "completed" for project in ended]),
        *by("size", ended, lambda name, rows: [share(f"success_rate.{name}", [r["status"] == "completed" for r in rows])]),
        *by("fault", faults, lambda name, rows: times("time_to_detect", [row["detect_s"] for row in rows], name)),
        share("fault_recovery_rate", [fault["recovered_at"] is not None for fault in faults]),
        *times("time_to_recover", [fault["recover_s"] for fault in faults]),
        *by("fault", faults, lambda name, rows: times("time_to_recover", [row["recover_s"] for row in rows], name)),
        *times("login_recovery", [login["recover_s"] for login in over]),
        share("delivery_rate", [message["is_delivered"] for message in messages]),
        *times("delivery", sent),
        health_pass(spans, since, now),
    ]
    window = {"since_at": since, "until_at": now}
    return [{**row, **judged(row), "window": window} for row in found]


def judged(figure: dict) -> dict:
    if figure["name"] not in TARGETS:
        return {"target": None, "bound": None, "met": None}
    bound, target = TARGETS[figure["name"]]
    met = None if figure["value"] is None else MEETS[bound](figure["value"], target)
    return {"target": target, "bound": bound, "met": met}


def share(name: str, hits: list) -> dict:
    """How many of all cases are so."""
    return part(name, sum(map(bool, hits)), len(hits))


def part(name: str, numerator: float, n: float) -> dict:
    return {"name": name, "value": round(numerator / n, 6) if n else None, "n": n, "numerator": numerator}


def times(name: str, seconds: list, of: str | None = None) -> list[dict]:
    """The median and the 95th percentile of the times that are known."""
    known = sorted(value for value in seconds if value is not None)
    tail = f".{of}" if of else ""
    return [
        {"name": f"{name}_p{q}_s{tail}", "value": percentile(known, q), "n": len(known), "numerator": None} for q in (50, 95)
    ]


def percentile(ordered: list[float], q: int) -> float | None:
    """The smallest value that q per cent of all do not exceed (the nearest rank); None of no values."""
    return round(ordered[math.ceil(q * len(ordered) / 100) - 1], 3) if ordered else None


def by(key: str, rows: list[dict], figure) -> list[dict]:
    """A figure for each value of a key that occurs."""
    values = sorted({row[key] for row in rows})
    return [one for value in values for one in figure(value, [row for row in rows if row[key] == value])]


def health_pass(spans: list[dict], since: float | None, now: float) -> dict:
    """The share of time in which agents could work; n is in seconds of agents."""
    passed = total = 0.0
    for span in spans:
        end = now if span["until_at"] is None else min(span["until_at"], now)
        length = max(0.0, end - max(span["since_at"], since or 0))
        total += length
        passed += length if span["is_pass"] else 0
    return part("health_pass_rate", round(passed, 3), round(total, 3))
