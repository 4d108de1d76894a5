-- Accounts: who may call, and the definitions sessions are made from. Owned by the api crate; the same tables as on SQLite.
-- Times are microseconds. Ids sort by bytes, as everywhere else: pages are cut by them.

CREATE TABLE workspaces (
    workspace_id text   COLLATE "C" NOT NULL PRIMARY KEY,
    name         text   NOT NULL,
    created_at   bigint NOT NULL
);

-- Several servers may start on an empty database at once: only one of them makes the first workspace.
CREATE UNIQUE INDEX workspaces_by_name ON workspaces (name);

-- Only the SHA-256 of a key is kept; the plaintext is shown once.
CREATE TABLE api_keys (
    workspace_id text   COLLATE "C" NOT NULL REFERENCES workspaces (workspace_id),
    id           text   COLLATE "C" NOT NULL PRIMARY KEY,
    name         text   NOT NULL,
    hash         bytea  NOT NULL CHECK (octet_length(hash) = 32),
    created_at   bigint NOT NULL,
    revoked_at   bigint
);

CREATE TABLE agents (
    workspace_id text   COLLATE "C" NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    version      bigint NOT NULL,
    created_at   bigint NOT NULL,
    archived_at  bigint,
    PRIMARY KEY (workspace_id, id)
);

CREATE INDEX agents_by_age ON agents (workspace_id, created_at DESC, id DESC);

-- Every version ever; never updated.
CREATE TABLE agent_versions (
    workspace_id text   COLLATE "C" NOT NULL,
    agent_id     text   COLLATE "C" NOT NULL,
    version      bigint NOT NULL,
    definition   text   NOT NULL,
    metadata     text   NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (workspace_id, agent_id, version)
);

CREATE TABLE environments (
    workspace_id text   COLLATE "C" NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    name         text   NOT NULL,
    description  text   NOT NULL,
    config       text   NOT NULL,
    metadata     text   NOT NULL,
    created_at   bigint NOT NULL,
    updated_at   bigint NOT NULL,
    archived_at  bigint,
    PRIMARY KEY (workspace_id, id)
);

CREATE UNIQUE INDEX environments_by_name ON environments (workspace_id, name) WHERE archived_at IS NULL;
CREATE INDEX environments_by_age ON environments (workspace_id, created_at DESC, id DESC);

-- Beside the effect, in the same transaction; the answer is rebuilt from the resource (INVARIANTS I19).
CREATE TABLE account_idempotency (
    workspace_id text   COLLATE "C" NOT NULL,
    scope        text   COLLATE "C" NOT NULL,
    key          text   COLLATE "C" NOT NULL,
    body_hash    text   NOT NULL,
    resource_id  text   NOT NULL,
    version      bigint NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (workspace_id, scope, key)
);

CREATE INDEX account_idempotency_by_age ON account_idempotency (workspace_id, created_at);
