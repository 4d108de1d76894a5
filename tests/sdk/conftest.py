"""A server and clients for the tests.

The server is the one PERENNIAL_URL and PERENNIAL_KEY name, or a fresh one of the binary PERENNIAL_BIN. Its model is
`rehearsal-1`, which obeys scripts, so no key of a provider is needed.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import uuid
from typing import Any, Callable, Iterator

import anthropic
import pytest
from strict import Strict

START_SECONDS = 30


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, str]]:
    """URL and key."""
    if "PERENNIAL_URL" in os.environ:
        yield os.environ["PERENNIAL_URL"], os.environ["PERENNIAL_KEY"]
        return
    with tempfile.TemporaryDirectory(prefix="perennial-sdk-") as folder:
        data_dir = pathlib.Path(folder) / "data"
        command = [os.environ["PERENNIAL_BIN"], "up", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0", "--allow-local"]
        with open(pathlib.Path(folder) / "log", "w+") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            try:
                yield started(process, data_dir)
            except Exception:
                log.seek(0)
                print(log.read())
                raise
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(START_SECONDS)


def started(process: subprocess.Popen[bytes], data_dir: pathlib.Path) -> tuple[str, str]:
    """Waits for the file in which a server says where it is; it is written whole, after the server listens."""
    deadline = time.monotonic() + START_SECONDS
    while not (data_dir / "server.json").exists():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    return json.loads((data_dir / "server.json").read_text())["url"], (data_dir / "key").read_text().strip()


@pytest.fixture
def strict() -> Iterator[Strict]:
    """The checks; whatever they found fails the test at its end."""
    checks = Strict()
    yield checks
    assert not checks.violations, "\n\n".join(checks.violations)


@pytest.fixture
def connect(server: tuple[str, str], strict: Strict) -> Callable[..., anthropic.Anthropic]:
    """Makes SDK clients whose responses are checked."""

    def make(**options: Any) -> anthropic.Anthropic:
        url, key = server
        http = anthropic.DefaultHttpxClient(event_hooks={"response": [strict.check_response]}, **options.pop("http", {}))
        return anthropic.Anthropic(**{"base_url": url, "api_key": key, "http_client": http, **options})

    return make


@pytest.fixture
def client(connect: Callable[..., anthropic.Anthropic]) -> anthropic.Anthropic:
    return connect()


class World:
    """Things to test with, made on demand."""

    def __init__(self, client: anthropic.Anthropic) -> None:
        self.client = client

    def agent(self, **options: Any) -> Any:
        tools = [{"type": "agent_toolset_20260401"}]
        return self.client.beta.agents.create(**{"name": "tester", "model": "rehearsal-1", "tools": tools, **options})

    def environment(self, **options: Any) -> Any:
        name = f"env {uuid.uuid4()}"
        return self.client.beta.environments.create(**{"name": name, "config": {"type": "cloud"}, **options})

    def session(self, agent: Any = None, **options: Any) -> Any:
        agent = agent or self.agent()
        environment = self.environment()
        return self.client.beta.sessions.create(**{"agent": agent.id, "environment_id": environment.id, **options})

    def send(self, session: Any, *events: dict[str, Any]) -> Any:
        return self.client.beta.sessions.events.send(session.id, events=list(events))

    def turn(self, session: Any, *events: dict[str, Any], **options: Any) -> list[Any]:
        """Sends while streaming; everything streamed until the session rests."""
        seen = []
        with self.client.beta.sessions.events.stream(session.id, **options) as stream:
            self.send(session, *events)
            for event in stream:
                seen.append(event)
                if event.type == "session.status_idle":
                    return seen
        raise AssertionError(f"the stream ended before the session rested: {[event.type for event in seen]}")

    def history(self, session: Any, **options: Any) -> list[Any]:
        return list(self.client.beta.sessions.events.list(session.id, **options))


@pytest.fixture
def world(client: anthropic.Anthropic) -> World:
    return World(client)
