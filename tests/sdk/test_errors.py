"""Errors arrive as the SDK's own exception classes, with a message that helps, and are not retried in vain."""

import contextlib
from typing import Any, Callable, Iterator

import anthropic
import httpx2
import pytest
from conftest import World
from say import message, tool

NOWHERE = "0" * 32


@pytest.mark.parametrize(
    "call",
    [
        lambda beta: beta.agents.retrieve(f"agent_{NOWHERE}"),
        lambda beta: beta.environments.retrieve(f"env_{NOWHERE}"),
        lambda beta: beta.sessions.retrieve(f"sesn_{NOWHERE}"),
        lambda beta: beta.sessions.retrieve("sesn_nonsense"),
        lambda beta: beta.sessions.events.send(f"sesn_{NOWHERE}", events=[message("hi")]),
        lambda beta: list(beta.sessions.events.list(f"sesn_{NOWHERE}")),
        lambda beta: beta.sessions.events.stream(f"sesn_{NOWHERE}"),
    ],
)
def test_what_is_not_there(client: anthropic.Anthropic, call: Callable[[Any], Any]) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        call(client.beta)
    assert refused.value.request_id and refused.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda beta: beta.agents.create(name="", model="rehearsal-1"), "name"),
        (lambda beta: beta.agents.create(name="x", model=7), "model"),
        (lambda beta: beta.agents.create(name="x", model="rehearsal-1", tools=[{"type": "nonsense"}]), "tools"),
        (lambda beta: beta.environments.create(name="x" * 300, config={"type": "cloud"}), "name"),
        (lambda beta: beta.environments.create(name="x", config={"type": "moon"}), "config"),
        (lambda beta: beta.agents.list(limit=0), "limit"),
        (lambda beta: beta.sessions.list(statuses=["asleep"]), "statuses"),
        (lambda beta: beta.agents.list(page="not-a-cursor"), "page"),
    ],
)
def test_what_is_wrong_is_named(client: anthropic.Anthropic, call: Callable[[Any], Any], named: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        call(client.beta)
    assert named in refused.value.body["error"]["message"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "user.message"},
        {"type": "user.message", "content": "text"},
        {"type": "user.message", "content": [{"type": "hologram"}]},
        {"type": "agent.message", "content": []},
        {"type": "user.nonsense"},
        {"type": "user.message", "content": [{"type": "text", "text": "nul \0"}]},
    ],
)
def test_bad_events(world: World, event: dict[str, Any]) -> None:
    session = world.session()
    with pytest.raises(anthropic.BadRequestError):
        world.send(session, event)
    assert world.history(session) == []


def test_an_unknown_preview_is_refused(client: anthropic.Anthropic, world: World) -> None:
    session = world.session()
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.events.stream(session.id, event_deltas=["agent.nonsense"])


def test_a_wrong_key(connect: Callable[..., anthropic.Anthropic]) -> None:
    for key in ("pk_wrong", "x" * 5000):
        with pytest.raises(anthropic.AuthenticationError):
            connect(api_key=key).beta.sessions.list()


def test_both_ways_to_send_a_key(connect: Callable[..., anthropic.Anthropic], server: tuple[str, str]) -> None:
    _, key = server
    connect(api_key=None, auth_token=key).beta.sessions.list(limit=1)
    connect(api_key=key).beta.sessions.list(limit=1)


def test_a_large_body(world: World) -> None:
    session = world.session()
    with pytest.raises(anthropic.APIStatusError) as refused:
        world.send(session, message("x" * 9_000_000))
    assert refused.value.status_code == 413


@pytest.fixture
def counted(connect: Callable[..., anthropic.Anthropic], strict: Any) -> Iterator[tuple[anthropic.Anthropic, list[str]]]:
    """A client and the requests it really sent."""
    sent: list[str] = []
    hooks = {
        "request": [lambda request: sent.append(f"{request.method} {request.url.path}")],
        "response": [strict.check_response],
    }
    yield connect(http_client=anthropic.DefaultHttpxClient(event_hooks=hooks)), sent


def test_conflicts_are_not_retried(world: World, counted: tuple[anthropic.Anthropic, list[str]]) -> None:
    client, sent = counted
    session = world.session()
    client.beta.sessions.archive(session.id)
    sent.clear()
    with pytest.raises(anthropic.ConflictError):
        client.beta.sessions.events.send(session.id, events=[message("hi")])
    assert len(sent) == 1, "the SDK retries a 409 unless it is told not to"


def test_a_running_session_is_not_deleted(world: World) -> None:
    session = world.session()
    with world.client.beta.sessions.events.stream(session.id) as stream:
        world.send(session, message("/sleep 20000"))
        for event in stream:
            if event.type == "span.model_request_start":
                for call in (world.client.beta.sessions.delete, world.client.beta.sessions.archive):
                    with pytest.raises(anthropic.APIStatusError) as refused:
                        call(session.id)
                    assert refused.value.status_code in (400, 409)
                world.send(session, {"type": "user.interrupt"})
            if event.type == "session.status_idle":
                break


class LosesTheFirstAnswer(httpx2.BaseTransport):
    """The server gets the request, the client never hears of it."""

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self.inner = inner
        self.lost = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self.inner.handle_request(request)
        if request.method == "POST" and self.lost == 0:
            self.lost += 1
            with contextlib.closing(response):
                response.read()
            raise httpx2.ReadError("the answer was lost", request=request)
        return response


def test_a_lost_answer_does_not_double_its_effect(world: World, connect: Callable[..., anthropic.Anthropic]) -> None:
    """The SDK sends no idempotency key, but says which try it is."""

    def losing() -> tuple[anthropic.Anthropic, LosesTheFirstAnswer]:
        transport = LosesTheFirstAnswer(httpx2.HTTPTransport())
        return connect(http={"transport": transport}), transport

    agent, environment = world.agent(), world.environment()
    client, transport = losing()
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="once")
    assert transport.lost == 1
    assert [one.id for one in client.beta.sessions.list(agent_id=agent.id)] == [session.id]
    client, transport = losing()
    client.beta.sessions.events.send(session.id, events=[message(tool("bash", command="true"))])
    assert transport.lost == 1
    said = [event for event in world.history(session) if event.type == "user.message"]
    assert len(said) == 1
