-- What was taken over from another system's database, once each: its record as it stood there.
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
