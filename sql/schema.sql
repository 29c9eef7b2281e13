-- The schema after all migrations. Made by `make schema`; a test compares.

CREATE TABLE state_transition (
    event  TEXT NOT NULL,
    source TEXT NOT NULL,
    dest   TEXT NOT NULL,
    PRIMARY KEY (source, dest)
) STRICT;

CREATE TABLE project_queue (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL CHECK (name <> ''),
    status         TEXT NOT NULL DEFAULT 'queued' CHECK (status IN (
                       'queued', 'initializing', 'authenticating', 'setting_up', 'processing',
                       'completing', 'completed', 'failed', 'recovering', 'cancelled')),
    status_at      REAL,                 -- last change of the status
    session_name   TEXT,
    project_path   TEXT,                 -- real path of the directory that the agents work in
    spec_path      TEXT,
    size           TEXT NOT NULL DEFAULT 'medium' CHECK (size IN ('small', 'medium', 'large', 'xlarge')),
    priority       INTEGER NOT NULL DEFAULT 0,     -- higher starts sooner
    agent          TEXT NOT NULL,
    roles          TEXT NOT NULL,        -- comma-separated, the lead first
    batch_id       TEXT,
    depends_on     TEXT,                 -- comma-separated ids
    verify_command TEXT,
    enqueued_at    REAL NOT NULL,
    started_at     REAL,                 -- when it came to `processing`; grace counts from here
    completed_at   REAL,                 -- when it came to its present terminal status
    retry_count    INTEGER NOT NULL DEFAULT 0,
    max_retries    INTEGER NOT NULL DEFAULT 0,
    rework_count   INTEGER NOT NULL DEFAULT 0,
    error_message  TEXT,
    host           TEXT,                 -- the machine that runs it, its boot and its tmux server
    boot_id        TEXT,
    server         TEXT,                 -- tmux server: PID@START
    run            TEXT,                 -- one id a start of the project
    base_commit    TEXT,                 -- HEAD when it started
    base_dirty     INTEGER,              -- changed or untracked files when it started
    claimed_by     TEXT,
    claimed_until  REAL,
    actor          TEXT,                 -- handed to the event of the next status change, then cleared
    why            TEXT,
    evidence       TEXT,
    CHECK (status NOT IN ('processing', 'completing') OR (session_name IS NOT NULL AND session_name <> ''))
) STRICT;

CREATE INDEX project_queue_due ON project_queue (priority DESC, id) WHERE status = 'queued';

CREATE INDEX project_queue_running ON project_queue (project_path)
    WHERE status IN ('initializing', 'authenticating', 'setting_up', 'processing', 'completing', 'recovering');

CREATE TABLE event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         REAL NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN (
                   'status', 'health', 'message', 'hold', 'launch', 'end', 'recovery', 'trust', 'auth',
                   'done', 'completion', 'notice', 'repair', 'import', 'prune')),
    name       TEXT,                     -- what happened, in one word of that kind
    project_id INTEGER,                  -- no foreign key: history outlives the row it speaks of
    role       TEXT,
    pane_id    TEXT,
    run        TEXT,
    message_id INTEGER,
    actor      TEXT NOT NULL,            -- the command, the role, or `sql`
    source     TEXT,
    dest       TEXT,
    why        TEXT,
    evidence   TEXT CHECK (evidence IS NULL OR json_valid(evidence))
, looked_at REAL) STRICT;

CREATE INDEX event_project ON event (project_id, id);

CREATE INDEX event_kind ON event (kind, at);

CREATE TABLE agent_health (
    id                   INTEGER PRIMARY KEY,
    project_id           INTEGER NOT NULL REFERENCES project_queue (id) ON DELETE CASCADE,
    role                 TEXT NOT NULL,
    agent                TEXT NOT NULL,
    host                 TEXT NOT NULL,
    pane_id              TEXT,
    window_index         INTEGER,
    run                  TEXT,           -- one id a launch, the pane's @tmo_run
    conversation_id      TEXT,
    agent_home           TEXT,           -- where this agent keeps its registry and transcripts
    launched_at          REAL,
    state                TEXT NOT NULL DEFAULT 'unknown' CHECK (state IN (
                             'starting', 'working', 'idle', 'draft', 'dialog', 'login', 'limited', 'api_error',
                             'context_full', 'hung', 'shell', 'dead', 'missing', 'unknown')),
    detail               TEXT,
    dialog               TEXT,
    evidence             TEXT CHECK (evidence IS NULL OR json_valid(evidence)),
    since_at             REAL,           -- the first look that saw this state
    confirmed            INTEGER NOT NULL DEFAULT 0 CHECK (confirmed IN (0, 1)),
    is_stuck             INTEGER NOT NULL DEFAULT 0 CHECK (is_stuck IN (0, 1)),
    stuck_since          REAL,
    reset_at             REAL,
    last_activity_at     REAL,
    last_health_check_at REAL,
    recovery_attempts    INTEGER NOT NULL DEFAULT 0,
    last_recovery_at     REAL,
    next_recovery_at     REAL,
    needs_human          INTEGER NOT NULL DEFAULT 0 CHECK (needs_human IN (0, 1)), process TEXT,
    UNIQUE (project_id, role)
) STRICT;

