"""An MCP server of somebody else's, on the official Python SDK: what its tools are called and say is in the folder it is given, and
what they did is written there.

usage: server.py FOLDER LEGACY|MODERN      (its port is written to FOLDER/port)
"""

import asyncio
import json
import socket
import sys
from pathlib import Path

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse

FOLDER = Path(sys.argv[1])
MODERN = sys.argv[2] == "MODERN"
OBJECT = {"type": "object"}
NEWS = InMemorySubscriptionBus()


def described(name, fallback):
    """What a tool says of itself now."""
    path = FOLDER / f"{name}.txt"
    return path.read_text() if path.exists() else fallback


def note(**what):
    """A line in the ledger, on disk before anybody is answered."""
    with (FOLDER / "ledger").open("a") as ledger:
        ledger.write(json.dumps(what) + "\n")
        ledger.flush()


def tool(name, description, hints=None):
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    annotations = types.ToolAnnotations(**hints) if hints else None
    return types.Tool(name=name, description=described(name, description), input_schema=schema, annotations=annotations)


async def list_tools(ctx, params):
    read = {"read_only_hint": True}
    tools = [
        tool("echo", "Says it again."),
        tool("look", "Looks it up.", read),
        tool("fail", "Always fails."),
        tool("picture", "Draws a dot.", read),
        tool("change", "Has echo be described as this text says."),
        tool("wait", "Waits until it is let go."),
        tool("look.slowly", "Looks it up, and waits until it is let go.", read),
    ]
    return types.ListToolsResult(tools=tools)


async def let_go():
    while not (FOLDER / "go").exists():
        await asyncio.sleep(0.01)


async def call_tool(ctx, params):
    arguments = params.arguments or {}
    text = arguments.get("text", "")
    note(tool=params.name, text=text, call=(ctx.meta or {}).get("perennial/callId"), trace=(ctx.meta or {}).get("traceparent"))
    content = [types.TextContent(type="text", text=f"{params.name}: {text}")]
    match params.name:
        case "fail":
            return types.CallToolResult(content=content, is_error=True)
        case "picture":
            content = [types.ImageContent(type="image", data="aGk=", mime_type="image/png")]
        case "change":
            (FOLDER / "echo.txt").write_text(text)
            # Whoever subscribed hears the one, whoever shook hands the other.
            await NEWS.publish(ToolsListChanged())
            await ctx.session.send_tool_list_changed()
        case "wait" | "look.slowly":
            try:
                await let_go()
            except asyncio.CancelledError:
                note(tool=params.name, cancelled=True)
                raise
    return types.CallToolResult(content=content)


def app():
    listen = ListenHandler(NEWS)
    server = Server("somebody", on_list_tools=list_tools, on_call_tool=call_tool, on_subscriptions_listen=listen)
    anybody = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    inner = server.streamable_http_app(transport_security=anybody)

    async def outer(scope, receive, send):
        """Refuses who must not come, and what only one of the two revisions knows."""
        if scope["type"] == "http":
            headers = {key.decode(): value.decode() for key, value in scope["headers"]}
            if (FOLDER / "closed").exists():
                answer = JSONResponse({"error": "no"}, status_code=401, headers={"www-authenticate": "Bearer"})
                return await answer(scope, receive, send)
            version = headers.get("mcp-protocol-version", "")
            note(method=scope["method"], version=version)
            if not MODERN and version >= "2026":
                # A server of last year answers what it does not know like this.
                answer = JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}, 400)
                return await answer(scope, receive, send)
        await inner(scope, receive, send)

    return outer


def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Whoever comes before it serves waits.
    listener.listen(100)
    config = uvicorn.Config(app(), log_level="warning", lifespan="on")
    # Whole, or not at all.
    (FOLDER / "port.new").write_text(str(listener.getsockname()[1]))
    (FOLDER / "port.new").rename(FOLDER / "port")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


main()
