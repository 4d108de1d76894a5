"""Receivers of webhooks are told what happens: signed, again until they have it, whatever dies, and only where they may be."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import threading
import time
import types
from typing import Any, Callable, Iterator

import anthropic
import httpx2
import pytest
from conftest import Mortal, World, until
from say import message, tool

# Nothing here hangs on the version of the SDK.
pytestmark = pytest.mark.skipif(not anthropic.__version__.startswith("2."), reason="told once")
# Loopback is where the receivers of these tests are; everywhere else it is refused.
ALLOWED = {"PERENNIAL_WEBHOOKS_ALLOW_HOSTS": "127.0.0.1"}
ALWAYS_ASK = [{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}]


class Receiver:
    """Takes what it is sent and answers as it is told, 204 unless it is."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[dict[str, Any]]:
        """Each once, however often it came."""
        return list({headers["webhook-id"]: json.loads(body) for headers, body in self.got}.values())

    def kinds(self, session: Any = None) -> list[str]:
        of = [event["data"] for event in self.events() if session is None or event["data"]["id"] == session.id]
        return [data["type"] for data in of]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def teller() -> Iterator[Any]:
    """A server that may reach this host, or the cluster that does."""
    if "PERENNIAL_WORKER_URL" in os.environ:
        yield types.SimpleNamespace(url=os.environ["PERENNIAL_URL"], key=os.environ["PERENNIAL_KEY"])
        return
    with Mortal.living(ALLOWED) as mortal:
        yield mortal


def ask(mortal: Any, method: str, path: str, **options: Any) -> httpx2.Response:
    return httpx2.request(method, mortal.url + path, headers={"x-api-key": mortal.key}, **options)


def hook(mortal: Any, url: str, **fields: Any) -> dict[str, Any]:
    made = ask(mortal, "POST", "/v1/webhooks", json={"url": url, **fields})
    assert made.status_code == 200, made.text
    return made.json()


def shown(mortal: Any, webhook: dict[str, Any]) -> dict[str, Any]:
    return ask(mortal, "GET", f"/v1/webhooks/{webhook['id']}").json()


