"""What a program sees of this server over MCP, through the official Python SDK.

usage: client.py auto|legacy|stdio URL KEY PROGRAM DATA_DIR
"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

WAY, URL, KEY, PROGRAM, DATA = sys.argv[1:6]


@asynccontextmanager
async def client(session=None):
    if WAY == "stdio":
        args = ["mcp", "--data-dir", DATA] + (["--session", session] if session else [])
        async with Client(StdioServerParameters(command=PROGRAM, args=args)) as found:
            yield found
        return
    path = f"/v1/sessions/{session}/mcp" if session else "/mcp"
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(URL + path, http_client=http)
        async with Client(transport, mode=WAY) as found:
            yield found


async def call(mcp, tool, **arguments):
    """What a tool says."""
    told = []
    result = await mcp.call_tool(tool, arguments, progress_callback=lambda done, total, what: hear(told, what))
    text = result.content[0].text
    assert not result.is_error, f"{tool}: {text}"
    return json.loads(text), told


async def hear(told, what):
    told.append(what)


async def sessions(mcp):
    agents, _ = await call(mcp, "list_agents")
    worker = next(agent for agent in agents["agents"] if agent["name"] == "worker")
    assert worker["address"] == "agent/worker", agents
    made, _ = await call(mcp, "create_session", agent="worker", prompt="/say hello", title="from outside")
    waited, told = await call(mcp, "wait", session_id=made["session_id"], after=made["after"])
    assert waited["status"] == "idle" and waited["stop_reason"]["type"] == "end_turn", waited
    assert waited["messages"][-1].endswith("hello"), waited
    assert "agent.message" in told, told
    sent, _ = await call(mcp, "send", session_id=made["session_id"], text="/sleep 300\n/say again")
    waited, _ = await call(mcp, "wait", session_id=made["session_id"], after=sent["after"])
    assert [said.endswith("again") for said in waited["messages"]] == [True], waited
    listed, _ = await call(mcp, "list_sessions", status="idle")
    assert made["session_id"] in [row["session_id"] for row in listed["sessions"]], listed
    log, _ = await call(mcp, "read_events", session_id=made["session_id"])
    assert [line["seq"] for line in log["events"]] == list(range(1, len(log["events"]) + 1)), log
    return made["session_id"]


async def patience(mcp, session):
    """A wait that is too short says where it is, and the next one goes on there."""
    sent, _ = await call(mcp, "send", session_id=session, text="/sleep 2500\n/say late")
    waited, _ = await call(mcp, "wait", session_id=session, after=sent["after"], timeout=1)
    assert waited["status"] == "running" and waited["messages"] == [], waited
    waited, _ = await call(mcp, "wait", session_id=session, after=waited["after"])
    assert waited["messages"][0].endswith("late"), waited
    await call(mcp, "send", session_id=session, text="/sleep 60000\n/say never")
    await call(mcp, "interrupt", session_id=session)
    waited, _ = await call(mcp, "wait", session_id=session, after=waited["after"], timeout=20)
    assert waited["status"] == "idle" and waited["messages"] == [], waited


async def peers(mcp):
    task, _ = await call(mcp, "delegate_task", to="agent/worker", prompt="/say forty-two")
    waited, _ = await call(mcp, "wait", **task)
    assert waited["messages"][-1].endswith("forty-two"), waited
    queue = f"inbox-{WAY}"
    await call(mcp, "send_message", to=f"queue/{queue}", content="news", subject="s")
    taken, _ = await call(mcp, "inbox", queue=queue, wait=5)
    assert [mail["subject"] for mail in taken["messages"]] == ["s"], taken
    taken, _ = await call(mcp, "inbox", queue=queue)
    assert taken["messages"] == [], taken


async def refusals(mcp):
    for tool, arguments in [
        ("create_session", {"agent": "nobody"}),
        ("wait", {"session_id": "sesn_00000000000000000000000000000001"}),
        ("send_message", {"to": "agent/../../keys", "content": "x"}),
        ("send_message", {"to": "queue/a?b=c", "content": "x"}),
        ("send", {"session_id": "../sessions", "text": "x"}),
        ("list_sessions", {"limit": "many"}),
    ]:
        result = await mcp.call_tool(tool, arguments)
        assert result.is_error, f"{tool} {arguments}: {result}"
    try:
        result = await mcp.call_tool("no_such_tool", {})
    except Exception as error:
        assert "no such tool" in str(error), error
    else:
        raise AssertionError(f"no_such_tool: {result}")


async def hands(session):
    async with client(session) as mcp:
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        assert names == ["bash", "read", "write", "edit", "glob", "grep"], names
        result = await mcp.call_tool("bash", {"command": "echo from outside > note; cat note"})
        assert "from outside" in result.content[0].text and not result.is_error, result


async def main():
    async with client() as mcp:
        version = mcp.protocol_version
        assert version == ("2025-11-25" if WAY == "legacy" else "2026-07-28"), version
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        assert {"list_agents", "delegate_task", "wait", "send_message", "inbox", "create_session"} <= set(names), names
        session = await sessions(mcp)
        await patience(mcp, session)
        await peers(mcp)
        await refusals(mcp)
    await hands(session)


asyncio.run(main())
