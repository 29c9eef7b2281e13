"""metrics: what a scrape shows, and that no counter ever goes down."""

import contextlib
import re

import pytest
from test_figures import drop_triggers, event, fill, repairs
from tmuxorch import metrics, prometheus, store
from tmuxorch.store import stats, upkeep


@pytest.fixture
def night(tmp_path):
    """The night of test_figures, events written by hand, and the triggers back for what comes after it."""
    path = str(tmp_path / "task_queue.db")
    db = store.write(path)
    with contextlib.closing(db.connection) as connection:
        triggers = drop_triggers(connection)
        fill(db)
        for sql in triggers:
            connection.execute(sql)
        yield db


def scrape(db):
    """{(name, labels): value} of everything but the gauges."""
    families = metrics.families(stats.samples(db), stats.buckets(db))
    return {(sample["name"], tuple(sample["labels"].items())): sample["value"]
            for family in families for sample in family["samples"] if family["type"] != "gauge"}  # fmt: skip


# The night of test_figures, by hand; what is not here is 0.
COUNTED = {
    "tmux_orch_auth_failures_total{found=work}": 1,
    "tmux_orch_messages_total{state=submitted}": 3,
    "tmux_orch_messages_total{state=typed}": 1,
    "tmux_orch_messages_total{state=unknown}": 1,
    "tmux_orch_message_failures_total{state=typed}": 1,
    "tmux_orch_message_failures_total{state=unknown}": 1,
    "tmux_orch_projects_ended_total{size=small,status=completed}": 1,
    "tmux_orch_projects_ended_total{size=small,status=failed}": 1,  # 4, before it was tried again
    "tmux_orch_projects_ended_total{size=small,status=cancelled}": 1,
    "tmux_orch_projects_ended_total{size=medium,status=failed}": 1,
    "tmux_orch_projects_ended_total{size=medium,status=completed}": 1,  # reinstated
    "tmux_orch_projects_ended_total{size=large,status=failed}": 1,
    "tmux_orch_projects_ended_total{size=xlarge,status=completed}": 1,
    "tmux_orch_failures_reversed_total": 1,
    "tmux_orch_interventions_total": 4,  # cancel, reinstate, a message, a hold
    "tmux_orch_faults_total{fault=shell}": 1,
    "tmux_orch_faults_total{fault=hung}": 1,
    "tmux_orch_faults_total{fault=login}": 1,
    "tmux_orch_faults_total{fault=idle}": 1,
    "tmux_orch_recoveries_total{action=relaunch,result=done}": 1,
    "tmux_orch_agent_seconds_total{state=starting}": 30,
    "tmux_orch_agent_seconds_total{state=idle}": 10 + 1000 + 20,
    "tmux_orch_agent_seconds_total{state=working}": 290 + 540 + 390 + 120 + 1000 + 380,
    "tmux_orch_agent_seconds_total{state=shell}": 30,
    "tmux_orch_agent_seconds_total{state=hung}": 60,
    "tmux_orch_agent_seconds_total{state=dead}": 340,
    "tmux_orch_agent_seconds_total{state=login}": 570,
}


def flat(found):
    return {name + ("{" + ",".join(f"{k}={v}" for k, v in labels) + "}" if labels else ""): value
            for (name, labels), value in found.items()}  # fmt: skip


def test_every_counter_of_the_night(night):
    found = flat(scrape(night))
    counters = {name: value for name, value in found.items() if "_total" in name}
    assert {name: value for name, value in counters.items() if value} == COUNTED
    assert counters["tmux_orch_messages_total{state=refused}"] == 0  # known from the beginning


def test_the_histograms_of_the_night(night):
    found = flat(scrape(night))
    name = "tmux_orch_project_duration_seconds"
    assert found[f"{name}_sum{{size=small,status=completed}}"] == 1000
    assert found[f"{name}_sum{{size=xlarge,status=completed}}"] == 1700
    large = {float(key.split("le=")[1][:-1]): value for key, value in found.items()
             if key.startswith(f"{name}_bucket{{size=large,status=failed")}  # fmt: skip
    bounds = [300, 900, 1800, 3600, 7200, 14400, 21600, 28800, 43200, 64800, 86400, float("inf")]
    assert large == {bound: int(bound >= 800) for bound in bounds}
    assert found["tmux_orch_fault_detection_seconds_sum{fault=login}"] == 120
    assert found["tmux_orch_fault_recovery_seconds_count{fault=login}"] == 1
    assert "tmux_orch_fault_recovery_seconds_count{fault=hung}" not in found
    delivery = {key: value for key, value in found.items() if key.startswith("tmux_orch_delivery_seconds")}
    assert delivery["tmux_orch_delivery_seconds_bucket{le=2.5}"] == 2
    assert delivery["tmux_orch_delivery_seconds_bucket{le=1}"] == 0
    assert delivery["tmux_orch_delivery_seconds_count"] == 3
    assert delivery["tmux_orch_delivery_seconds_sum"] == 1.5 + 2 + 7