CREATE INDEX agent_health_stuck ON agent_health (project_id) WHERE is_stuck = 1;

CREATE TABLE message (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    key             TEXT NOT NULL UNIQUE,
    project_id      INTEGER REFERENCES project_queue (id) ON DELETE CASCADE,
    role            TEXT,
    target          TEXT NOT NULL,       -- as the caller gave it
    text            TEXT NOT NULL,
    state           TEXT NOT NULL DEFAULT 'queued' CHECK (state IN (
                        'queued', 'typing', 'submitted', 'accepted', 'held', 'refused', 'typed', 'unknown', 'expired')),
    evidence        TEXT,                -- the channel that proved it
    reason          TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    actor           TEXT NOT NULL,
    created_at      REAL NOT NULL,
    due_at          REAL NOT NULL,
    expires_at      REAL NOT NULL,
    next_attempt_at REAL NOT NULL,
    typed_at        REAL,
    closed_at       REAL,
    duration_s      REAL,                -- from the call to the proof
    pane_id         TEXT,
    pane_pid        INTEGER,
    server          TEXT,
    run             TEXT,                -- the pane's @tmo_run when it was typed
    conversation_id TEXT,
    transcript      TEXT,
    transcript_at   INTEGER,             -- the transcript's length in bytes before the paste
    hook_at         INTEGER,             -- the hook log's length before the paste
    taken_at        INTEGER              -- where in the transcript its prompt was found
, history_at INTEGER) STRICT;

CREATE INDEX message_open ON message (next_attempt_at) WHERE state IN ('queued', 'typing', 'accepted', 'held');

CREATE INDEX message_pane ON message (pane_id, typed_at) WHERE typed_at IS NOT NULL;

CREATE INDEX message_project ON message (project_id, role);

CREATE TABLE hold (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL CHECK (
                      name = 'all' OR name GLOB 'agent/?*' OR name GLOB 'batch/?*' OR name GLOB 'project/?*'),
    cause         TEXT NOT NULL CHECK (cause IN ('login', 'limit', 'manual')),
    why           TEXT,
    actor         TEXT NOT NULL,
    since_at      REAL NOT NULL,
    until_at      REAL,                  -- past it the hold no longer counts
    released_at   REAL,
    released_by   TEXT,
    credential    TEXT,                  -- fingerprint of the credential that was rejected
    probes        INTEGER NOT NULL DEFAULT 0,
    next_probe_at REAL,
    pilot         TEXT                   -- the one agent (ID/role) that came back first
) STRICT;

CREATE UNIQUE INDEX hold_open ON hold (name) WHERE released_at IS NULL;

CREATE TABLE heartbeat (
    name        TEXT NOT NULL,
    host        TEXT NOT NULL,
    started_at  REAL NOT NULL,
    finished_at REAL,
    status      INTEGER,
    PRIMARY KEY (name, host)
) STRICT;

CREATE TABLE auth_check (
    agent      TEXT NOT NULL,
    directory  TEXT NOT NULL,
    host       TEXT NOT NULL,
    checked_at REAL NOT NULL,
    result     TEXT NOT NULL CHECK (json_valid(result)),
    PRIMARY KEY (agent, directory, host)
) STRICT;

CREATE TRIGGER project_status_legal BEFORE UPDATE OF status ON project_queue
WHEN NEW.status <> OLD.status
    AND NOT EXISTS (SELECT 1 FROM state_transition WHERE source = OLD.status AND dest = NEW.status)
BEGIN
    SELECT RAISE(ABORT, 'status change is not in state_transition');
END;

CREATE TRIGGER project_insert_new BEFORE INSERT ON project_queue
WHEN EXISTS (SELECT 1 FROM project_queue WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'project exists already');
END;

