-- Accounts: who may call, and the definitions sessions are made from. Owned by the api crate. Times are microseconds.

CREATE TABLE workspaces (
    workspace_id TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

-- Only the SHA-256 of a key is kept; the plaintext is shown once.
CREATE TABLE api_keys (
    workspace_id TEXT    NOT NULL REFERENCES workspaces (workspace_id),
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER
) STRICT;

CREATE TABLE agents (
    workspace_id TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    archived_at  INTEGER,
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX agents_by_age ON agents (workspace_id, created_at DESC, id DESC);

-- Every version ever; never updated.
CREATE TABLE agent_versions (
    workspace_id TEXT    NOT NULL,
    agent_id     TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    definition   TEXT    NOT NULL,
    metadata     TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, agent_id, version)
) STRICT;

CREATE TABLE environments (
    workspace_id TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    config       TEXT    NOT NULL,
    metadata     TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    archived_at  INTEGER,
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE UNIQUE INDEX environments_by_name ON environments (workspace_id, name) WHERE archived_at IS NULL;
CREATE INDEX environments_by_age ON environments (workspace_id, created_at DESC, id DESC);

-- Beside the effect, in the same transaction; the answer is rebuilt from the resource (INVARIANTS I19).
CREATE TABLE account_idempotency (
    workspace_id TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    body_hash    TEXT    NOT NULL,
    resource_id  TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX account_idempotency_by_age ON account_idempotency (created_at);
