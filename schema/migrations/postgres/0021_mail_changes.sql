-- The commit that last changed the state of a message; see `Mailboxes::changes`. A server of an older version, which knows nothing
-- of it, says it with each message that it sends.
ALTER TABLE messages ADD COLUMN change_no bigint NOT NULL DEFAULT 0;
ALTER TABLE messages ALTER COLUMN change_no SET DEFAULT pg_current_xact_id()::text::bigint;
CREATE INDEX messages_changed ON messages (workspace_id, recipient, change_no, position);
