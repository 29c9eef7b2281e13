"""Databases as the older system left them, built here: a schema an era, its variants, its indexes, and the dirt of real
rows."""

import contextlib
import sqlite3

NOW = 1795000000.0  # when these files were current

# Each era's project_queue: what was added, in the order in which real files have it.
FIRST = """id INTEGER PRIMARY KEY AUTOINCREMENT, spec_path TEXT NOT NULL, project_path TEXT, status TEXT DEFAULT 'queued',
    enqueued_at REAL DEFAULT (strftime('%s','now')), started_at REAL, completed_at REAL, priority INTEGER DEFAULT 0,
    error_message TEXT"""
BATCHES = ["batch_id TEXT", "retry_count INTEGER DEFAULT 0", "enhanced_spec_path TEXT"]
SESSIONS = ["orchestrator_session TEXT", "main_session TEXT"]
FRESH = ["fresh_start INTEGER DEFAULT 0"]
NAME = ["session_name TEXT DEFAULT NULL"]
MERGED = ["merged_status TEXT DEFAULT NULL", "merged_at REAL DEFAULT NULL"]
VALID = ["spec_requirements TEXT", "validation_score REAL DEFAULT 0", "validation_details TEXT", "spec_version TEXT"]
NEVER = ["process_pid INTEGER", "notes TEXT", "ended_at REAL", "processing_started_at REAL", "project_name TEXT"]
COLUMNS = [*BATCHES, *SESSIONS, *FRESH, *NAME, *MERGED, *VALID]
ERAS = {
    "85ec46c": [],
    "2b9fb99": [*BATCHES, *SESSIONS],
    "9fc10af": [*BATCHES, *SESSIONS, *FRESH],
    "0c3c9b3": [*SESSIONS, *BATCHES, *FRESH, *NAME],  # the order in real files of these days
    "failure_handler_first": [*SESSIONS],
    "e2d50e3": [*SESSIONS, *BATCHES, *FRESH, *NAME, *MERGED],
    "887c908": COLUMNS,
    "head_alone": [*BATCHES, *SESSIONS, *VALID],  # never had session_name
    "never_created": [*COLUMNS, *NEVER],
}
VARIANTS = {
    "queue_status": f"""CREATE TABLE project_queue ({FIRST}, batch_id TEXT, orchestrator_session TEXT, main_session TEXT,
        log_file TEXT, retry_count INTEGER DEFAULT 0, fresh_start BOOLEAN DEFAULT 0, auto_orchestrate_args TEXT,
        failed_components TEXT, research_session_id TEXT, UNIQUE(spec_path, status) ON CONFLICT IGNORE)""",
    "scheduler_enhanced": """CREATE TABLE project_queue (id INTEGER PRIMARY KEY AUTOINCREMENT, spec_path TEXT NOT NULL,
        project_name TEXT, status TEXT DEFAULT 'queued', queued_at REAL, started_at REAL, completed_at REAL,
        error_message TEXT, batch_id TEXT, session_name TEXT, orchestrator_session TEXT, main_session TEXT)""",
    "bare": "CREATE TABLE project_queue (id INTEGER PRIMARY KEY, spec_path TEXT, status TEXT)",
    "odd": 'CREATE TABLE project_queue ("ID" INTEGER PRIMARY KEY, "Spec_Path", "STATUS", "a column", "quote""d" BLOB)',
}
SCHEMAS = {name: f"CREATE TABLE project_queue ({', '.join([FIRST, *more])})" for name, more in ERAS.items()} | VARIANTS
TASKS = """CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, session_name TEXT NOT NULL, agent_role TEXT NOT NULL,
    window_index INTEGER NOT NULL, next_run REAL, interval_minutes INTEGER NOT NULL, note TEXT, last_run REAL,
    created_at REAL DEFAULT (strftime('%s','now')), retry_count INTEGER DEFAULT 0, max_retries INTEGER DEFAULT 3)"""