CREATE TRIGGER project_id_fixed BEFORE UPDATE OF id ON project_queue
WHEN NEW.id <> OLD.id
BEGIN
    SELECT RAISE(ABORT, 'the id of a project never changes');
END;

CREATE TRIGGER project_enqueued AFTER INSERT ON project_queue
BEGIN
    INSERT INTO event (at, kind, name, project_id, actor, dest, why, evidence)
    VALUES (round((julianday('now') - 2440587.5) * 86400.0, 3), 'status', 'enqueue', NEW.id,
            coalesce(NEW.actor, 'sql'), NEW.status, NEW.why, NEW.evidence);
    UPDATE project_queue SET actor = NULL, why = NULL, evidence = NULL,
        status_at = coalesce(NEW.status_at, round((julianday('now') - 2440587.5) * 86400.0, 3))
    WHERE id = NEW.id;
END;

CREATE TRIGGER project_status_changed AFTER UPDATE OF status ON project_queue
WHEN NEW.status <> OLD.status
    OR EXISTS (SELECT 1 FROM state_transition WHERE source = OLD.status AND dest = NEW.status)
BEGIN
    INSERT INTO event (at, kind, name, project_id, run, actor, source, dest, why, evidence)
    SELECT round((julianday('now') - 2440587.5) * 86400.0, 3), 'status', event, NEW.id, NEW.run,
           coalesce(NEW.actor, 'sql'), OLD.status, NEW.status, NEW.why, NEW.evidence
    FROM state_transition WHERE source = OLD.status AND dest = NEW.status;
    UPDATE project_queue SET
        actor = NULL, why = NULL, evidence = NULL,
        status_at = round((julianday('now') - 2440587.5) * 86400.0, 3),
        started_at = CASE
            WHEN NEW.status = 'queued' THEN NULL
            WHEN NEW.status = 'processing' THEN
                coalesce(NEW.started_at, round((julianday('now') - 2440587.5) * 86400.0, 3))
            ELSE NEW.started_at END,
        completed_at = CASE WHEN NEW.status IN ('completed', 'failed', 'cancelled')
            THEN round((julianday('now') - 2440587.5) * 86400.0, 3) END,
        error_message = CASE
            WHEN NEW.status = 'failed' THEN coalesce(NEW.why, NEW.error_message)
            WHEN NEW.status IN ('queued', 'processing', 'completed') THEN NULL
            ELSE NEW.error_message END,
        session_name = CASE WHEN NEW.status = 'queued' THEN NULL ELSE NEW.session_name END,
        claimed_by = CASE WHEN NEW.status IN ('initializing', 'authenticating', 'setting_up', 'completing', 'recovering')
            THEN NEW.claimed_by END,
        claimed_until = CASE WHEN NEW.status IN ('initializing', 'authenticating', 'setting_up', 'completing', 'recovering')
            THEN NEW.claimed_until END
    WHERE id = NEW.id;
END;

CREATE TRIGGER event_append_only BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER message_queued AFTER INSERT ON message
BEGIN
    INSERT INTO event (at, kind, name, project_id, role, pane_id, message_id, actor, dest, why)
    VALUES (NEW.created_at, 'message', NEW.state, NEW.project_id, NEW.role, NEW.pane_id, NEW.id, NEW.actor, NEW.state,
            NEW.reason);
END;

CREATE TRIGGER message_changed AFTER UPDATE OF state ON message
WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO event (at, kind, name, project_id, role, pane_id, run, message_id, actor, source, dest, why, evidence)
    VALUES (round((julianday('now') - 2440587.5) * 86400.0, 3), 'message', NEW.state, NEW.project_id, NEW.role,
            NEW.pane_id, NEW.run, NEW.id, NEW.actor, OLD.state, NEW.state, NEW.reason,
            CASE WHEN NEW.evidence IS NOT NULL THEN json_array(NEW.evidence) END);
END;

CREATE TRIGGER hold_set AFTER INSERT ON hold
BEGIN
    INSERT INTO event (at, kind, name, actor, dest, why)
    VALUES (NEW.since_at, 'hold', 'hold', NEW.actor, NEW.name, NEW.why);
END;

CREATE TRIGGER hold_released AFTER UPDATE OF released_at ON hold
WHEN OLD.released_at IS NULL AND NEW.released_at IS NOT NULL
BEGIN
    INSERT INTO event (at, kind, name, actor, source, why)
    VALUES (NEW.released_at, 'hold', 'release', coalesce(NEW.released_by, 'sql'), NEW.name, NEW.why);
