-- Workers as whoever runs the servers sees them. Times are microseconds, ids are 16-byte UUIDs. Whose lease is whose stands in
-- `owners`, and is decided there alone.
CREATE TABLE workers (
    owner     BLOB    NOT NULL PRIMARY KEY,
    name      TEXT    NOT NULL,
    version   TEXT    NOT NULL,
    slots     INTEGER NOT NULL,
    harnesses TEXT    NOT NULL,                  -- a JSON list
    standing  TEXT    NOT NULL DEFAULT 'active' CHECK (standing IN ('active', 'cordoned', 'draining')),
    joined_at INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
