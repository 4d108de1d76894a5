-- How other processes reach the one that holds a machine's tunnel. Times are microseconds.

ALTER TABLE executors ADD COLUMN node_url text; -- where `node` is reached; null when it is not

-- Each opens one line to a machine, once. Only the SHA-256 of a pass is kept: who can read this cannot dial.
CREATE TABLE executor_passes (
    expires_at  bigint NOT NULL,
    executor_id uuid   NOT NULL,
    hash        bytea  NOT NULL PRIMARY KEY
);

CREATE INDEX executor_passes_by_end ON executor_passes (expires_at);
