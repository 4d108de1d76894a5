-- Keys of the workers of self-hosted environments. Owned by the api crate; only the SHA-256 of a key is kept. Times are microseconds.
CREATE TABLE environment_keys (
    workspace_id   text   NOT NULL,
    environment_id text   NOT NULL,
    id             text   PRIMARY KEY,
    name           text   NOT NULL,
    hash           bytea  NOT NULL CHECK (length(hash) = 32),
    created_at     bigint NOT NULL
);

CREATE INDEX environment_keys_by_environment ON environment_keys (workspace_id, environment_id, created_at DESC, id DESC);
