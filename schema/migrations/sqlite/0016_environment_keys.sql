-- Keys of the workers of self-hosted environments. Owned by the api crate; only the SHA-256 of a key is kept. Times are microseconds.
CREATE TABLE environment_keys (
    workspace_id   TEXT    NOT NULL,
    environment_id TEXT    NOT NULL,
    id             TEXT    NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL,
    hash           BLOB    NOT NULL CHECK (length(hash) = 32),
    created_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX environment_keys_by_environment ON environment_keys (workspace_id, environment_id, created_at DESC, id DESC);
