-- The registry of machines that dial in. Times are microseconds.

-- Only the SHA-256 of a token is kept; the plaintext is shown once.
CREATE TABLE executors (
    created_at   bigint  NOT NULL,
    last_seen_at bigint,                     -- the process `node` held its tunnel then
    generation   bigint  NOT NULL DEFAULT 0, -- grows with every connection; the newest is the only one that counts
    workspace_id uuid    NOT NULL,
    id           uuid    NOT NULL PRIMARY KEY,
    node         uuid,                       -- the process that holds its tunnel
    hash         bytea   NOT NULL,
    kind         text    NOT NULL,           -- device
    name         text    NOT NULL,
    card         text                        -- what it said of itself when it connected last
);

CREATE INDEX executors_by_age ON executors (workspace_id, created_at DESC, id DESC);
CREATE INDEX executors_by_node ON executors (node) WHERE node IS NOT NULL;

-- Only the SHA-256 of a code is kept.
CREATE TABLE executor_codes (
    expires_at   bigint  NOT NULL,
    workspace_id uuid    NOT NULL,
    id           uuid    NOT NULL,
    hash         bytea   NOT NULL,
    used         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, id)
);

CREATE UNIQUE INDEX executor_codes_by_hash ON executor_codes (hash);
CREATE INDEX executor_codes_by_end ON executor_codes (expires_at);
