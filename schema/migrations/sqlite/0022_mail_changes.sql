-- The order in which messages changed their state; see `Mailboxes::changes`.
ALTER TABLE messages ADD COLUMN change_no INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET change_no = position;
CREATE INDEX messages_by_change ON messages (change_no);
CREATE INDEX messages_changed ON messages (workspace_id, recipient, change_no, position);
