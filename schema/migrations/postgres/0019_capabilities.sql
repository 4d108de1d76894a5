-- Workers with different harnesses: each claims what it can drive.
ALTER TABLE sessions ADD COLUMN harness text COLLATE "C" NOT NULL DEFAULT 'native'; -- what the session's agent wants
UPDATE sessions s SET harness = d.agent::json ->> 'harness' FROM session_details d
    WHERE d.session = s.number AND d.agent::json ->> 'harness' IS NOT NULL;
ALTER TABLE owners ADD COLUMN harnesses text[]; -- those it has; null: it claims whatever is ready

-- What a claim scans; its condition must stand word for word in the query. A worker walks past what waits for a harness that it
-- does not have without reading it.
DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (workspace_id, harness, ready_at, number)
    WHERE ready_at IS NOT NULL AND owner IS NULL AND NOT quarantined AND archived_at IS NULL AND deleted_at IS NULL;

-- How many sessions of each of these workspaces are held, as of now and until the statement that asks ends: claims that count
-- ask one after the other. A statement sees what was committed when it began; what a volatile function asks is newer, so whoever
-- had to wait here sees what it waited for. Locks are taken in one order by all, and nobody waits for anything else meanwhile.
CREATE FUNCTION sessions_running(workspaces uuid[]) RETURNS TABLE (workspace uuid, running bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    lock_key integer;
BEGIN
    FOR lock_key IN SELECT DISTINCT hashtext(w.id::text) AS k FROM unnest(workspaces) AS w (id) ORDER BY k LOOP
        PERFORM pg_advisory_xact_lock(1885696622, lock_key);
    END LOOP;
    RETURN QUERY SELECT w.id, coalesce(r.held, 0)
        FROM unnest(workspaces) AS w (id) LEFT JOIN (
            SELECT s.workspace_id, count(*) AS held FROM sessions s WHERE s.owner IS NOT NULL GROUP BY s.workspace_id
        ) r ON r.workspace_id = w.id;
END $$;
