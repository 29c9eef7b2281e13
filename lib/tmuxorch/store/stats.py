"""What the figures, the metrics and the report are made of."""

from __future__ import annotations

from . import Store, decode

KPI = ("kpi_failure", "kpi_intervention", "kpi_project", "kpi_login", "kpi_fault", "kpi_message")  # views with an `at`
NO_NIGHT: dict = {"projects": [], "spans": [], "units": {name: [] for name in (*KPI, "agent_span")}, "holds": [],
                  "people": [], "heartbeats": [], "screens": {}}  # fmt: skip


def units(db: Store, since: float) -> dict[str, list[dict]]:
    """What each KPI counts, by view: all rows that are not over before `since`."""
    rows = {name: db.all(f"SELECT * FROM {name} WHERE coalesce(at, 1e12) >= ?", (since,)) for name in KPI}
    rows["agent_span"] = db.all("SELECT * FROM agent_span WHERE coalesce(until_at, 1e12) >= ?", (since,))
    return rows


def night(db: Store, since: float) -> dict:
    """What the report shows of a batch, but for what was over before `since` (`report.page`): the keys of NO_NIGHT."""
    return {
        "projects": db.projects(),
        "spans": db.all("SELECT * FROM project_span WHERE coalesce(until_at, 1e12) >= ?", (since,)),
        "units": units(db, since),
        "holds": db.all_holds(),
        "people": db.all(
            """SELECT a.role, a.state, p.name, p.session_name, e.at, e.why
               FROM agent_health a JOIN project_queue p ON p.id = a.project_id AND p.status = 'processing'
               LEFT JOIN event e ON e.id = (SELECT max(id) FROM event WHERE kind = 'notice'
                                            AND project_id = a.project_id AND role = a.role)
               WHERE a.needs_human
               UNION ALL
               SELECT NULL, 'unknown', p.name, p.session_name, e.at, e.why FROM project_queue p
               JOIN event e ON e.kind = 'notice' AND e.project_id = p.id AND e.role IS NULL AND e.run = p.run
               WHERE p.status = 'processing'
               ORDER BY p.name, a.role"""
        ),
        "heartbeats": db.all("SELECT * FROM heartbeat ORDER BY name, host"),
        "screens": {row["project_id"]: row["screen"] for row in db.all(
            """SELECT project_id, evidence ->> '$.screen' AS screen FROM event WHERE id IN
               (SELECT max(e.id) FROM event e JOIN project_queue p ON p.id = e.project_id AND p.status = 'failed'
                WHERE e.kind = 'end' GROUP BY e.project_id)"""
        )},
    }  # fmt: skip


def samples(db: Store) -> list[dict]:
    """The value of every counter and gauge: {name, labels, value}."""
    rows = db.all("SELECT * FROM metric_counter UNION ALL SELECT * FROM metric_gauge")
    return [{**row, "labels": decode(row["labels"])} for row in rows]


def buckets(db: Store) -> dict[str, list[str]]:
    """The upper bounds of each histogram's buckets, as its label `le` has them, in order."""
    bounds: dict[str, list[str]] = {}
    for row in db.all("SELECT name, label FROM metric_bucket ORDER BY name, le"):
        bounds.setdefault(row["name"], []).append(row["label"])
    return bounds
