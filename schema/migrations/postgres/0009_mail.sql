-- Mail. Times are microseconds.
CREATE TABLE messages (
    position     bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- order of sending
    workspace_id uuid    NOT NULL,
    id           uuid    NOT NULL,
    sender       text    NOT NULL,
    recipient    text    NOT NULL,
    direct       boolean NOT NULL,               -- for a session or an agent: handed over, not received
    subject      text,
    content      text    NOT NULL,
    thread       text    NOT NULL,
    in_reply_to  uuid,
    metadata     text    NOT NULL,
    hops         bigint  NOT NULL,
    deliver_at   bigint,
    expires_at   bigint,
    state        text    NOT NULL CHECK (state IN ('queued', 'leased', 'delivered', 'acknowledged', 'dead', 'cancelled')),
    reason       text,
    session_id   uuid,                           -- that has it in its log
    due_at       bigint  NOT NULL,               -- not to be taken before
    round        bigint  NOT NULL DEFAULT 0,     -- grows with every taking
    deliveries   bigint  NOT NULL DEFAULT 0,     -- since it was sent or replayed
    untold       boolean NOT NULL DEFAULT false, -- dead, and its sender does not know
    created_at   bigint  NOT NULL,
    changed_at   bigint  NOT NULL
);

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
    workspace_id uuid NOT NULL,
    agent_id     uuid NOT NULL,
    thread       text NOT NULL,
    session_id   uuid NOT NULL,
    PRIMARY KEY (workspace_id, agent_id, thread)
);
