-- The span in which a message was sent, as a `traceparent`.
ALTER TABLE messages ADD COLUMN trace text;
