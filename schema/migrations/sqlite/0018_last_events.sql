-- What happened last in a session, in few words (JSON), written with the append that brings it: lists show it and read no log.
ALTER TABLE sessions ADD COLUMN last_event TEXT;
-- The sessions in which somebody allowed or denied something.
CREATE INDEX answers_confirmed ON answers (session) WHERE way = 'confirmation';
