-- What the figures are made of: spans, the units that each KPI counts, and counters that outlive tmo-prune. The views
-- and their columns are documented in tmuxorch(7) and are stable.

-- Of a health event: the look before it, or the agent's launch. The change came after that.
ALTER TABLE event ADD COLUMN looked_at REAL;

-- An agent that got stuck without another state (idle for too long) leaves an event too, from its state to its state.
DROP TRIGGER health_changed;
CREATE TRIGGER health_changed AFTER UPDATE OF state, is_stuck ON agent_health
WHEN NEW.state <> OLD.state OR NEW.is_stuck > OLD.is_stuck
BEGIN
    INSERT INTO event (at, kind, name, project_id, role, pane_id, run, actor, source, dest, why, evidence, looked_at)
    VALUES (round((julianday('now') - 2440587.5) * 86400.0, 3), 'health', NEW.state, NEW.project_id, NEW.role,
            NEW.pane_id, NEW.run, 'tmo-health', OLD.state, NEW.state,
            coalesce(NEW.dialog, NEW.detail, CASE WHEN NEW.state = OLD.state THEN 'stuck' END), NEW.evidence,
            max(coalesce(OLD.last_health_check_at, OLD.launched_at), coalesce(OLD.launched_at, OLD.last_health_check_at)));
END;

-- In which status a project was, and when. Open ends are NULL. A clock that was set back makes no span negative.
CREATE VIEW project_span AS
SELECT project_id, dest AS status, name AS event, actor, at AS since_at,
    max(at, lead(at) OVER (PARTITION BY project_id ORDER BY id)) AS until_at
FROM event WHERE kind = 'status';

-- In which state an agent was while its project was processing. It passes while it can work, and is at fault while
-- somebody or something else has to act; what is unknown is neither.
CREATE VIEW agent_span AS
WITH seen AS (
    SELECT id, project_id, role, dest AS state, source = dest AS got_stuck, at, looked_at,
        max(at, lead(at) OVER (PARTITION BY project_id, role ORDER BY id)) AS next_at
    FROM event WHERE kind = 'health' AND role IS NOT NULL  -- a pause is of the whole project
)
SELECT s.id AS event_id, s.project_id, s.role, s.state,
    s.state IN ('starting', 'working', 'idle') AND NOT s.got_stuck AS is_pass,
    s.state IN ('draft', 'dialog', 'api_error', 'context_full', 'hung', 'shell', 'dead', 'missing', 'login', 'limited')
        OR s.got_stuck AS is_fault,
    max(s.at, p.since_at) AS since_at,
    nullif(min(coalesce(s.next_at, 1e12), coalesce(p.until_at, 1e12)), 1e12) AS until_at,
    p.since_at AS processing_at,
    CASE WHEN s.at >= p.since_at THEN max(0, s.at - s.looked_at) END AS unseen_s
FROM seen s JOIN project_span p ON p.project_id = s.project_id AND p.status = 'processing'
    AND p.since_at < coalesce(s.next_at, 1e12) AND coalesce(p.until_at, 1e12) > s.at;

-- The failed verdicts. One that tmo-start takes back at once, since the project has retries left, is none.
CREATE VIEW kpi_failure AS
WITH step AS (
    SELECT project_id, at, name, why, evidence, lead(at) OVER w AS next_at, lead(name) OVER w AS next_name,
        lead(actor) OVER w AS next_actor
    FROM event WHERE kind = 'status' WINDOW w AS (PARTITION BY project_id ORDER BY id)
)
SELECT project_id, at, why, evidence, coalesce(next_name IN ('reinstate', 'recover'), 0) AS is_reversed,
    CASE WHEN next_name IN ('reinstate', 'recover') THEN next_at END AS reversed_at
FROM step WHERE name = 'error' AND NOT coalesce(next_name = 'requeue' AND next_actor = 'tmo-start', 0);

-- What a person did to a project once it was queued: moved it, wrote to its agents, or held it back.
CREATE VIEW kpi_intervention AS
SELECT coalesce(project_id, CAST(substr(coalesce(dest, source), 9) AS INTEGER)) AS project_id, at, kind, name, actor, why
FROM event
WHERE (actor GLOB 'user/*' OR actor = 'sql') AND (
    kind = 'status' AND name <> 'enqueue'
    OR kind = 'message' AND source IS NULL AND project_id IS NOT NULL
    OR kind = 'hold' AND coalesce(dest, source) GLOB 'project/?*');

-- The projects that were started here, each with its present end: NULL while it is not at one.
CREATE VIEW kpi_project AS
SELECT p.id AS project_id, p.size, p.status,
    CASE WHEN p.status IN ('completed', 'failed', 'cancelled') THEN
        (SELECT max(at) FROM event WHERE project_id = p.id AND kind = 'status' AND dest = p.status) END AS at
