"""A server and clients for the tests.

The server is the one PERENNIAL_URL and PERENNIAL_KEY name, or a fresh one of the binary PERENNIAL_BIN. Its model is
`rehearsal-1`, which obeys scripts, so no key of a provider is needed.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
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
    with Mortal.living() as mortal:
        yield mortal.url, mortal.key


class Mortal:
    """A server that can be killed, and started again on the same data directory and address."""

    def __init__(self, folder: pathlib.Path, environment: dict[str, str] | None = None) -> None:
        self.environment = {**os.environ, **(environment or {})}
        self.data_dir = folder / "data"
        self.log = folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.start()

    @classmethod
    @contextlib.contextmanager
    def living(cls, environment: dict[str, str] | None = None) -> Iterator["Mortal"]:
        with tempfile.TemporaryDirectory(prefix="perennial-sdk-") as folder:
            mortal = cls(pathlib.Path(folder), environment)
            try:
                yield mortal
            except Exception:
                print(mortal.log.read_text())
                raise
            finally:
                mortal.process.send_signal(signal.SIGTERM)
                mortal.process.wait(START_SECONDS)

    def start(self) -> None:
        """Returns when it listens: the file in which a server says where it is, is written whole, and then."""
        leases = ["--lease-ttl-ms", "1000", "--renew-ms", "300", "--sweep-ms", "200"]
        command = [os.environ["PERENNIAL_BIN"], "up", "--data-dir", str(self.data_dir), "--listen", self.address, "--allow-local", *leases]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=die_with_parent, env=self.environment
            )
        until("the server starts", self.listens)

    def listens(self) -> bool:
        assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
        said = self.data_dir / "server.json"
        return said.exists() and json.loads(said.read_text())["pid"] == self.process.pid

    @property
    def key(self) -> str:
        return (self.data_dir / "key").read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(START_SECONDS)


def die_with_parent() -> None:
    """PR_SET_PDEATHSIG: a server must not outlive a test that was killed. The parent is a thread: start servers from the main one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def until(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    """A server of one test's own."""
    with Mortal.living() as mortal:
        yield mortal


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
        url, key = options.pop("server", server)
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
