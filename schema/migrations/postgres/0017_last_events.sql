-- The commit with what happened last in a session, by its first seq: lists show the beginning of its words.
ALTER TABLE sessions ADD COLUMN telling bigint;
-- The sessions in which somebody allowed or denied something.
CREATE INDEX answers_confirmed ON answers (session) WHERE way = 'confirmation';
