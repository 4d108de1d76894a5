"""What waits for somebody: confirmations, custom tools, interrupts."""

import anthropic
import pytest
from conftest import World
from say import message, only, text, tool, types

ASK = [{"type": "agent_toolset_20260401", "default_config": {"enabled": True, "permission_policy": {"type": "always_ask"}}}]
WEATHER = [
    {
        "type": "custom",
        "name": "get_weather",
        "description": "Weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]


def parked(world: World, tools: list[dict[str, object]], script: str) -> tuple[object, list[object], list[str]]:
    """A session that waits: itself, its events, the ids it waits for."""
    session = world.session(world.agent(tools=tools))
    events = world.turn(session, message(script))
    stop = events[-1].stop_reason
    assert stop.type == "requires_action"
    assert world.client.beta.sessions.retrieve(session.id).status == "idle"
    return session, events, stop.event_ids


def allow(tool_use_id: str) -> dict[str, object]:
    return {"type": "user.tool_confirmation", "tool_use_id": tool_use_id, "result": "allow"}


def deny(tool_use_id: str, why: str) -> dict[str, object]:
    return {"type": "user.tool_confirmation", "tool_use_id": tool_use_id, "result": "deny", "deny_message": why}


def test_an_allowed_tool_runs(world: World) -> None:
    session, events, ids = parked(world, ASK, tool("bash", command="echo ran"))
    use = only(events, "agent.tool_use")
    assert use.evaluated_permission == "ask" and ids == [use.id]
    assert "agent.tool_result" not in types(events)
    after = world.turn(session, allow(use.id))
    assert "ran" in text(only(after, "agent.tool_result"))
    assert after[-1].stop_reason.type == "end_turn"


def test_a_denied_tool_does_not_run_and_the_model_hears_why(world: World) -> None:
    session, events, ids = parked(world, ASK, tool("bash", command="echo ran > marker"))
    after = world.turn(session, deny(ids[0], "not today"))
    result = only(after, "agent.tool_result")
    assert result.is_error and "not today" in text(result)
    assert after[-1].stop_reason.type == "end_turn"


def test_some_answers_are_not_all(world: World) -> None:
    session, events, ids = parked(world, ASK, f"{tool('bash', command='echo 1')}\n{tool('bash', command='echo 2')}")
    assert len(ids) == 2
    world.send(session, allow(ids[0]))
    after = world.turn(session, deny(ids[1], "no"))
    while after[-1].stop_reason.type != "end_turn":
        after += rest_of(world, session)
    results = {event.tool_use_id: event for event in world.history(session) if event.type == "agent.tool_result"}
    assert "1" in text(results[ids[0]]) and not results[ids[0]].is_error and results[ids[1]].is_error


def rest_of(world: World, session: object) -> list[object]:
    """What the history has once the session rests for good; for tests whose stream may have ended at an earlier rest."""
    with world.client.beta.sessions.events.stream(session.id) as stream:
        history = world.history(session)
        if history[-1].type == "session.status_idle" and history[-1].stop_reason.type == "end_turn":
            return history
        for event in stream:
            history.append(event)
            if event.type == "session.status_idle":
                break
    return history


def test_a_message_while_parked_waits_its_turn(world: World) -> None:
    session, events, ids = parked(world, ASK, tool("bash", command="echo hi"))
    world.send(session, message("/say later"))
    assert world.client.beta.sessions.retrieve(session.id).status == "idle", "the message queues, the answer is still awaited"
    after = world.turn(session, allow(ids[0]))
    assert "later" in " ".join(text(event) for event in after if event.type == "agent.message")


def test_a_custom_tool_is_answered_by_the_client(world: World) -> None:
    session, events, ids = parked(world, WEATHER, tool("get_weather", city="Oslo"))
    use = only(events, "agent.custom_tool_use")
    assert (use.name, use.input, ids) == ("get_weather", {"city": "Oslo"}, [use.id])
    answer = {
        "type": "user.custom_tool_result",
        "custom_tool_use_id": use.id,
        "content": [{"type": "text", "text": "7 degrees"}],
    }
    sent = world.send(session, answer)
    assert sent.data[0].processed_at is not None, "a result is processed on receipt"
    history = rest_of(world, session)
    assert history[-1].stop_reason.type == "end_turn"
    assert text(only(world.history(session), "user.custom_tool_result")) == "7 degrees"


def test_a_tool_of_a_self_hosted_environment_is_run_by_its_owner(world: World) -> None:
    environment = world.environment(config={"type": "self_hosted"})
    assert environment.config.type == "self_hosted"
    session = world.session(environment_id=environment.id)
    events = world.turn(session, message(tool("bash", command="true")))
    use = only(events, "agent.tool_use")
    assert events[-1].stop_reason.event_ids == [use.id]
    result = {"type": "user.tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "mine"}]}
    world.send(session, result)
    assert rest_of(world, session)[-1].stop_reason.type == "end_turn"
    assert text(only(world.history(session), "user.tool_result")) == "mine"


def test_answers_are_taken_once_and_only_where_awaited(world: World) -> None:
    session, events, ids = parked(world, ASK + WEATHER, tool("get_weather", city="Oslo"))
    with pytest.raises(anthropic.APIStatusError) as refused:
        world.send(session, allow(ids[0]))
    assert refused.value.status_code in (400, 409), "a custom tool wants a result, not a confirmation"
    answer = {"type": "user.custom_tool_result", "custom_tool_use_id": ids[0], "content": []}
    world.send(session, answer)
    with pytest.raises(anthropic.ConflictError):
        world.send(session, answer)
    with pytest.raises(anthropic.APIStatusError) as unknown:
        world.send(session, allow("sevt_" + "0" * 32))
    assert unknown.value.status_code in (400, 404, 409)


def test_an_interrupt_stops_a_running_turn(world: World) -> None:
    session = world.session()
    with world.client.beta.sessions.events.stream(session.id) as stream:
        world.send(session, message("/sleep 1500\n/say late"))
        for event in stream:
            if event.type == "span.model_request_start":
                world.send(session, {"type": "user.interrupt"})
            if event.type == "session.status_idle":
                break
    assert event.stop_reason.type == "end_turn"
    assert "agent.message" not in types(world.history(session))
    # The session goes on, and the unanswered message is still part of the conversation.
    said = [text(event) for event in world.turn(session, message("/say on")) if event.type == "agent.message"]
    assert "on" in said[-1]


def test_an_interrupt_stops_a_turn_that_has_not_begun(world: World) -> None:
    session = world.session()
    events = world.turn(session, message("/sleep 5000"), {"type": "user.interrupt"})
    assert "agent.message" not in types(events) and events[-1].stop_reason.type == "end_turn"


def test_an_interrupt_stops_a_running_tool(world: World) -> None:
    session = world.session()
    with world.client.beta.sessions.events.stream(session.id) as stream:
        world.send(session, message(tool("bash", command="sleep 30")))
        for event in stream:
            if event.type == "agent.tool_use":
                world.send(session, {"type": "user.interrupt"})
            if event.type == "session.status_idle":
                break
    result = only(world.history(session), "agent.tool_result")
    assert result.is_error


def test_an_interrupt_closes_what_is_parked(world: World) -> None:
    session, events, ids = parked(world, ASK, tool("bash", command="echo ran"))
    after = world.turn(session, {"type": "user.interrupt"})
    assert only(after, "agent.tool_result").is_error
    assert after[-1].stop_reason.type == "end_turn"