def deliveries(mortal: Any, webhook: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    return ask(mortal, "GET", f"/v1/webhooks/{webhook['id']}/deliveries", params=query).json()["data"]


def world_of(mortal: Any, connect: Callable[..., anthropic.Anthropic]) -> World:
    return World(connect(server=(mortal.url, mortal.key)))


def signed(headers: dict[str, str], body: str, secret: str) -> bool:
    """By the specification, with Python's own HMAC."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and hmac.compare_digest(headers["webhook-signature"], expected)


def test_what_happens_is_told_signed(teller: Any, receiver: Receiver, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = world_of(teller, connect)
    before = world.session()
    webhook = hook(teller, receiver.url)
    session = world.session(agent=world.agent(tools=ALWAYS_ASK))
    world.send(session, message(tool("bash", command="true")))
    expected = ["session.created", "session.status_run_started", "session.status_idled", "session.requires_action"]
    until("it is told", lambda: sorted(receiver.kinds(session)) == sorted(expected))
    assert all(signed(headers, body, webhook["secret"]) for headers, body in receiver.got)
    asked = next(event for event in receiver.events() if event["data"]["type"] == "session.requires_action")
    assert asked["data"]["event_ids"] == [event.id for event in world.history(session) if event.type == "agent.tool_use"]
    for headers, body in receiver.got:
        assert json.loads(body)["id"] == headers["webhook-id"] and headers["content-type"] == "application/json"
    if hasattr(world.client.beta.webhooks, "parse_unverified"):
        event = world.client.beta.webhooks.parse_unverified(receiver.got[0][1])
        assert event.type == "event" and event.data.id == session.id
    mail = ask(teller, "POST", f"/v1/mailboxes/session/{before.id}/messages", json={"content": "hello"})
    assert mail.status_code == 200, mail.text
    until("mail is told", lambda: "mail.received" in receiver.kinds(before))
    assert "session.created" not in receiver.kinds(before), "what was before is not told"
    # The secret is shown once, and what was told is on record.
    assert "secret" not in shown(teller, webhook)
    until("all is noted", lambda: not deliveries(teller, webhook, status="pending"))
    told = deliveries(teller, webhook, status="delivered")
    assert sorted(each["event_type"] for each in told) == sorted(receiver.kinds())
    assert all(each["response_status"] == 204 and each["attempts"] == 1 for each in told)


def test_only_what_was_asked_for_is_told(teller: Any, receiver: Receiver, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = world_of(teller, connect)
    webhook = hook(teller, receiver.url, events=["session.status_idled"])
    assert ask(teller, "POST", "/v1/webhooks", json={"url": receiver.url, "events": ["nothing"]}).status_code == 400
    session = world.session()
    world.turn(session, message("/say hi"))
    until("it is told", lambda: receiver.kinds(session) == ["session.status_idled"])
    ask(teller, "POST", f"/v1/webhooks/{webhook['id']}", json={"enabled": False})
    world.turn(session, message("/say more"))
    assert ask(teller, "POST", f"/v1/webhooks/{webhook['id']}", json={"enabled": True}).json()["status"] == "enabled"
    world.turn(session, message("/say last"))
    until("it is told again", lambda: len(receiver.kinds(session)) == 2)
    # The same again, under the same id.
    last = deliveries(teller, webhook)[0]
    replayed = ask(teller, "POST", f"/v1/webhooks/{webhook['id']}/deliveries/{last['id']}/replay")
    assert replayed.status_code == 200
    until("it comes again", lambda: len(receiver.got) == 3)
    assert receiver.got[2][0]["webhook-id"] == receiver.got[1][0]["webhook-id"] == last["event_id"]
    assert ask(teller, "DELETE", f"/v1/webhooks/{webhook['id']}").status_code == 200
    assert ask(teller, "GET", f"/v1/webhooks/{webhook['id']}").status_code == 404


def test_what_a_fork_brings_along_is_not_told_again(teller: Any, receiver: Receiver, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = world_of(teller, connect)
    source = world.session()
    world.turn(source, message("/say hi"))
    webhook = hook(teller, receiver.url)
    forked = ask(teller, "POST", f"/v1/sessions/{source.id}/fork", json={})
    assert forked.status_code == 200, forked.text
    copy = world.client.beta.sessions.retrieve(forked.json()["id"])
    world.turn(copy, message("/say more"))
    expected = ["session.created", "session.status_idled", "session.status_run_started"]
    until("its own turn is told", lambda: sorted(receiver.kinds(copy)) == expected)
    until("all is noted", lambda: not deliveries(teller, webhook, status="pending"))
    assert sorted(receiver.kinds()) == expected


def test_failures_are_tried_again_and_gone_is_gone(teller: Any, receiver: Receiver, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = world_of(teller, connect)
    webhook = hook(teller, receiver.url, events=["session.status_idled"])
    receiver.answers = [302]
    session = world.session()
    world.turn(session, message("/say hi"))
    until("it failed", lambda: shown(teller, webhook)["failures"] == 1)
    waiting = deliveries(teller, webhook)[0]
    assert "redirects are not followed" in waiting["outcome"] and waiting["response_status"] == 302
    until("it came again", lambda: len(receiver.got) == 2)
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]
    assert receiver.got[0][1] == receiver.got[1][1]
    assert all(signed(headers, body, webhook["secret"]) for headers, body in receiver.got)
    until("it is noted", lambda: shown(teller, webhook)["failures"] == 0)
    receiver.answers = [410]
    world.turn(session, message("/say more"))
    until("it is off", lambda: shown(teller, webhook)["status"] == "disabled")
    assert "410" in shown(teller, webhook)["disabled_reason"]


def test_what_is_due_survives_the_server(receiver: Receiver, connect: Callable[..., anthropic.Anthropic]) -> None:
    with Mortal.living(ALLOWED) as mortal:
        world = world_of(mortal, connect)
        webhook = hook(mortal, receiver.url)
        receiver.answers = [503] * 100
        sessions = [world.session() for _ in range(3)]
        for session in sessions:
            world.send(session, message("/say hi"))
        for session in sessions:
            until("it rests", lambda: world.history(session)[-1].type == "session.status_idle")
        mortal.kill()
        tried = {headers["webhook-id"] for headers, _ in receiver.got}
        receiver.answers = []
        mortal.start()
        expected = ["session.created", "session.status_idled", "session.status_run_started"]
        for session in sessions:
            until("all of it is told", lambda: sorted(receiver.kinds(session)) == expected)
        until("all is noted", lambda: not deliveries(mortal, webhook, status="pending"))
        again = {headers["webhook-id"] for headers, _ in receiver.got}
        assert tried <= again and len(again) == 9, "under the ids it had"
        assert all(signed(headers, body, webhook["secret"]) for headers, body in receiver.got)
        kept = b"".join(file.read_bytes() for file in mortal.data_dir.glob("*.db*"))
        assert kept and webhook["secret"].encode() not in kept, "the secret is sealed"


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://127.0.0.2/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000002/",
        "http://2130706434/",
        "http://0177.0.0.2/",
        "http://127.2/",
        "http://[fd00::1]/",
        "http://100.64.0.1/",
        "http://192.168.1.1./",
        "http://[64:ff9b::7f00:1]/",
        "http://user@example.com/",
        "http://example.com:22/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http:///",
        "gopher://example.com/",
        "http://example.com\\@127.0.0.1/",
        "",
    ],
)
def test_a_private_address_is_refused(teller: Any, url: str) -> None:
    refused = ask(teller, "POST", "/v1/webhooks", json={"url": url})
    assert refused.status_code == 400 and refused.json()["error"]["message"].startswith("url: "), refused.text


def test_a_name_of_this_host_is_sent_nothing(teller: Any, connect: Callable[..., anthropic.Anthropic]) -> None:
    world = world_of(teller, connect)
    webhook = hook(teller, "http://localhost/", events=["session.created"])
    world.session()
    until("it was tried", lambda: [each for each in deliveries(teller, webhook) if each["attempts"]] != [])
    until("it was refused", lambda: deliveries(teller, webhook)[0]["outcome"] is not None)
    tried = deliveries(teller, webhook)[0]
    assert "not sent" in tried["outcome"] and "public" in tried["outcome"] and tried["response_status"] is None
