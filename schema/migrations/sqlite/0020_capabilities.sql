-- Workers with different harnesses: each claims what it can drive.
ALTER TABLE sessions ADD COLUMN harness TEXT NOT NULL DEFAULT 'native'; -- what the session's agent wants
UPDATE sessions SET harness = (SELECT coalesce(d.agent ->> '$.harness', 'native') FROM session_details d
    WHERE d.session = sessions.number)
WHERE number IN (SELECT session FROM session_details WHERE agent ->> '$.harness' IS NOT NULL);
ALTER TABLE owners ADD COLUMN harnesses TEXT; -- a JSON list of those it has; null: it claims whatever is ready
