-- One row per append instead of one per event: what is written together stands together.

-- `position` is `session << 32 | first_seq`: the table itself is ordered by session and seq, so replay is one range scan and
-- an append touches one leaf. The last seq is first_seq + length(ids) / 16 - 1.
CREATE TABLE commits (
    position     INTEGER PRIMARY KEY,
    session      INTEGER NOT NULL REFERENCES sessions (number),
    workspace_id BLOB    NOT NULL,
    append_id    BLOB,                          -- an ambiguous commit is looked up here (I2); none on copies and on old rows
    turn         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    ids          BLOB    NOT NULL CHECK (length(ids) > 0 AND length(ids) % 16 = 0), -- the events' ids, 16 bytes each
    events       BLOB    NOT NULL               -- everything else of them; broker/src/log/packed says how
) STRICT;

-- Event by event, in the plain form; what became of their appends is in `appends`. (`||` joins blobs as they are, and calls the
-- result text.)
INSERT INTO commits (position, session, workspace_id, turn, at, ids, events)
SELECT position, session, workspace_id, turn, created_at, id, CAST(
    x'00' || unhex(printf('%02x', (private IS NOT NULL) + (actor IS NOT NULL) * 2 + (thread_id IS NOT NULL) * 4))
    || unhex(printf('%08x', octet_length(kind))) || CAST(kind AS BLOB)
    || coalesce(unhex(printf('%08x', octet_length(actor))) || CAST(actor AS BLOB), x'')
    || coalesce(unhex(printf('%08x', octet_length(thread_id))) || CAST(thread_id AS BLOB), x'')
    || unhex(printf('%08x', octet_length(payload))) || CAST(payload AS BLOB)
    || coalesce(unhex(printf('%08x', octet_length(private))) || CAST(private AS BLOB), x'') AS BLOB)
FROM events ORDER BY position;

DROP TABLE events;

-- Ids come first: they grow with time, so what many sessions write at one moment shares a page.
CREATE UNIQUE INDEX commits_append ON commits (append_id, session) WHERE append_id IS NOT NULL;

-- A stored event never changes, and goes only with its whole (deleted) session (I1).
CREATE TRIGGER commits_never_change BEFORE UPDATE ON commits
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
CREATE TRIGGER commits_go_with_their_session BEFORE DELETE ON commits
WHEN EXISTS (SELECT 1 FROM sessions WHERE number = OLD.session AND deleted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
