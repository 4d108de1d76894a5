-- Workers as whoever runs the servers sees them. Times are microseconds. Whose lease is whose stands in `owners`, and is decided
-- there alone.
CREATE TABLE workers (
    owner     uuid   PRIMARY KEY,
    name      text   NOT NULL,
    version   text   NOT NULL,
    slots     bigint NOT NULL,
    harnesses text   NOT NULL,                   -- a JSON list
    standing  text   NOT NULL DEFAULT 'active' CHECK (standing IN ('active', 'cordoned', 'draining')),
    joined_at bigint NOT NULL,
    seen_at   bigint NOT NULL
) WITH (fillfactor = 50);
