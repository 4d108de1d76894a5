"""Turns: send, stream with and without previews, list, reconnect, steer."""

import asyncio
import threading

import anthropic
from conftest import World
from say import message, only, text, tool, types
from strict import Strict, event_types


def test_a_turn_is_streamed_in_order(world: World) -> None:
    session = world.session()
    events = world.turn(session, message("/say hello"))
    assert types(events) == [
        "user.message",
        "session.status_running",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.status_idle",
    ]
    assert "hello" in text(only(events, "agent.message"))
    end = only(events, "span.model_request_end")
    assert end.model_request_start_id == only(events, "span.model_request_start").id and not end.is_error
    assert events[-1].stop_reason.type == "end_turn"
    after = world.client.beta.sessions.retrieve(session.id)
    assert after.status == "idle", "the status is of the same commit as the event"
    assert after.usage.output_tokens == end.model_usage.output_tokens > 0


def test_sending_answers_at_once_with_stored_events(world: World) -> None:
    session = world.session()
    sent = world.send(session, message("/sleep 300"), message("/say second"))
    assert [event.type for event in sent.data] == ["user.message", "user.message"]
    assert all(event.id and event.processed_at is None for event in sent.data)


def test_previews_add_up_to_the_message(world: World, strict: Strict) -> None:
    session = world.session()
    events = world.turn(session, message("/tokens 20 5"), event_deltas=["agent.message"])
    final = only(events, "agent.message")
    start = only(events, "event_start")
    assert start.event.id == final.id, "the preview has the id of the event it announces"
    deltas = [event for event in events if event.type == "event_delta"]
    assert len(deltas) > 1 and all(delta.event_id == final.id for delta in deltas)
    assert "".join(delta.delta.content.text for delta in deltas) == text(final)
    assert types(events).index("event_start") < types(events).index("event_delta") < types(events).index("agent.message")
    assert strict.events == len(events), "every frame was checked"


def test_the_sdk_accumulates_previews(world: World) -> None:
    try:
        from anthropic.lib.sessions import accumulate_managed_agents_event as accumulate
    except ImportError:
        return  # this version of the SDK has no accumulator
    session = world.session()
    events = world.turn(session, message("/tokens 10 2"), event_deltas=["agent.message"])
    accumulated, preview = None, ""
    for event in events:
        if event.type in ("event_start", "event_delta", "agent.message"):
            accumulated = accumulate(accumulated, event)
            if event.type == "event_delta":
                preview = text(accumulated)
    assert preview == text(accumulated) == text(only(events, "agent.message"))


def test_a_tool_really_runs(world: World) -> None:
    session = world.session()
    script = "\n".join([tool("bash", command="echo $((6 * 7))"), tool("write", file_path="a.txt", content="b"), "/then", "/say ok"])
    events = world.turn(session, message(script))
    uses = {event.id: event.name for event in events if event.type == "agent.tool_use"}
    results = {uses[event.tool_use_id]: event for event in events if event.type == "agent.tool_result"}
    assert set(results) == {"bash", "write"}
    assert "42" in text(results["bash"]) and not results["bash"].is_error
    assert "ok" in [text(event) for event in events if event.type == "agent.message"][-1]
    again = world.turn(session, message(tool("read", file_path="a.txt")))
    assert "b" in text(only(again, "agent.tool_result"))


def test_the_history_is_listed_page_by_page(client: anthropic.Anthropic, world: World) -> None:
    session = world.session()
    streamed = world.turn(session, message(tool("bash", command="true")))
    streamed += world.turn(session, message("/say two"))
    listed = world.history(session, limit=3)
    assert [event.id for event in listed] == [event.id for event in streamed], "the stream is the log"
    assert all(event.processed_at for event in listed), "everything has been processed by now"
    assert [event.id for event in world.history(session, limit=4, order="desc")] == [event.id for event in reversed(listed)]
    only_messages = world.history(session, types=["user.message", "agent.message"], limit=1)
    assert set(types(only_messages)) == {"user.message", "agent.message"}
    assert set(types(listed)) <= event_types(), "nothing outside the adopted vocabulary unless it is asked for"
    page = client.beta.sessions.events.list(session.id, limit=3)
    assert len(page.data) == 3 and page.has_next_page()


def test_reconnecting_the_way_the_official_worker_does(client: anthropic.Anthropic, world: World) -> None:
    """Open a stream first, then read the history, then deduplicate by id."""
    session = world.session()
    world.turn(session, message("/say before"))
    seen: dict[str, str] = {}
    with client.beta.sessions.events.stream(session.id) as stream:
        world.send(session, message("/say after"))
        seen |= {event.id: event.type for event in world.history(session)}
        for event in stream:
            seen[event.id] = event.type
            if event.type == "session.status_idle":
                break
    assert list(seen) == [event.id for event in world.history(session)]


