"""Decisions about projects: names, roles, sizes, and which one is due."""

from __future__ import annotations

import os
import re
import zlib

from .recovery import waits

CLAIM_S = 120.0  # a start that works on a project has it to itself for so long, unless it renews that

# The roles and the names of their windows.
WINDOWS = {
    "orchestrator": "Orchestrator",
    "project_manager": "Project-Manager",
    "developer": "Developer",
    "tester": "Tester",
    "testrunner": "TestRunner",
    "researcher": "Researcher",
    "documentation": "Documentation",
    "devops": "DevOps",
    "code_reviewer": "Code-Reviewer",
    "logtracker": "LogTracker",
    "sysadmin": "SysAdmin",
    "securityops": "SecurityOps",
    "networkops": "NetworkOps",
    "monitoringops": "MonitoringOps",
    "databaseops": "DatabaseOps",
}
ALIASES = {"pm": "project_manager", "dev": "developer", "documentation_writer": "documentation", "reviewer": "code_reviewer"}
SIZES = ("small", "medium", "large", "xlarge")
ENDS = ("completed", "failed", "cancelled")
STATED = re.compile(r"^[^\w\n]*(?:project )?size\W*[:=]\W*(small|medium|large|xlarge|x-large)\b", re.I | re.M)
EFFORT = re.compile(
    r"^[^\w\n]*(?:(?:total|overall|estimated) ){1,2}(?:effort|estimate|time|timeline|duration)\W{1,8}"
    r"(?:\d+(?:\.\d+)? ?(?:to|[-\u2013]) ?)?(\d+(?:\.\d+)?)\+?[ -]?(minute|hour|hr|h|day|d|week|month)s?\b",
    re.I | re.M,
)
HOURS = {"minute": 1 / 60, "hour": 1, "hr": 1, "h": 1, "day": 8, "d": 8, "week": 40, "month": 160}  # of a person
ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])\s+\S", re.M)


def slug(name: str) -> str:
    """A name that tmux and a shell take as it is: [a-z0-9_-], at most 40 characters."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:40].strip("-") or "project"


def session_name(project: dict) -> str:
    return f"{slug(project['name'])}-{project['id']}"


def number(word: str) -> int | None:
    """A project's number as it is typed, None for what is none."""
    return int(word) if re.fullmatch(r"[0-9]{1,18}", word) else None


def role_key(name: str) -> str:
    """A role as it is stored: lower case, with `_`; a window's name or an alias gives its role."""
    key = slug(name).replace("-", "_")
    windows = {slug(window).replace("-", "_"): role for role, window in WINDOWS.items()}
    return ALIASES.get(key) or windows.get(key) or key


def window_name(role: str) -> str:
    return WINDOWS.get(role) or slug(role)


def lead(project: dict) -> str:
    """The role whose word on the whole project counts: the orchestrator, else the only agent, else none ("")."""
    roles = project["roles"].split(",")
    if "orchestrator" in roles:
        return "orchestrator"
    return roles[0] if len(roles) == 1 else ""


def size_of(spec: str | None) -> str:
    """The size that a spec states in a line `size: large`, else by the effort that it states, else a guess by its length.

    Effort is a line like `Total estimated effort: 2-3 days`; of several the largest counts, since a total is no smaller
    than its parts, and of a range the upper end. Up to two days of a person are small, up to a week is medium, up to a
    month is large, more is xlarge (the older system's rubric).
    By length each list item counts like 60 words of prose: under 600 such words are small, under 3,000 medium, under
    9,000 large, more is xlarge. This is a last resort: over 30 published plans of 2,000 to 37,000 characters that state
    their effort, length and effort had a rank correlation of -0.03. A spec that cannot be read is medium.
    """
    if spec is None:
        return "medium"
    if stated := STATED.search(spec):
        return stated[1].lower().replace("-", "")
    if efforts := [float(number) * HOURS[unit.lower()] for number, unit in EFFORT.findall(spec)]:
        return by_limits(max(efforts), (16, 40, 160))
    return by_limits(len(spec.split()) + 60 * len(ITEM.findall(spec)), (599, 2999, 8999))


def by_limits(amount: float, limits: tuple[int, int, int]) -> str:
    """The size of what is at most so large, each size's limit given."""
    return next((size for size, limit in zip(SIZES, limits, strict=False) if amount <= limit), "xlarge")


def ids(text: str | None) -> list[int | str]:
    """The ids of a comma-separated column. A word that is none stays as it is: whoever writes by sqlite3 writes anything,
    and it is no project's id."""
    words = [word.strip() for word in (text or "").split(",")]
    return [word if (found := number(word)) is None else found for word in words if word]


def next_due(
    queued: list[dict], running: list[dict], holds: list[dict], completed: set[int], limit: int, settings: dict,
    at: float, wanted: set[int] | None = None,
) -> dict | None:  # fmt: skip
    """The queued project to start now, None when there is none: by priority, then age; its dependencies completed,
    its directory free, not held, within the limit of projects running at once and the rollout."""
    if full(running, limit, at):
        return None
    busy = {row["project_path"] for row in running}
    for row in queued:
        if wanted is not None and row["id"] not in wanted:
            continue
        ready = completed.issuperset(ids(row["depends_on"]))
        if ready and row["project_path"] not in busy and not held(row, holds) and in_rollout(row["id"], settings):
            return row
    return None


def full(running: list[dict], limit: int, at: float, mine: str | None = None) -> bool:
    """Whether no place is free. A project that waits for its login has no session yet, and takes none; one that a start is
    at work on does, but for the start (`mine`) that asks whether it may go on."""
    return (
        sum(row["status"] != "authenticating" or (claimed(row, at) and row["claimed_by"] != mine) for row in running)
        >= limit
    )


def claimed(project: dict, at: float) -> bool:
    """Whether a start has it to itself."""
    return waits(project["claimed_until"], at, CLAIM_S)


NEVER = {"failed": "which failed", "cancelled": "which was cancelled", None: "which is not there"}


def stranded(project: dict, statuses: dict[int, str]) -> str | None:
    """Why a queued project waits for ever, None when it does not. statuses: of the projects that it may depend on."""
    for one in ids(project["depends_on"]):
        if isinstance(one, str):
            return f"depends on '{one}', which is no project's number"
        if why := NEVER.get(statuses.get(one)):
            return f"depends on {one}, {why}"
    return None


def held(project: dict, holds: list[dict]) -> dict | None:
    """The hold that stands in a project's way, None when there is none."""
    names = {"all", f"agent/{project['agent']}", f"batch/{project['batch_id']}", f"project/{project['id']}"}
    return next((hold for hold in holds if hold["name"] in names), None)


def in_rollout(project_id: int, settings: dict) -> bool:
    """Whether we may act on a project: `observe` and `enabled`, per cent by a hash that never changes."""
    return not settings["observe"] and zlib.crc32(str(project_id).encode()) % 100 < settings["enabled"]


def window_of(path: str) -> str:
    """The default name of a project: its directory's."""
    return os.path.basename(path.rstrip("/")) or "root"
