-- Mail. Times are microseconds, ids are 16-byte UUIDs. Changed by the broker's writer task alone.
CREATE TABLE messages (
    position     INTEGER PRIMARY KEY AUTOINCREMENT, -- order of sending
    workspace_id BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    sender       TEXT    NOT NULL,
    recipient    TEXT    NOT NULL,
    direct       INTEGER NOT NULL,                  -- for a session or an agent: handed over, not received
    subject      TEXT,
    content      TEXT    NOT NULL,
    thread       TEXT    NOT NULL,
    in_reply_to  BLOB,
    metadata     TEXT    NOT NULL,
    hops         INTEGER NOT NULL,
    deliver_at   INTEGER,
    expires_at   INTEGER,
    state        TEXT    NOT NULL CHECK (state IN ('queued', 'leased', 'delivered', 'acknowledged', 'dead', 'cancelled')),
    reason       TEXT,
    session_id   BLOB,                              -- that has it in its log
    due_at       INTEGER NOT NULL,                  -- not to be taken before
    round        INTEGER NOT NULL DEFAULT 0,        -- grows with every taking
    deliveries   INTEGER NOT NULL DEFAULT 0,        -- since it was sent or replayed
    untold       INTEGER NOT NULL DEFAULT 0,        -- dead, and its sender does not know
    created_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX messages_by_id ON messages (workspace_id, id);
CREATE INDEX messages_of_mailbox ON messages (workspace_id, recipient, position);
CREATE INDEX messages_open ON messages (workspace_id, recipient, due_at) WHERE state IN ('queued', 'leased');
CREATE INDEX messages_to_hand_over ON messages (due_at) WHERE state = 'queued' AND direct = true;
CREATE INDEX messages_of_pair ON messages (workspace_id, sender, recipient, position) WHERE state = 'queued' AND deliver_at IS NULL;
CREATE INDEX messages_of_session ON messages (workspace_id, session_id, changed_at) WHERE session_id IS NOT NULL;
CREATE INDEX messages_untold ON messages (position) WHERE untold = true;
CREATE INDEX messages_by_end ON messages (changed_at) WHERE state IN ('delivered', 'acknowledged', 'dead', 'cancelled');

-- Which session answers a thread of an agent's mail.
CREATE TABLE mail_threads (
    workspace_id BLOB NOT NULL,
    agent_id     BLOB NOT NULL,
    thread       TEXT NOT NULL,
    session_id   BLOB NOT NULL,
    PRIMARY KEY (workspace_id, agent_id, thread)
) STRICT, WITHOUT ROWID;