def test_two_streams_see_the_same(client: anthropic.Anthropic, world: World) -> None:
    session = world.session()
    with client.beta.sessions.events.stream(session.id) as one, client.beta.sessions.events.stream(session.id) as other:
        world.send(session, message("/say hi"))
        collected: list[list[str]] = [[], []]

        def collect(stream: object, into: list[str]) -> None:
            for event in stream:  # type: ignore[attr-defined]
                into.append(event.id)
                if event.type == "session.status_idle":
                    return

        threads = [threading.Thread(target=collect, args=pair) for pair in zip((one, other), collected)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert collected[0] == collected[1] and len(collected[0]) == 6


def test_a_message_in_mid_turn_is_answered_in_order(world: World) -> None:
    session = world.session()
    with world.client.beta.sessions.events.stream(session.id) as stream:
        world.send(session, message("/sleep 400\n/say one"))
        world.send(session, message("/say two"))
        said, asked = [], 0
        for event in stream:
            asked += event.type == "user.message"
            if event.type == "agent.message":
                said.append(text(event))
            if event.type == "session.status_idle" and len(said) > 1:
                break
    assert asked == 2 and "one" in said[0] and "two" in said[-1]


def test_initial_events_start_the_session(world: World) -> None:
    session = world.session(initial_events=[message("/sleep 100\n/say from the start")])
    assert session.status == "running"
    with world.client.beta.sessions.events.stream(session.id) as stream:
        history = world.history(session)
        if "session.status_idle" not in types(history):
            for event in stream:
                if event.type == "session.status_idle":
                    break
    assert "from the start" in text(only(world.history(session), "agent.message"))


def test_what_becomes_of_a_session_is_streamed_to_its_end(client: anthropic.Anthropic, world: World) -> None:
    session = world.session()
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.update(session.id, title="new title")
        client.beta.sessions.archive(session.id)
        seen = list(stream)
    assert types(seen)[0] == "session.updated" and seen[0].title == "new title"
    assert types(seen)[-1] == "session.status_terminated", "an archived session's stream ends"
    session = world.session()
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.delete(session.id)
        assert types(list(stream))[-1] == "session.deleted", "and so does a deleted one's"


def test_every_kind_of_content_comes_back_as_it_was_sent(world: World) -> None:
    session = world.session()
    content = [
        {"type": "text", "text": "/say é ✓ 𝄞 \\ \" \u2028"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
    ]
    sent = world.send(session, {"type": "user.message", "content": content})
    with world.client.beta.sessions.events.stream(session.id) as stream:
        history = world.history(session)
        if "session.status_idle" not in types(history):
            next(event for event in stream if event.type == "session.status_idle")
    stored = only(world.history(session), "user.message")
    assert stored.id == sent.data[0].id
    assert [block.to_dict(exclude_unset=True) for block in stored.content] == content


def test_the_async_client(server: tuple[str, str]) -> None:
    async def drive() -> list[str]:
        url, key = server
        async with anthropic.AsyncAnthropic(base_url=url, api_key=key) as client:
            world = World(client)
            agent, environment = await world.agent(), await world.environment()
            session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
            stream = await client.beta.sessions.events.stream(session.id)
            async with stream:
                await client.beta.sessions.events.send(session.id, events=[message("/say hi")])
                async for event in stream:
                    if event.type == "session.status_idle":
                        break
            return [event.type async for event in client.beta.sessions.events.list(session.id, limit=2)]

    assert asyncio.run(drive())[-1] == "session.status_idle"


def test_a_failing_provider_is_an_event_not_a_broken_stream(world: World) -> None:
    session = world.session()
    events = world.turn(session, message("/fail 400"))
    error = only(events, "session.error").error
    assert error.type == "model_request_failed_error" and error.message
    assert events[-1].stop_reason.type == "retries_exhausted"
    assert "fine" in text(only(world.turn(session, message("/say fine")), "agent.message")), "new input starts again"


def test_retries_are_told(world: World) -> None:
    session = world.session()
    events = world.turn(session, message("/fail 529 1\n/say recovered"))
    error = only(events, "session.error").error
    assert (error.type, error.retry_status.type) == ("model_overloaded_error", "retrying")
    assert "recovered" in text(only(events, "agent.message"))
    assert events[-1].stop_reason.type == "end_turn"

def test_an_outcome_is_told_to_the_model(world: World) -> None:
    session = world.session()
    rubric = {"type": "text", "content": "it says so"}
    events = world.turn(session, {"type": "user.define_outcome", "description": "/say towards the outcome", "rubric": rubric})
    outcome = only(events, "user.define_outcome")
    assert outcome.outcome_id and outcome.max_iterations == 3 and outcome.processed_at
    assert events[-1].stop_reason.type == "end_turn"
    assert only(world.history(session), "user.define_outcome").id == outcome.id
    started = world.session(initial_events=[{"type": "user.define_outcome", "description": "x", "rubric": rubric}])
    assert started.status == "running"