OTHERS = [
    TASKS,
    "CREATE TABLE scheduler_state (key TEXT PRIMARY KEY, value TEXT)",
    """CREATE TABLE agent_health (id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER, session_name TEXT NOT NULL,
       agent_name TEXT NOT NULL, window_index INTEGER, last_health_check TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
       is_stuck BOOLEAN DEFAULT FALSE, stuck_since TIMESTAMP, recovery_attempts INTEGER DEFAULT 0, health_data TEXT)""",
    """CREATE TABLE message_queue (id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL, message TEXT NOT NULL,
       priority INTEGER DEFAULT 0, sequence_number INTEGER NOT NULL DEFAULT 0, dependency_id INTEGER,
       project_name TEXT, status TEXT DEFAULT 'pending', enqueued_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, pulled_at TEXT,
       delivered_at TIMESTAMP, delivery_method TEXT DEFAULT 'queued', fifo_scope TEXT DEFAULT 'agent')""",
    "CREATE TABLE sequence_generator (name TEXT PRIMARY KEY, current_value INTEGER DEFAULT 0)",
    "CREATE TABLE agents (agent_id TEXT PRIMARY KEY, project_name TEXT, status TEXT DEFAULT 'active', last_error TEXT)",
    "CREATE TABLE agent_context (agent_id TEXT PRIMARY KEY, last_briefing TIMESTAMP, briefing_content TEXT)",
    "CREATE TABLE session_events (id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL, event_type TEXT NOT NULL)",
    "CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TIMESTAMP)",
    """CREATE TABLE task_queue (id INTEGER PRIMARY KEY, scheduled_time REAL NOT NULL, note TEXT NOT NULL,
       target_window TEXT NOT NULL, status TEXT DEFAULT 'pending', created_at REAL, executed_at REAL, session_name TEXT,
       agent_role TEXT)""",
]
INDEXES = [
    "CREATE INDEX idx_project_queue_status ON project_queue(status)",
    "CREATE INDEX idx_project_queue_priority ON project_queue(priority, enqueued_at)",
    "CREATE INDEX idx_project_queue_batch ON project_queue(batch_id)",
    "CREATE INDEX idx_project_queue_retry ON project_queue(retry_count)",
    "CREATE INDEX idx_project_queue_main_session ON project_queue(main_session)",
    "CREATE INDEX idx_merged_status ON project_queue(merged_status)",
    "CREATE INDEX idx_status_merged ON project_queue(status, merged_status)",
    """CREATE UNIQUE INDEX idx_unique_active_project ON project_queue(spec_path, project_path)
       WHERE status IN ('queued','processing')""",
    """CREATE UNIQUE INDEX idx_unique_processing_session ON project_queue(main_session)
       WHERE status='processing' AND main_session IS NOT NULL""",
]
WORDS = [
    "queued", "processing", "completed", "COMPLETED", "failed", "FAILED", "timing_out", "zombie", "recovered", "retried",
    "permanently_failed", "credit_paused", "merged", "cancelled", "superseded", "archived", "PROCESSING", " Failed ", "",
    None, "what", 7,
]  # fmt: skip
TIMES = [
    1755.5e6,
    "2025-08-21T14:03:05.123456",
    "2025-08-21 13:03:05",
    None,
    "",
    "soon",
    1755500000,
    "1755500000.5",
    -1,
    9e99,
    b"x",
]
NAMES = [
    None,
    "",
    "web-impl-1a2b3c4d",
    "web-impl-1a2b3c4d:0",
    "vso-monitor-android--1956158c",
    "web-impl",
    "a b:1.2",
    5,
    b"\xff",
]
SPECS = [
    "/specs/web.md",
    "ORPHANED_SESSION_web-impl-1a2b3c4d",
    "registry/orphaned/x/unknown-spec.md",
    "größer.md",
    "",
    "/x\n\x07y",
]


def build(path, schema="887c908", rows=(), indexes=False, wal=False, others=True):
    """A database file with these project rows (dicts; columns that the era lacks are left out)."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}")
        db.execute(SCHEMAS[schema])
        for statement in [*(OTHERS if others else ()), *(INDEXES if indexes else ())]:
            with contextlib.suppress(sqlite3.OperationalError):  # an index on a column of a later era
                db.execute(statement)
        for row in rows:
            insert(db, "project_queue", row)
        db.commit()
    return path


def insert(db, table, row):
    there = {column[1].lower(): column[1] for column in db.execute(f'PRAGMA table_info("{table}")')}
    row = {name: value for name, value in row.items() if name.lower() in there}
    names = ", ".join('"' + there[name.lower()].replace('"', '""') + '"' for name in row)
    db.execute(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(row))})', tuple(row.values()))
