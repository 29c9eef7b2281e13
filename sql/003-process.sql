-- The agent's process at the last look, as PANE_PID PID STARTED NAME: the next look asks for that one before it searches.
ALTER TABLE agent_health ADD COLUMN process TEXT;
