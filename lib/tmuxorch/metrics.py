"""The metrics: what each is and which labels it has, and the families that a scrape shows."""

from __future__ import annotations

from itertools import product

from .health import HELD, STUCK
from .project import ENDS, SIZES

FAILED = ("refused", "typed", "unknown", "expired")
FAULTS = (*STUCK, *HELD, "idle")

# name: (type, help, its labels). Where their values are known, each is shown from the beginning, as 0; None: they are not.
METRICS: dict[str, tuple[str, str, dict[str, tuple[str, ...]] | None]] = {
    "tmux_orch_auth_failures_total": (
        "counter", "Lost or missing logins, found at an agent's work or at a start.", {"found": ("work", "start")},
    ),
    "tmux_orch_messages_total": ("counter", "Messages by their end.", {"state": ("submitted", *FAILED)}),
    "tmux_orch_message_failures_total": ("counter", "Messages that were not submitted, by their end.", {"state": FAILED}),
    "tmux_orch_projects_ended_total": ("counter", "Ends of projects.", {"size": SIZES, "status": ENDS}),
    "tmux_orch_failures_reversed_total": ("counter", "Failed verdicts that were reversed.", {}),
    "tmux_orch_interventions_total": ("counter", "Acts of persons: moves, messages, holds.", {}),
    "tmux_orch_faults_total": ("counter", "Faults of agents, by the state that they began with.", {"fault": FAULTS}),
    "tmux_orch_recoveries_total": ("counter", "Attempts to recover an agent.", None),
    "tmux_orch_agent_seconds_total": ("counter", "Time of agents in each state, of the spans that are over.", None),
    "tmux_orch_project_duration_seconds": ("histogram", "What projects took, from processing to their end.", None),
    "tmux_orch_fault_detection_seconds": ("histogram", "The longest that a fault can have stood unseen.", None),
    "tmux_orch_fault_recovery_seconds": ("histogram", "From a fault seen to the agent at work or idle again.", None),
    "tmux_orch_delivery_seconds": ("histogram", "What submitted messages waited for.", None),
    "tmux_orch_stuck_agents": ("gauge", "Agents that cannot go on unless someone acts.", {}),
    "tmux_orch_needs_human_agents": ("gauge", "Agents that recovery has given up on.", {}),
    "tmux_orch_agents": ("gauge", "Agents of projects that are processing, by their state.", None),
    "tmux_orch_projects": ("gauge", "Projects by their status.", None),
    "tmux_orch_holds": ("gauge", "Holds in force.", {"cause": ("login", "limit", "manual")}),
    "tmux_orch_open_messages": ("gauge", "Messages whose end is not known yet.", {}),
    "tmux_orch_cron_last_run_timestamp_seconds": ("gauge", "When each cron line last began.", None),
    "tmux_orch_cron_last_run_status": ("gauge", "The exit status of each cron line's last run.", None),
}  # fmt: skip


def families(samples: list[dict], buckets: dict[str, list[str]]) -> list[dict]:
    """What a scrape shows: {name, type, help, samples} each; a sample is {name, type, labels, value}.

    samples: {name, labels, value} as the database has them. buckets: the bounds of each histogram.
    """
    found: dict[str, dict[tuple, float]] = {}
    for sample in samples:
        found.setdefault(sample["name"], {})[tuple(sample["labels"].items())] = sample["value"]
    rows = []
    for name, (kind, text, known) in METRICS.items():
        values = histogram(name, found, buckets[name]) if kind == "histogram" else plain(name, found, known)
        shown = [{"name": one, "type": kind, "labels": dict(labels), "value": value} for one, labels, value in values]
        rows.append({"name": name, "type": kind, "help": text, "samples": shown})
    return rows


def plain(name: str, found: dict, known: dict[str, tuple[str, ...]] | None) -> list[tuple[str, tuple, float]]:
    """The samples of a counter or gauge, with those that are 0 so far."""
    values = [] if known is None else product(*known.values())
    zeros: dict[tuple, float] = {tuple(zip(known or (), each, strict=True)): 0 for each in values}
    return [(name, labels, value) for labels, value in {**zeros, **found.get(name, {})}.items()]


def histogram(name: str, found: dict, bounds: list[str]) -> list[tuple[str, tuple, float]]:
    """The samples of a histogram: every bucket of every set of labels that was observed, the count, the sum."""
    rows, counts = [], found.get(f"{name}_bucket", {})
    for labels, total in found.get(f"{name}_sum", {}).items():
        full = {bound: counts.get((*labels, ("le", bound)), 0) for bound in bounds}
        rows += [(f"{name}_bucket", (*labels, ("le", bound)), value) for bound, value in full.items()]
        rows += [(f"{name}_count", labels, full["+Inf"]), (f"{name}_sum", labels, total)]
    return rows
