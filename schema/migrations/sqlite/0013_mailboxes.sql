-- Dead letters of a mailbox, counted where mailboxes are listed.
CREATE INDEX messages_dead ON messages (workspace_id, recipient) WHERE state = 'dead';

-- A task's part of a message, as JSON, and whether somebody still waits for its end.
ALTER TABLE messages ADD COLUMN task TEXT;
ALTER TABLE messages ADD COLUMN task_open INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_of_tasks ON messages (position) WHERE task_open = true;
