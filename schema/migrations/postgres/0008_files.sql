-- Uploaded files. Their content is a blob of the workspace. Owned by the api crate. Times are microseconds.
CREATE TABLE files (
    workspace_id text   COLLATE "C" NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    filename     text   NOT NULL,
    mime_type    text   NOT NULL,
    size_bytes   bigint NOT NULL,
    sha256       text   NOT NULL,
    created_at   bigint NOT NULL,
    archived_at  bigint,               -- files are not archived: lists of all resources ask alike
    PRIMARY KEY (workspace_id, id)
);

CREATE INDEX files_by_age ON files (workspace_id, created_at DESC, id DESC);
