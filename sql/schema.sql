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
) STRICT;

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

CREATE TRIGGER health_changed AFTER UPDATE OF state ON agent_health
WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO event (at, kind, name, project_id, role, pane_id, run, actor, source, dest, why, evidence)
    VALUES (round((julianday('now') - 2440587.5) * 86400.0, 3), 'health', NEW.state, NEW.project_id, NEW.role,
            NEW.pane_id, NEW.run, 'tmo-health', OLD.state, NEW.state, coalesce(NEW.dialog, NEW.detail), NEW.evidence);
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
