-- The columns that each append changes, side by side at the end of the row: of a changed row the write-ahead log carries what
-- lies between its first and its last changed byte. They kept their names; only their places are new.
ALTER TABLE sessions
    ADD COLUMN hot_revision bigint NOT NULL DEFAULT 1,
    ADD COLUMN hot_head bigint NOT NULL DEFAULT 0,
    ADD COLUMN hot_telling bigint,
    ADD COLUMN hot_updated_at timestamptz,
    ADD COLUMN hot_input_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN hot_output_tokens bigint NOT NULL DEFAULT 0;
UPDATE sessions SET hot_revision = revision, hot_head = head, hot_telling = telling, hot_updated_at = updated_at,
    hot_input_tokens = input_tokens, hot_output_tokens = output_tokens;
ALTER TABLE sessions
    DROP COLUMN revision,
    DROP COLUMN head,
    DROP COLUMN telling,
    DROP COLUMN updated_at,
    DROP COLUMN input_tokens,
    DROP COLUMN output_tokens;
ALTER TABLE sessions RENAME COLUMN hot_revision TO revision;
ALTER TABLE sessions RENAME COLUMN hot_head TO head;
ALTER TABLE sessions RENAME COLUMN hot_telling TO telling;
ALTER TABLE sessions RENAME COLUMN hot_updated_at TO updated_at;
ALTER TABLE sessions RENAME COLUMN hot_input_tokens TO input_tokens;
ALTER TABLE sessions RENAME COLUMN hot_output_tokens TO output_tokens;
ALTER TABLE sessions ALTER COLUMN updated_at SET NOT NULL;