FROM project_queue p
WHERE EXISTS (SELECT 1 FROM event WHERE project_id = p.id AND kind = 'status'
              AND name NOT IN ('enqueue', 'requeue', 'cancel', 'reinstate'));

-- The losses of a login. `at` is when its hold ended, NULL while it lasts.
CREATE VIEW kpi_login AS
SELECT id AS hold_id, name, since_at, released_at AS at, max(0, released_at - since_at) AS recover_s,
    coalesce(released_by GLOB 'user/*' OR released_by = 'sql', released_at IS NOT NULL) AS is_by_hand
FROM hold WHERE cause = 'login';

-- The faults of agents: from the first look that saw one to the first that saw the agent idle or working again, in the
-- same stretch of processing. What follows on a fault before that is part of it.
CREATE VIEW kpi_fault AS
WITH told AS (
    SELECT *, lag(is_fault) OVER w AS was_fault,
        min(CASE WHEN is_pass THEN since_at END) OVER (w ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS back_at
    FROM agent_span WHERE is_fault OR state IN ('working', 'idle')
    WINDOW w AS (PARTITION BY project_id, role, processing_at ORDER BY event_id)
)
SELECT project_id, role, state AS fault, since_at AS at, unseen_s AS detect_s, back_at AS recovered_at,
    max(0, back_at - since_at) AS recover_s
FROM told WHERE is_fault AND NOT coalesce(was_fault, 0);

-- The messages whose end is known. Their wait counts from the call, or from when they were due.
CREATE VIEW kpi_message AS
SELECT m.id AS message_id, m.project_id, e.at, e.dest AS state, e.dest = 'submitted' AS is_delivered,
    max(0, e.at - max(m.created_at, m.due_at)) AS wait_s
FROM message m
JOIN event e ON e.id = (SELECT max(id) FROM event WHERE kind = 'message' AND message_id = m.id)
WHERE e.dest IN ('submitted', 'refused', 'typed', 'unknown', 'expired');

-- What each end of a project took, from when it came to `processing`.
CREATE VIEW project_duration AS
WITH ended AS (
    SELECT e.project_id, e.at, e.dest AS status,
        (SELECT min(p.at) FROM event p WHERE p.project_id = e.project_id AND +p.kind = 'status' AND p.dest = 'processing'
             AND p.id < e.id AND p.id > coalesce((SELECT max(s.id) FROM event s WHERE s.project_id = e.project_id
                 AND +s.kind = 'status' AND s.name = 'start' AND s.id < e.id), 0)) AS began_at
    FROM event e WHERE e.kind = 'status' AND e.name IN ('finalize', 'error')
)
SELECT ended.project_id, q.size, ended.status, ended.at, max(0, ended.at - ended.began_at) AS duration_s
FROM ended JOIN project_queue q ON q.id = ended.project_id WHERE ended.began_at IS NOT NULL;

-- A message's newest event is asked for by its number.
CREATE INDEX event_message ON event (message_id, id) WHERE message_id IS NOT NULL;

-- The observations that histograms are made of, and the upper bounds of their buckets.
CREATE VIEW metric_observed AS
SELECT project_id, 'tmux_orch_project_duration_seconds' AS name, json_object('size', size, 'status', status) AS labels,
    duration_s AS value FROM project_duration
UNION ALL
SELECT project_id, 'tmux_orch_fault_detection_seconds', json_object('fault', fault), detect_s
FROM kpi_fault WHERE detect_s IS NOT NULL
UNION ALL
SELECT project_id, 'tmux_orch_fault_recovery_seconds', json_object('fault', fault), recover_s
FROM kpi_fault WHERE recover_s IS NOT NULL
UNION ALL
SELECT project_id, 'tmux_orch_delivery_seconds', '{}', wait_s FROM kpi_message WHERE is_delivered;

CREATE VIEW metric_bucket AS
WITH bound(name, bounds) AS (VALUES
    ('tmux_orch_project_duration_seconds', '[300, 900, 1800, 3600, 7200, 14400, 21600, 28800, 43200, 64800, 86400]'),
    ('tmux_orch_fault_detection_seconds', '[15, 30, 60, 120, 300, 600, 1800, 3600]'),
    ('tmux_orch_fault_recovery_seconds', '[30, 60, 120, 300, 600, 1800, 3600, 14400]'),
    ('tmux_orch_delivery_seconds', '[0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600]'))
SELECT name, value AS le, CAST(value AS TEXT) AS label FROM bound, json_each(bounds)
UNION ALL SELECT name, 9e999, '+Inf' FROM bound;

-- What every counter counts, a row a thing counted. Not grouped, so that what one project adds is found by its index.
-- What belongs to no project is counted until it is removed, and then kept as those are.
CREATE VIEW metric_count AS
SELECT project_id, 'tmux_orch_auth_failures_total' AS name, '{"found":"work"}' AS labels, 1 AS value
FROM event WHERE kind = 'health' AND dest = 'login' AND source <> dest
UNION ALL
SELECT NULL, 'tmux_orch_auth_failures_total', '{"found":"start"}', 1
FROM hold WHERE cause = 'login' AND actor = 'tmo-start'
UNION ALL
SELECT project_id, 'tmux_orch_messages_total', json_object('state', dest), 1
FROM event WHERE kind = 'message' AND dest IN ('submitted', 'refused', 'typed', 'unknown', 'expired')
UNION ALL
SELECT project_id, 'tmux_orch_message_failures_total', json_object('state', dest), 1
FROM event WHERE kind = 'message' AND dest IN ('refused', 'typed', 'unknown', 'expired')
UNION ALL
SELECT e.project_id, 'tmux_orch_projects_ended_total', json_object('size', p.size, 'status', e.dest), 1
FROM event e JOIN project_queue p ON p.id = e.project_id
WHERE e.kind = 'status' AND e.dest IN ('completed', 'failed', 'cancelled') AND e.name <> 'enqueue'
UNION ALL
SELECT project_id, 'tmux_orch_failures_reversed_total', '{}', 1 FROM kpi_failure WHERE is_reversed
UNION ALL
SELECT project_id, 'tmux_orch_interventions_total', '{}', 1
FROM event WHERE (actor GLOB 'user/*' OR actor = 'sql')
    AND (kind = 'status' AND name <> 'enqueue' OR kind = 'message' AND source IS NULL OR kind = 'hold')
UNION ALL
SELECT project_id, 'tmux_orch_faults_total', json_object('fault', fault), 1 FROM kpi_fault
UNION ALL
SELECT project_id, 'tmux_orch_recoveries_total', json_object('action', name, 'result', coalesce(dest, 'done')), 1
FROM event WHERE kind = 'recovery'
UNION ALL
SELECT project_id, 'tmux_orch_agent_seconds_total', json_object('state', state), until_at - since_at
FROM agent_span WHERE until_at IS NOT NULL
UNION ALL
SELECT o.project_id, o.name || '_bucket', json_set(o.labels, '$.le', b.label), 1
FROM metric_observed o JOIN metric_bucket b ON b.name = o.name AND o.value <= b.le
UNION ALL
SELECT project_id, name || '_sum', labels, value FROM metric_observed;

-- The counts of projects that tmo-prune removed: no counter goes down.
CREATE TABLE metric_kept (
    name   TEXT NOT NULL,
    labels TEXT NOT NULL CHECK (json_valid(labels)),
    value  ANY NOT NULL,                 -- a whole number stays one
    PRIMARY KEY (name, labels)
) STRICT;

CREATE VIEW metric_counter AS
SELECT name, labels, sum(value) AS value
FROM (SELECT name, labels, value FROM metric_count UNION ALL SELECT name, labels, value FROM metric_kept)
GROUP BY name, labels;

-- What is so at this moment.
CREATE VIEW metric_gauge AS
SELECT 'tmux_orch_stuck_agents' AS name, '{}' AS labels, count(*) AS value
FROM agent_health a JOIN project_queue p ON p.id = a.project_id WHERE p.status = 'processing' AND a.is_stuck
UNION ALL
SELECT 'tmux_orch_needs_human_agents', '{}', count(*)
FROM agent_health a JOIN project_queue p ON p.id = a.project_id WHERE p.status = 'processing' AND a.needs_human
UNION ALL
SELECT 'tmux_orch_agents', json_object('state', a.state), count(*)
FROM agent_health a JOIN project_queue p ON p.id = a.project_id WHERE p.status = 'processing' GROUP BY a.state
UNION ALL
SELECT 'tmux_orch_projects', json_object('status', status), count(*) FROM project_queue GROUP BY status
UNION ALL
SELECT 'tmux_orch_holds', json_object('cause', cause), count(*) FROM hold
WHERE released_at IS NULL AND coalesce(until_at, 1e12) > (julianday('now') - 2440587.5) * 86400.0 GROUP BY cause
UNION ALL
SELECT 'tmux_orch_open_messages', '{}', count(*) FROM message WHERE state IN ('queued', 'typing', 'accepted', 'held')
UNION ALL
SELECT 'tmux_orch_cron_last_run_timestamp_seconds', json_object('line', name, 'host', host), started_at FROM heartbeat
UNION ALL
SELECT 'tmux_orch_cron_last_run_status', json_object('line', name, 'host', host), status FROM heartbeat
WHERE status IS NOT NULL;
