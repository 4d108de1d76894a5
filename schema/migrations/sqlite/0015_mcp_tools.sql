-- Tools of MCP servers as they were let in. Times are microseconds, ids are 16-byte UUIDs that follow from workspace, server and name.
CREATE TABLE mcp_tools (
    workspace_id BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    url          TEXT    NOT NULL,
    card         TEXT    NOT NULL,                  -- JSON, as it was approved
    changed      TEXT,                              -- JSON, as its server shows it now, where that is something else
    approved_at  INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX mcp_tools_of_server ON mcp_tools (workspace_id, url);
CREATE INDEX mcp_tools_changed ON mcp_tools (workspace_id, id) WHERE changed IS NOT NULL;
