-- How other processes reach the one that holds a machine's tunnel. Times are microseconds, ids are 16-byte UUIDs. Changed by
-- the broker's writer task alone.

ALTER TABLE executors ADD COLUMN node_url TEXT; -- where `node` is reached; null when it is not

-- Each opens one line to a machine, once. Only the SHA-256 of a pass is kept: who can read this cannot dial.
CREATE TABLE executor_passes (
    expires_at  INTEGER NOT NULL,
    executor_id BLOB    NOT NULL,
    hash        BLOB    NOT NULL,
    PRIMARY KEY (hash)
) STRICT;

CREATE INDEX executor_passes_by_end ON executor_passes (expires_at);
