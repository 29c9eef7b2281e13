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
