-- Metering: budgets, virtual keys of the model gateway, what was used. Times are microseconds, days are UTC days since the
-- epoch, money is millionths of a US dollar. Changed only in statements that commit by themselves.

CREATE TABLE budgets (
    day          bigint NOT NULL DEFAULT 0, -- which day `used` and `reserved` are of; 0 for one without days
    ceiling      bigint NOT NULL,           -- so much may be used
    used         bigint NOT NULL DEFAULT 0,
    reserved     bigint NOT NULL DEFAULT 0, -- for requests under way: the sum of its reservations of that day
    created_at   bigint NOT NULL,
    warn_percent bigint,
    workspace_id uuid   NOT NULL,
    id           uuid   NOT NULL,
    target       uuid   NOT NULL,           -- the key or session it is for; the workspace itself otherwise
    scope        text   NOT NULL,           -- workspace, key, session
    metric       text   NOT NULL,           -- requests, tokens, money
    period       text   NOT NULL,           -- total, day
    warned       boolean NOT NULL DEFAULT false, -- in this period
    PRIMARY KEY (workspace_id, id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

CREATE INDEX budgets_by_target ON budgets (workspace_id, target);
CREATE INDEX budgets_by_age ON budgets (workspace_id, created_at DESC, id DESC);

-- A request's place in a budget. Gone once it is settled, so settling twice counts once.
CREATE TABLE reservations (
    day          bigint NOT NULL,           -- of the budget it was taken from
    amount       bigint NOT NULL,
    deadline     bigint NOT NULL,           -- counted as reserved from then on
    workspace_id uuid   NOT NULL,
    id           uuid   NOT NULL,
    budget_id    uuid   NOT NULL,
    PRIMARY KEY (id, budget_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

CREATE INDEX reservations_deadline ON reservations (deadline);

-- Only the SHA-256 of a key is kept; the plaintext is shown once.
CREATE TABLE gateway_keys (
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    workspace_id uuid   NOT NULL,
    id           uuid   NOT NULL PRIMARY KEY,
    session_id   uuid,
    agent_id     uuid,
    kind         text   NOT NULL,           -- turn, session, workspace, executor
    name         text   NOT NULL,
    models       text,                      -- JSON arrays; NULL allows all
    providers    text,
    hash         bytea  NOT NULL CHECK (octet_length(hash) = 32)
);

CREATE INDEX gateway_keys_by_age ON gateway_keys (workspace_id, created_at DESC, id DESC) WHERE kind <> 'turn';

-- One row per model request, kept for a while.
CREATE TABLE traces (
    at           bigint NOT NULL,
    status       bigint NOT NULL,
    input_tokens                bigint NOT NULL,
    output_tokens               bigint NOT NULL,
    cache_creation_input_tokens bigint NOT NULL,
    cache_read_input_tokens     bigint NOT NULL,
    microusd     bigint NOT NULL,
    ttft_ms      bigint,
    duration_ms  bigint NOT NULL,
    workspace_id uuid   NOT NULL,
    id           uuid   NOT NULL,
    session_id   uuid,
    agent_id     uuid,
    key_id       uuid,
    provider     text   NOT NULL,
    model        text   NOT NULL,
    wire         text   NOT NULL,
    error        text,
    streamed     boolean NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX traces_by_age ON traces (workspace_id, at DESC, id DESC);
CREATE INDEX traces_by_session ON traces (workspace_id, session_id, at DESC, id DESC) WHERE session_id IS NOT NULL;
CREATE INDEX traces_old ON traces (at);

-- Their sums, kept for good. A request without a session or an agent has the nil id there.
CREATE TABLE usage_days (
    day          bigint NOT NULL,
    requests     bigint NOT NULL,
    errors       bigint NOT NULL,
    input_tokens                bigint NOT NULL,
    output_tokens               bigint NOT NULL,
    cache_creation_input_tokens bigint NOT NULL,
    cache_read_input_tokens     bigint NOT NULL,
    microusd     bigint NOT NULL,
    workspace_id uuid   NOT NULL,
    session_id   uuid   NOT NULL,
    agent_id     uuid   NOT NULL,
    model        text   NOT NULL,
    PRIMARY KEY (workspace_id, day, session_id, agent_id, model)
) WITH (fillfactor = 80);

-- The budget a session rests for, and how much room it needs there.
ALTER TABLE sessions ADD COLUMN budget_hold uuid;
ALTER TABLE sessions ADD COLUMN budget_need bigint;
CREATE INDEX sessions_budget_hold ON sessions (workspace_id, budget_hold) WHERE budget_hold IS NOT NULL;
