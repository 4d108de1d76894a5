-- The registry of machines that dial in. Times are microseconds, ids are 16-byte UUIDs. Changed by the broker's writer task
-- alone.

-- Only the SHA-256 of a token is kept; the plaintext is shown once.
CREATE TABLE executors (
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER,                    -- the process `node` held its tunnel then
    generation   INTEGER NOT NULL DEFAULT 0, -- grows with every connection; the newest is the only one that counts
    workspace_id BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    node         BLOB,                       -- the process that holds its tunnel
    hash         BLOB    NOT NULL,
    kind         TEXT    NOT NULL,           -- device
    name         TEXT    NOT NULL,
    card         TEXT,                       -- what it said of itself when it connected last
    PRIMARY KEY (id)
) STRICT;

CREATE INDEX executors_by_age ON executors (workspace_id, created_at DESC, id DESC);
CREATE INDEX executors_by_node ON executors (node) WHERE node IS NOT NULL;

-- Only the SHA-256 of a code is kept.
CREATE TABLE executor_codes (
    expires_at   INTEGER NOT NULL,
    workspace_id BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    hash         BLOB    NOT NULL,
    used         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE UNIQUE INDEX executor_codes_by_hash ON executor_codes (hash);
CREATE INDEX executor_codes_by_end ON executor_codes (expires_at);
