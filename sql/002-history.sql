-- Where an agent's own history of prompts (Codex) stood before the paste.
ALTER TABLE message ADD COLUMN history_at INTEGER;
