-- Uploaded files. Their content is a blob of the workspace. Owned by the api crate. Times are microseconds.
CREATE TABLE files (
    workspace_id TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    filename     TEXT    NOT NULL,
    mime_type    TEXT    NOT NULL,
    size_bytes   INTEGER NOT NULL,
    sha256       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    archived_at  INTEGER,              -- files are not archived: lists of all resources ask alike
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE INDEX files_by_age ON files (workspace_id, created_at DESC, id DESC);
