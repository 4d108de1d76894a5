-- The name an agent takes mail under; empty when it takes none.
ALTER TABLE agents ADD COLUMN mail_name TEXT NOT NULL DEFAULT '';
CREATE INDEX agents_with_mail ON agents (workspace_id, mail_name, created_at) WHERE mail_name > '';
