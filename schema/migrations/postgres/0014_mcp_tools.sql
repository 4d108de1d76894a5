-- Tools of MCP servers as they were let in. Times are microseconds; ids follow from workspace, server and name.
CREATE TABLE mcp_tools (
    workspace_id uuid   NOT NULL,
    id           uuid   NOT NULL,
    url          text   NOT NULL,
    card         text   NOT NULL,                   -- JSON, as it was approved
    changed      text,                              -- JSON, as its server shows it now, where that is something else
    approved_at  bigint NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

CREATE INDEX mcp_tools_of_server ON mcp_tools (workspace_id, url);
CREATE INDEX mcp_tools_changed ON mcp_tools (workspace_id, id) WHERE changed IS NOT NULL;
