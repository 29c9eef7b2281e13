-- What a person is to be told of, by the notify command: the row stands before the command is run, since the event's own
-- transaction makes it.
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
