-- One row per append instead of one per event: what is written together stands together. A row is its session's, and with it
-- its tenant's: nothing reads this table but through a session's row.

CREATE TABLE commits (
    session      bigint      NOT NULL,
    first_seq    bigint      NOT NULL,             -- number of the first event; the last is first_seq + octet_length(ids) / 16 - 1
    turn         bigint      NOT NULL,
    at           timestamptz NOT NULL,
    -- An ambiguous commit is looked up here (I2): by index where a client said it, near the end of the log where a holder did,
    -- who repeats nothing but its latest. None on copies.
    append_id    uuid,
    holder_append_id uuid,
    ids          bytea       NOT NULL,             -- the events' ids, 16 bytes each
    events       bytea       NOT NULL,             -- everything else of them; broker/src/log/packed says how
    PRIMARY KEY (session, first_seq),
    CHECK (octet_length(ids) > 0 AND octet_length(ids) % 16 = 0)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1, toast_tuple_target = 4080);

-- Already compressed, and read whole.
ALTER TABLE commits ALTER COLUMN events SET STORAGE EXTERNAL, ALTER COLUMN ids SET STORAGE EXTERNAL;

-- Event by event, in the plain form. What became of appends of several goes where that of appends without events is.
CREATE FUNCTION pg_temp.field(value bytea) RETURNS bytea LANGUAGE sql AS
    $$ SELECT coalesce(int4send(octet_length(value)) || value, ''::bytea) $$;

INSERT INTO commits (session, first_seq, turn, at, append_id, ids, events)
SELECT session, seq, turn, created_at, CASE WHEN appended = 1 THEN append_id END, uuid_send(id),
    '\x00'::bytea
    || set_byte('\x00'::bytea, 0, (private IS NOT NULL)::integer + (actor IS NOT NULL)::integer * (2 + 8)
        + (thread_id IS NOT NULL)::integer * 4)
    || pg_temp.field(convert_to(kind, 'UTF8'))
    || pg_temp.field(convert_to(actor, 'UTF8'))
    || pg_temp.field(convert_to(thread_id, 'UTF8'))
    || pg_temp.field(payload)
    || pg_temp.field(private)
FROM events ORDER BY session, seq;

INSERT INTO appends (session, first_seq, last_seq, turn, at, append_id, workspace_id)
SELECT session, seq, seq + appended - 1, turn, created_at, append_id, workspace_id FROM events WHERE appended > 1
ON CONFLICT DO NOTHING;

DROP TABLE events;

-- Ids come first: they grow with time, so what many sessions write at one moment shares a page.
CREATE UNIQUE INDEX commits_append ON commits (append_id, session) WHERE append_id IS NOT NULL;

-- A stored event never changes, and goes only with its whole (deleted) session (I1).
CREATE TRIGGER commits_never_change BEFORE UPDATE ON commits
    FOR EACH ROW EXECUTE FUNCTION events_are_append_only();
CREATE TRIGGER commits_are_not_emptied BEFORE TRUNCATE ON commits
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();
CREATE TRIGGER commits_go_with_their_session BEFORE DELETE ON commits
    FOR EACH ROW EXECUTE FUNCTION events_go_with_their_session();

DO $$
BEGIN
    REVOKE UPDATE, DELETE, TRUNCATE ON commits FROM perennial_app;
EXCEPTION
    WHEN undefined_object THEN NULL;
END $$;
