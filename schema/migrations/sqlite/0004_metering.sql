-- Metering: budgets, virtual keys of the model gateway, what was used. Times are microseconds, days are UTC days since the
-- epoch, money is millionths of a US dollar. Ids are 16-byte UUIDs. Changed by the
-- broker's writer task alone.

CREATE TABLE budgets (
    day          INTEGER NOT NULL DEFAULT 0, -- which day `used` and `reserved` are of; 0 for one without days
    ceiling      INTEGER NOT NULL,           -- so much may be used
    used         INTEGER NOT NULL DEFAULT 0,
    reserved     INTEGER NOT NULL DEFAULT 0, -- for requests under way: the sum of its reservations of that day
    created_at   INTEGER NOT NULL,
    warn_percent INTEGER,
    workspace_id BLOB   NOT NULL,
    id           BLOB   NOT NULL,
    target       BLOB   NOT NULL,           -- the key or session it is for; the workspace itself otherwise
    scope        TEXT   NOT NULL,           -- workspace, key, session
    metric       TEXT   NOT NULL,           -- requests, tokens, money
    period       TEXT   NOT NULL,           -- total, day
    warned       INTEGER NOT NULL DEFAULT 0, -- in this period
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE INDEX budgets_by_target ON budgets (workspace_id, target);
CREATE INDEX budgets_by_age ON budgets (workspace_id, created_at DESC, id DESC);

-- A request's place in a budget. Gone once it is settled, so settling twice counts once.
CREATE TABLE reservations (
    day          INTEGER NOT NULL,           -- of the budget it was taken from
    amount       INTEGER NOT NULL,
    deadline     INTEGER NOT NULL,           -- counted as reserved from then on
    workspace_id BLOB   NOT NULL,
    id           BLOB   NOT NULL,
    budget_id    BLOB   NOT NULL,
    PRIMARY KEY (id, budget_id)
) STRICT;

CREATE INDEX reservations_deadline ON reservations (deadline);

-- Only the SHA-256 of a key is kept; the plaintext is shown once.
CREATE TABLE gateway_keys (
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    workspace_id BLOB   NOT NULL,
    id           BLOB   NOT NULL PRIMARY KEY,
    session_id   BLOB,
    agent_id     BLOB,
    kind         TEXT   NOT NULL,           -- turn, session, workspace, executor
    name         TEXT   NOT NULL,
    models       TEXT,                      -- JSON arrays; NULL allows all
    providers    TEXT,
    hash         BLOB  NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX gateway_keys_by_age ON gateway_keys (workspace_id, created_at DESC, id DESC) WHERE kind <> 'turn';

-- One row per model request, kept for a while.
CREATE TABLE traces (
    at           INTEGER NOT NULL,
    status       INTEGER NOT NULL,
    input_tokens                INTEGER NOT NULL,
    output_tokens               INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cache_read_input_tokens     INTEGER NOT NULL,
    microusd     INTEGER NOT NULL,
    ttft_ms      INTEGER,
    duration_ms  INTEGER NOT NULL,
    workspace_id BLOB   NOT NULL,
    id           BLOB   NOT NULL,
    session_id   BLOB,
    agent_id     BLOB,
    key_id       BLOB,
    provider     TEXT   NOT NULL,
    model        TEXT   NOT NULL,
    wire         TEXT   NOT NULL,
    error        TEXT,
    streamed     INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;

CREATE INDEX traces_by_age ON traces (workspace_id, at DESC, id DESC);
CREATE INDEX traces_by_session ON traces (workspace_id, session_id, at DESC, id DESC) WHERE session_id IS NOT NULL;
CREATE INDEX traces_old ON traces (at);

-- Their sums, kept for good. A request without a session or an agent has the nil id there.
CREATE TABLE usage_days (
    day          INTEGER NOT NULL,
    requests     INTEGER NOT NULL,
    errors       INTEGER NOT NULL,
    input_tokens                INTEGER NOT NULL,
    output_tokens               INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cache_read_input_tokens     INTEGER NOT NULL,
    microusd     INTEGER NOT NULL,
    workspace_id BLOB   NOT NULL,
    session_id   BLOB   NOT NULL,
    agent_id     BLOB   NOT NULL,
    model        TEXT   NOT NULL,
    PRIMARY KEY (workspace_id, day, session_id, agent_id, model)
) STRICT;

-- The budget a session rests for, and how much room it needs there.
ALTER TABLE sessions ADD COLUMN budget_hold BLOB;
ALTER TABLE sessions ADD COLUMN budget_need INTEGER;
CREATE INDEX sessions_budget_hold ON sessions (workspace_id, budget_hold) WHERE budget_hold IS NOT NULL;