def test_no_counter_goes_down_when_projects_are_forgotten(night):
    before = scrape(night)
    for number in (1, 2, 3, 6):
        assert upkeep.forget(night, number, 1.0)
    assert not upkeep.forget(night, 1, 1.0)  # it is gone: nothing is kept twice
    assert not upkeep.forget(night, 4, 7.0)  # it does not stand so
    assert scrape(night) == before
    assert stats.units(night, 0)["kpi_fault"] != []  # of project 4
    # ... and what comes later is added to it.
    night.move(4, "error", "tmo-complete")
    night.run("UPDATE project_queue SET completed_at = 1 WHERE id = 4")
    later = scrape(night)
    assert all(later[key] >= value for key, value in before.items())
    assert flat(later)["tmux_orch_projects_ended_total{size=small,status=failed}"] == 2
    assert upkeep.forget(night, 4, 1.0)
    assert upkeep.forget(night, 5, 1.0)
    assert scrape(night) == later


@pytest.mark.parametrize("chunk", [1, 7, 5000])
def test_no_counter_changes_when_projects_are_removed_by_hand(night, monkeypatch, chunk):
    monkeypatch.setattr(upkeep, "CHUNK", chunk)
    before = scrape(night)
    night.run("DELETE FROM project_queue WHERE id IN (2, 3, 5, 6)")
    assert scrape(night) == before
    assert upkeep.drop_loose(night, "event", 600.0) > 10  # some of what is known of each
    assert positive(scrape(night)) == pytest.approx(positive(before))
    assert upkeep.drop_loose(night, "event", 1e10) > 10
    assert not night.events(3)
    assert positive(scrape(night)) == pytest.approx(positive(before))
    assert upkeep.forget(night, 1, 1.0)  # what was kept already is not kept again
    assert positive(scrape(night)) == pytest.approx(positive(before))


def positive(found):
    return {key: value for key, value in found.items() if value}


def test_no_counter_goes_down_when_the_clock_is_set_back(night):
    was, before = "working", scrape(night)
    for at, state in ((700, "shell"), (1300, "working"), (1200, "idle")):
        event(night, "health", state, at, "tmo-health", project_id=4, role="tester", source=was, dest=state, looked_at=at)
        was, found = state, scrape(night)
        assert {key: value for key, value in before.items() if found[key] < value} == {}
        before = found
    assert flat(before)["tmux_orch_fault_recovery_seconds_sum{fault=shell}"] == 60 + 600


def test_an_undone_repair_takes_nothing_off_a_counter(night):
    name = "tmux_orch_failures_reversed_total"
    number = repairs(night, 3, "failed_done", "it is done", [("reinstate", "completed")])
    assert flat(scrape(night))[name] == 2
    undo = [("requeue", "queued"), ("error", "failed")]
    repairs(night, 3, "undo", f"undo of the repair in event {number}", undo, {"event": number})
    assert flat(scrape(night))[name] == 2


def test_what_the_database_counts_is_what_is_described(night):
    given = {re.sub(r"_(bucket|sum)$", "", row["name"]) for row in stats.samples(night)}
    views = "".join(row["sql"] for row in night.all("SELECT sql FROM sqlite_schema WHERE name GLOB 'metric_*'"))
    named = set(re.findall(r"'(tmux_orch_\w+)'", views))
    assert given <= named == set(metrics.METRICS)
    assert set(stats.buckets(night)) == {name for name, (kind, *_) in metrics.METRICS.items() if kind == "histogram"}


def test_a_database_in_which_nothing_happened(tmp_path):
    db = store.write(str(tmp_path / "task_queue.db"))
    found = flat(scrape(db))
    assert found["tmux_orch_auth_failures_total{found=start}"] == 0
    assert set(found.values()) == {0}


def test_prometheus_text_is_what_its_own_reader_reads_back(night):
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    families = metrics.families(stats.samples(night), stats.buckets(night))
    odd = {"name": "tmux_orch_x", "type": "gauge", "help": 'a "b"\nc',
           "samples": [{"name": "tmux_orch_x", "labels": {"line": 'a"\\\nb'}, "value": 1}]}  # fmt: skip
    read = list(text_string_to_metric_families(prometheus.text([*families, odd])))
    assert [(one.name, one.type) for one in read[:-1]] == [
        (name.removesuffix("_total"), kind) for name, (kind, *_) in metrics.METRICS.items()
    ]
    shown = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
             for one in read[:-1] for sample in one.samples}  # fmt: skip
    wanted = {(sample["name"], tuple(sorted(sample["labels"].items()))): sample["value"]
              for family in families for sample in family["samples"]}  # fmt: skip
    assert shown == wanted
    assert read[-1].samples[0].labels == {"line": 'a"\\\nb'}
