"""An MCP server of somebody else's that is a program, on the official Python SDK. What it did is written to the folder it is in.

usage: program.py      (what it is told is in its environment)
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import mcp_types as types
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server

ECHO = Path("echo.txt")


def note(**what):
    """A line in the ledger, on disk before anybody is answered."""
    with Path("ledger").open("a") as ledger:
        ledger.write(json.dumps(what) + "\n")
        ledger.flush()


def tool(name, description, **hints):
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    annotations = types.ToolAnnotations(**hints) if hints else None
    return types.Tool(name=name, description=description, input_schema=schema, annotations=annotations)


async def list_tools(ctx, params):
    said = ECHO.read_text() if ECHO.exists() else "Says it again."
    tools = [
        tool("echo", said),
        tool("look", "Says what it finds around it.", read_only_hint=True),
        tool("die", "Ends the program."),
        tool("grow", "Says much in one line."),
        tool("change", "Has echo be described as this text says."),
    ]
    return types.ListToolsResult(tools=tools)


async def call_tool(ctx, params):
    text = (params.arguments or {}).get("text", "")
    note(tool=params.name, text=text)
    said = f"{params.name}: {text}"
    match params.name:
        case "look":
            said = json.dumps({"cwd": os.getcwd(), "pid": os.getpid(), "env": dict(os.environ)})
        case "die":
            print("no more:", os.environ.get("API_TOKEN"), file=sys.stderr, flush=True)
            os._exit(3)
        case "grow":
            said = "x" * (9 << 20)
        case "change":
            ECHO.write_text(text)
            await ctx.session.send_tool_list_changed()
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)])


async def main():
    note(started=os.getpid())
    server = Server("somebody", on_list_tools=list_tools, on_call_tool=call_tool)
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (read, write):
        await server.run(read, write, options)


asyncio.run(main())
