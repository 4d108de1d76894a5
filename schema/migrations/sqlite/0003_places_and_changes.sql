-- Where a session's workspace is, and the order in which summaries of sessions changed.

-- The executor (one per data directory) that has the workspace; none before the first tool call.
ALTER TABLE sessions ADD COLUMN place BLOB;
-- Grows within a tenant with every change a list of sessions shows; see `Sessions::changes`.
ALTER TABLE sessions ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET changed = number;
CREATE INDEX sessions_changed ON sessions (workspace_id, changed, number);

-- Whose workspaces an owner reaches.
ALTER TABLE owners ADD COLUMN place BLOB;
