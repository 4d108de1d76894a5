"""The server dies in the middle of a turn and is started again; whoever uses an SDK goes on."""

import concurrent.futures
import threading
from typing import Any, Callable

import anthropic
import httpx2
from conftest import Mortal, World, until
from say import message, only, text, tool, types

# A line before anything else, then a wait that only a death ends.
ONCE = "echo once >> ledger; sleep 600"


def test_a_turn_survives_a_sigkill_in_the_middle_of_a_tool_call(mortal: Mortal, connect: Callable[..., anthropic.Anthropic]) -> None:
    client = connect(server=(mortal.url, mortal.key))
    world = World(client)
    session = world.session()
    script = [tool("bash", command="echo first >> ledger"), "/then", tool("bash", command=ONCE), "/then", tool("read", file_path="ledger")]
    seen: list[Any] = []

    with client.beta.sessions.events.stream(session.id) as stream:
        sent = world.send(session, message("\n".join(script)))
        threading.Thread(target=kill_when_started, args=(mortal,)).start()
        follow(stream, seen)
    assert mortal.process.poll() is not None and "session.status_idle" not in types(seen)
    assert len([event for event in seen if event.type == "agent.tool_use"]) == 2, "it died in the second call"

    mortal.start()
    with client.beta.sessions.events.stream(session.id) as stream:
        known = {event.id for event in seen}
        before = world.history(session, limit=2)
        assert [event.id for event in before][: len(seen)] == [event.id for event in seen], "what was seen is what is stored"
        seen += [event for event in before if event.id not in known]
        known = {event.id for event in seen}
        if "session.status_idle" not in types(seen):
            follow((event for event in stream if event.id not in known), seen)

    listed = world.history(session, limit=3)
    assert [event.id for event in listed] == [event.id for event in seen], "nothing is lost and nothing is there twice"
    assert [event.id for event in listed if event.type == "user.message"] == [sent.data[0].id]
    results = [event for event in listed if event.type == "agent.tool_result"]
    uses = [event for event in listed if event.type == "agent.tool_use"]
    assert [event.tool_use_id for event in results] == [event.id for event in uses], "one result each, in order"
    assert [bool(event.is_error) for event in results] == [False, True, False], "the model is told that one is in doubt"
    ledger = text(results[-1])
    assert (ledger.count("first"), ledger.count("once")) == (1, 1), ledger
    assert listed[-1].type == "session.status_idle" and listed[-1].stop_reason.type == "end_turn"
    assert client.beta.sessions.retrieve(session.id).status == "idle"


def test_a_message_sent_to_a_dead_server_arrives_once_when_it_is_back(mortal: Mortal, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = World(connect(server=(mortal.url, mortal.key), max_retries=20))
    session = world.session()
    world.turn(session, message("/say before"))
    mortal.kill()
    with concurrent.futures.ThreadPoolExecutor() as elsewhere:
        sending = elsewhere.submit(world.send, session, message("/say after"))
        mortal.start()
        sent = sending.result()
    until("it rests", lambda: types(world.history(session)).count("session.status_idle") == 2)
    listed = world.history(session)
    assert [event.id for event in listed if event.type == "user.message"][1:] == [sent.data[0].id]
    assert "after" in text([event for event in listed if event.type == "agent.message"][-1])


def kill_when_started(mortal: Mortal) -> None:
    """The tool's own line is the sign: the call runs."""
    until("the second call runs", lambda: any("once" in ledger.read_text() for ledger in mortal.data_dir.rglob("ledger")))
    mortal.kill()


def follow(events: Any, seen: list[Any]) -> None:
    """Until the session rests or the connection breaks."""
    try:
        for event in events:
            seen.append(event)
            if event.type == "session.status_idle":
                return
    except (anthropic.APIError, httpx2.HTTPError):
        pass
