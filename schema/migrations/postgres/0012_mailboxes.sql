-- Dead letters of a mailbox, counted where mailboxes are listed.
CREATE INDEX messages_dead ON messages (workspace_id, recipient) WHERE state = 'dead';