END;

CREATE TABLE imported (
    key         TEXT PRIMARY KEY,        -- the same record in any copy of that database
    kind        TEXT NOT NULL CHECK (kind IN ('project', 'task', 'message')),
    old_id      INTEGER NOT NULL,
    project_id  INTEGER,                 -- no foreign key: what was pruned is not taken over anew
    source      TEXT NOT NULL,           -- the file
    imported_at REAL NOT NULL,
    raw         TEXT NOT NULL CHECK (json_valid(raw)),
    evidence    TEXT CHECK (evidence IS NULL OR json_valid(evidence))  -- of completion, as the old records have it
) STRICT;

CREATE INDEX imported_project ON imported (project_id);

CREATE VIEW project_span AS
SELECT project_id, dest AS status, name AS event, actor, at AS since_at,
    max(at, lead(at) OVER (PARTITION BY project_id ORDER BY id)) AS until_at
FROM event WHERE kind = 'status';

CREATE VIEW kpi_intervention AS
SELECT coalesce(project_id, CAST(substr(coalesce(dest, source), 9) AS INTEGER)) AS project_id, at, kind, name, actor, why
FROM event
WHERE (actor GLOB 'user/*' OR actor = 'sql') AND (
    kind = 'status' AND name <> 'enqueue'
    OR kind = 'message' AND source IS NULL AND project_id IS NOT NULL
    OR kind = 'hold' AND coalesce(dest, source) GLOB 'project/?*');

CREATE VIEW kpi_project AS
SELECT p.id AS project_id, p.size, p.status,
    CASE WHEN p.status IN ('completed', 'failed', 'cancelled') THEN
        (SELECT max(at) FROM event WHERE project_id = p.id AND kind = 'status' AND dest = p.status) END AS at
FROM project_queue p
WHERE EXISTS (SELECT 1 FROM event WHERE project_id = p.id AND kind = 'status'
              AND name NOT IN ('enqueue', 'requeue', 'cancel', 'reinstate'));

CREATE VIEW kpi_login AS
SELECT id AS hold_id, name, since_at, released_at AS at, max(0, released_at - since_at) AS recover_s,
    coalesce(released_by GLOB 'user/*' OR released_by = 'sql', released_at IS NOT NULL) AS is_by_hand
FROM hold WHERE cause = 'login';

CREATE VIEW kpi_message AS
SELECT m.id AS message_id, m.project_id, e.at, e.dest AS state, e.dest = 'submitted' AS is_delivered,
    max(0, e.at - max(m.created_at, m.due_at)) AS wait_s
FROM message m
JOIN event e ON e.id = (SELECT max(id) FROM event WHERE kind = 'message' AND message_id = m.id)
WHERE e.dest IN ('submitted', 'refused', 'typed', 'unknown', 'expired');

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

CREATE INDEX event_message ON event (message_id, id) WHERE message_id IS NOT NULL;

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

CREATE TABLE notification (
    event_id     INTEGER PRIMARY KEY REFERENCES event (id) ON DELETE CASCADE,
    state        TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'sent', 'skipped', 'failed')),
    subject      TEXT,                   -- what it is about: the same is not told again for a while
    attempts     INTEGER NOT NULL DEFAULT 0,
    attempted_at REAL,
    why          TEXT                    -- why it was skipped, or failed
) STRICT;

CREATE INDEX notification_open ON notification (event_id) WHERE state IN ('queued', 'sending');

CREATE INDEX notification_attempted ON notification (attempted_at) WHERE attempted_at IS NOT NULL;

CREATE TRIGGER event_added AFTER INSERT ON event
WHEN NEW.kind IN ('notice', 'auth')
    OR (NEW.kind = 'status' AND NEW.name <> 'enqueue' AND NEW.dest IN ('failed', 'completed'))
    OR (NEW.kind = 'hold' AND NEW.name = 'hold')
BEGIN
    INSERT INTO notification (event_id) VALUES (NEW.id);
END;

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

CREATE TRIGGER project_removed BEFORE DELETE ON project_queue
BEGIN
    INSERT INTO metric_kept
    SELECT name, labels, sum(value) FROM metric_count
    WHERE project_id = OLD.id
        AND (name = 'tmux_orch_projects_ended_total' OR name GLOB 'tmux_orch_project_duration_seconds_*')
    GROUP BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value;
END;

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
