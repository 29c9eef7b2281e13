-- An agent that is idle and not stuck any more (it answered between two looks) leaves an event too.
DROP TRIGGER health_changed;
CREATE TRIGGER health_changed AFTER UPDATE OF state, is_stuck ON agent_health
WHEN NEW.state <> OLD.state OR NEW.is_stuck > OLD.is_stuck OR (NEW.state = 'idle' AND NEW.is_stuck < OLD.is_stuck)
BEGIN
    INSERT INTO event (at, kind, name, project_id, role, pane_id, run, actor, source, dest, why, evidence, looked_at)
    VALUES (round((julianday('now') - 2440587.5) * 86400.0, 3), 'health', NEW.state, NEW.project_id, NEW.role,
            NEW.pane_id, NEW.run, 'tmo-health', OLD.state, NEW.state,
            CASE WHEN NEW.state = OLD.state AND NEW.is_stuck < OLD.is_stuck THEN 'unstuck'
                ELSE coalesce(NEW.dialog, NEW.detail, CASE WHEN NEW.state = OLD.state THEN 'stuck' END) END, NEW.evidence,
            max(coalesce(OLD.last_health_check_at, OLD.launched_at), coalesce(OLD.launched_at, OLD.last_health_check_at)));
END;

-- In which state an agent was while its project was processing. It passes while it can work, and is at fault while
-- somebody or something else has to act; what is unknown is neither.
DROP VIEW agent_span;
CREATE VIEW agent_span AS
WITH seen AS (
    SELECT id, project_id, role, dest AS state, source = dest AND why IS NOT 'unstuck' AS got_stuck, at, looked_at,
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

-- The faults of agents: from the first look that saw one to the first that saw the agent idle or working again, in the
-- same stretch of processing. What follows on a fault before that is part of it. The first is the first that was written
-- down: a later one may have an earlier time, by a clock that was set back.
DROP VIEW kpi_fault;
CREATE VIEW kpi_fault AS
WITH told AS (
    SELECT *, lag(is_fault) OVER w AS was_fault,
        min(CASE WHEN is_pass THEN event_id END) OVER (w ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS back_id
    FROM agent_span WHERE is_fault OR state IN ('working', 'idle')
    WINDOW w AS (PARTITION BY project_id, role, processing_at ORDER BY event_id)
), fault AS (
    SELECT *, max(processing_at, (SELECT at FROM event WHERE id = back_id)) AS back_at
    FROM told WHERE is_fault AND NOT coalesce(was_fault, 0)
)
SELECT project_id, role, state AS fault, since_at AS at, unseen_s AS detect_s, back_at AS recovered_at,
    max(0, back_at - since_at) AS recover_s
FROM fault;

-- The counts that need a project's own row are kept when it is removed; those of its events go with them.
CREATE TRIGGER project_removed BEFORE DELETE ON project_queue
BEGIN
    INSERT INTO metric_kept
    SELECT name, labels, sum(value) FROM metric_count
    WHERE project_id = OLD.id
        AND (name = 'tmux_orch_projects_ended_total' OR name GLOB 'tmux_orch_project_duration_seconds_*')
    GROUP BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value;
END;

-- The failed verdicts. One that tmo-start takes back at once, since the project has retries left, is none. What
-- tmo-repair-db did, and undid, is as if it had never been.
DROP VIEW kpi_failure;
CREATE VIEW kpi_failure AS
WITH undone AS (
    SELECT id FROM event WHERE kind = 'repair' AND name = 'undo'
    UNION ALL SELECT evidence ->> 'event' FROM event WHERE kind = 'repair' AND name = 'undo'
), step AS (
    SELECT project_id, at, name, why, evidence, lead(at) OVER w AS next_at, lead(name) OVER w AS next_name,
        lead(actor) OVER w AS next_actor
    FROM event e WHERE kind = 'status' AND NOT (
        actor = 'tmo-repair-db' AND coalesce((SELECT min(r.id) FROM event r WHERE r.project_id = e.project_id
            AND +r.kind = 'repair' AND r.id > e.id), 0) IN (SELECT id FROM undone))  -- the repair that it is a step of
    WINDOW w AS (PARTITION BY project_id ORDER BY id)
)
SELECT project_id, at, why, evidence, coalesce(next_name IN ('reinstate', 'recover'), 0) AS is_reversed,
    CASE WHEN next_name IN ('reinstate', 'recover') THEN next_at END AS reversed_at
FROM step WHERE name = 'error' AND NOT coalesce(next_name = 'requeue' AND next_actor = 'tmo-start', 0);

-- What every counter counts, a row a thing counted. Not grouped, so that what one project adds is found by its index.
-- What belongs to no project is counted until it is removed, and then kept as those are. A failure that was reversed is
-- counted though that was undone: no counter goes down.
DROP VIEW metric_count;
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
SELECT e.project_id, 'tmux_orch_failures_reversed_total', '{}', 1
FROM event e WHERE e.kind = 'status' AND e.name IN ('reinstate', 'recover')
    AND (SELECT f.name FROM event f WHERE f.project_id = e.project_id AND +f.kind = 'status' AND f.id < e.id
         ORDER BY f.id DESC LIMIT 1) = 'error'
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
