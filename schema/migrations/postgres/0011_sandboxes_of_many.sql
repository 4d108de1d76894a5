-- Sandboxes that one process wants and another one makes. Times and spans are microseconds.
ALTER TABLE sandboxes ALTER COLUMN instance DROP NOT NULL; -- null until an instance has taken it
ALTER TABLE sandboxes ADD COLUMN used_until bigint NOT NULL DEFAULT 0; -- somebody uses it until then, unless it is said again
ALTER TABLE sandboxes ADD COLUMN used_by    uuid;                      -- the one process that does; null when several do
ALTER TABLE sandboxes ADD COLUMN troubles   bigint NOT NULL DEFAULT 0; -- how often something was tried in vain
ALTER TABLE sandboxes ADD COLUMN trouble    text;                      -- the last time
UPDATE sandboxes SET used_until = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- Processes that make them.
CREATE TABLE sandbox_hosts (
    seen_at    bigint NOT NULL,
    lost_after bigint NOT NULL,             -- unseen for so long, it is lost with what it made
    instance   uuid   NOT NULL PRIMARY KEY, -- of its sandboxes
    node       uuid   NOT NULL,             -- the process
    home       text   NOT NULL,             -- machine and folder
    engine     text,
    trouble    text,
    defaults   text   NOT NULL
);
