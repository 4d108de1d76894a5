"""The official `EnvironmentWorker` runs the tools of a self-hosted environment, and goes on where one of it was killed."""

import os
import pathlib
import signal
import subprocess
import sys
from typing import Any, Callable, Iterator

import anthropic
import httpx2
import pytest
from conftest import World, die_with_parent, until
from say import message, only, text, tool, types

WORKER = pathlib.Path(__file__).parent / "worker.py"
ALWAYS_ASK = [{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}]
# Says that it runs, and waits for a word.
PATIENT = "echo run >> ledger; for n in $(seq 300); do [ -e go ] && break; sleep 0.1; done; echo over"


class Hosted:
    """A self-hosted environment, a key of its workers, and a folder they work in."""

    def __init__(self, world: World, server: tuple[str, str], folder: pathlib.Path) -> None:
        # Of a cluster, workers may know another node than clients do.
        self.world, self.url, self.folder = world, os.environ.get("PERENNIAL_WORKER_URL", server[0]), folder
        self.environment = world.environment(config={"type": "self_hosted"})
        self.key = self.ask("POST", f"/v1/environments/{self.environment.id}/keys", server[1], json={"name": "tests"}).json()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.log = folder.parent / "worker.log"

    def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx2.Response:
        """As a worker, unless told otherwise."""
        headers = {"authorization": f"Bearer {key or self.key['secret']}", **options.pop("headers", {})}
        return httpx2.request(method, self.url + path, headers=headers, **options)

    def work(self, path: str = "") -> str:
        return f"/v1/environments/{self.environment.id}/work{path}"

    def follow(self, session: Any) -> subprocess.Popen[bytes]:
        """The session's stream, as whoever has the key reads it; ends when the server ends it."""
        read = "import httpx2, sys; r = httpx2.stream('GET', sys.argv[1], headers={'authorization': 'Bearer ' + sys.argv[2]}, timeout=60)\n"
        read += "with r as s:\n    s.raise_for_status(); print('open', flush=True); [None for _ in s.iter_bytes()]"
        url = f"{self.url}/v1/sessions/{session.id}/events/stream"
        reader = subprocess.Popen([sys.executable, "-c", read, url, self.key["secret"]], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.workers.append(reader)
        assert reader.stdout is not None and reader.stdout.readline() == b"open\n"
        return reader

    def worker(self, max_idle: float = 0.5) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(WORKER), self.url, self.environment.id, self.key["secret"], str(self.folder), str(max_idle)]
        with open(self.log, "ab") as log:
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.workers.append(worker)
        return worker

    def session(self, *script: str, **options: Any) -> Any:
        """A session whose turn has begun."""
        session = self.world.session(environment_id=self.environment.id, **options)
        self.world.send(session, message("\n/then\n".join(script)))
        return session

    def rests(self, session: Any) -> list[Any]:
        """Its history, once its turn is over."""
        over = lambda: (h := self.world.history(session))[-1].type == "session.status_idle" and h[-1].stop_reason.type == "end_turn"
        until("the session rests", over)
        return self.world.history(session)

    def states(self) -> list[str]:
        return [work["state"] for work in self.ask("GET", self.work()).json()["data"]]


@pytest.fixture
def hosted(world: World, server: tuple[str, str], tmp_path: pathlib.Path) -> Iterator[Hosted]:
    (tmp_path / "work").mkdir()
    hosted = Hosted(world, server, tmp_path / "work")
    try:
        yield hosted
    except BaseException:
        raise
    finally:
        for worker in hosted.workers:
            worker.kill()
            worker.wait(10)
        if hosted.log.exists():
            print(hosted.log.read_text())


def results(history: list[Any]) -> list[Any]:
    uses = [event.id for event in history if event.type == "agent.tool_use"]
    found = [event for event in history if event.type == "user.tool_result"]
    assert [event.tool_use_id for event in found] == uses, "one result each, in order"
    return found


def test_a_worker_runs_bash_write_and_edit(hosted: Hosted) -> None:
    hosted.worker()
    session = hosted.session(
        tool("bash", command="echo hello from $(basename $PWD)"),
        tool("write", file_path="notes.txt", content="one\ntwo\n"),
        tool("edit", file_path="notes.txt", old_string="two", new_string="three"),
        tool("bash", command="cat notes.txt"),
    )
    answers = results(hosted.rests(session))
    assert not any(answer.is_error for answer in answers), [text(answer) for answer in answers]
    assert "hello from work" in text(answers[0]) and "three" in text(answers[3])
    assert (hosted.folder / "notes.txt").read_text() == "one\nthree\n"
    until("the work is over", lambda: hosted.states() == ["stopped"])
    # A later turn is a new piece of work.
    hosted.world.send(session, message(tool("bash", command="echo again")))
    until("it ran", lambda: len([e for e in hosted.world.history(session) if e.type == "user.tool_result"]) == 5)
    assert "again" in text(results(hosted.rests(session))[-1])
    assert len(hosted.states()) == 2


def test_a_worker_that_is_killed_in_a_call_is_replaced(hosted: Hosted) -> None:
    first = hosted.worker()
    session = hosted.session(
        tool("bash", command=PATIENT),
        tool("write", file_path="a.txt", content="x\n"),
        tool("edit", file_path="a.txt", old_string="x", new_string="y"),
    )
    ledger = hosted.folder / "ledger"
    until("the call runs", lambda: ledger.exists() and ledger.read_text() == "run\n")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    (hosted.folder / "go").touch()
    hosted.worker()
    answers = results(hosted.rests(session))
    assert "over" in text(answers[0]) and not any(answer.is_error for answer in answers)
    assert (hosted.folder / "a.txt").read_text() == "y\n"
    assert ledger.read_text() == "run\nrun\n", "the official worker runs what has no result again"
    until("the second piece is over", lambda: hosted.states() == ["stopped", "stopped"])


def test_a_call_that_asks_waits_for_a_person_and_holds_no_worker(hosted: Hosted) -> None:
    session = hosted.session(tool("bash", command="echo allowed"), agent=hosted.world.agent(tools=ALWAYS_ASK))
    until("it asks", lambda: hosted.world.history(session)[-1].type == "session.status_idle")
    hosted.worker()
    until("the worker polls", lambda: hosted.ask("GET", hosted.work("/stats")).json()["workers_polling"] == 1)
    assert hosted.states() == []
    use = only(hosted.world.history(session), "agent.tool_use")
    hosted.world.send(session, {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"})
    assert "allowed" in text(results(hosted.rests(session))[0])


def test_one_worker_serves_many_sessions(hosted: Hosted) -> None:
    # As patient as it is by default: it is told when another session needs it.
    hosted.worker(max_idle=60)
    sessions = [hosted.session(tool("bash", command=f"echo number {n}")) for n in range(3)]
    for n, session in enumerate(sessions):
        assert f"number {n}" in text(results(hosted.rests(session))[0])


def test_a_key_opens_its_environment_and_nothing_else(hosted: Hosted, connect: Callable[..., anthropic.Anthropic]) -> None:
    session = hosted.session(tool("bash", command="true"))
    other = hosted.world.session()
    elsewhere = hosted.world.environment(config={"type": "self_hosted"})
    until("it waits", lambda: hosted.states() == ["queued"])
    use = only(hosted.world.history(session), "agent.tool_use")

    refused = [
        ("GET", "/v1/agents"),
        ("GET", "/v1/sessions"),
        ("POST", "/v1/sessions"),
        ("GET", "/v1/environments"),
        ("GET", f"/v1/environments/{hosted.environment.id}"),
        ("GET", f"/v1/environments/{hosted.environment.id}/keys"),
        ("POST", f"/v1/environments/{hosted.environment.id}/keys"),
        ("POST", f"/v1/sessions/{session.id}"),
        ("DELETE", f"/v1/sessions/{session.id}"),
        ("GET", f"/v1/sessions/{session.id}/log"),
        ("GET", "/v1/feed"),
        ("GET", "/v1/workers"),
        ("GET", "/metrics"),
    ]
    for method, path in refused:
        assert hosted.ask(method, path).status_code == 403, path
    assert hosted.ask("GET", "/llm/v1/models").status_code == 401
    for path in (f"/v1/sessions/{other.id}", f"/v1/sessions/{other.id}/events", f"/v1/environments/{elsewhere.id}/work/poll"):
        assert hosted.ask("GET", path).status_code == 404, path
    say = {"events": [message("do something else")]}
    assert hosted.ask("POST", f"/v1/sessions/{session.id}/events", json=say).status_code == 400
    allow = {"events": [{"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}]}
    assert hosted.ask("POST", f"/v1/sessions/{session.id}/events", json=allow).status_code == 400

    # The token of a piece of work opens that piece and its session; it is worth nothing once the piece is somebody else's.
    worker = connect(base_url=hosted.url, api_key=None, auth_token=hosted.key["secret"])
    work = worker.beta.environments.work.poll(hosted.environment.id, anthropic_worker_id="by-hand")
    token = sessions_token(work.secret)
    assert hosted.ask("GET", f"/v1/sessions/{session.id}", token).status_code == 200
    assert hosted.ask("GET", hosted.work("/poll"), token).status_code == 403
    worker.beta.environments.work.ack(work.id, environment_id=hosted.environment.id)
    result = {"events": [{"type": "user.tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "mine"}]}]}
    sent = hosted.ask("POST", f"/v1/sessions/{session.id}/events", token, json=result)
    assert sent.status_code == 200
    again = hosted.ask("POST", f"/v1/sessions/{session.id}/events", token, json=result)
    assert again.json() == sent.json(), "the same result again is the same event"
    result["events"][0]["content"][0]["text"] = "another"
    assert hosted.ask("POST", f"/v1/sessions/{session.id}/events", token, json=result).status_code == 400
    worker.beta.environments.work.stop(work.id, environment_id=hosted.environment.id, force=True)
    assert hosted.ask("GET", f"/v1/sessions/{session.id}", token).status_code == 403

    stream = hosted.follow(session)
    ended = hosted.ask("DELETE", f"/v1/environments/{hosted.environment.id}/keys/{hosted.key['id']}", hosted.world.client.api_key)
    assert ended.status_code == 200
    assert hosted.ask("GET", hosted.work("/poll")).status_code == 401
    assert hosted.ask("POST", hosted.work(f"/{work.id}/stop"), token).status_code == 401
    # A stream that was open ends with the credential.
    assert stream.wait(10) == 0, "it is still open"


def test_leases_go_from_worker_to_worker(hosted: Hosted, connect: Callable[..., anthropic.Anthropic]) -> None:
    hosted.session(tool("bash", command="true"))
    until("it waits", lambda: hosted.states() == ["queued"])
    work = connect(base_url=hosted.url, api_key=None, auth_token=hosted.key["secret"]).beta.environments.work
    of = {"environment_id": hosted.environment.id}
    first = work.poll(hosted.environment.id, block_ms=999, anthropic_worker_id="a")
    assert work.poll(hosted.environment.id, anthropic_worker_id="b") is None
    stats = work.stats(hosted.environment.id)
    assert (stats.depth, stats.pending, stats.workers_polling) == (0, 1, 2)
    # Nobody acknowledged it.
    again = work.poll(hosted.environment.id, reclaim_older_than_ms=1)
    assert again.id == first.id and again.secret != first.secret
    assert hosted.ask("GET", f"/v1/sessions/{first.data.id}", sessions_token(first.secret)).status_code == 401
    assert work.ack(first.id, **of).state == "starting"
    beat = work.heartbeat(first.id, expected_last_heartbeat="NO_HEARTBEAT", desired_ttl_seconds=1, **of)
    assert (beat.state, beat.lease_extended, beat.ttl_seconds) == ("active", True, 1)
    with pytest.raises(anthropic.APIStatusError) as lost:
        work.heartbeat(first.id, expected_last_heartbeat="NO_HEARTBEAT", **of)
    assert lost.value.status_code == 412
    details = lost.value.body["error"]["details"]
    assert details["error_code"] == "heartbeat_precondition_failed"
    assert details["current_state"]["last_heartbeat"] == beat.last_heartbeat
    # Its worker falls silent, and somebody else gets the session.
    until("it is given up", lambda: hosted.states() == ["queued", "stopped"])
    late = work.heartbeat(first.id, expected_last_heartbeat=beat.last_heartbeat, **of)
    assert (late.state, late.lease_extended) == ("stopped", False)
    second = work.poll(hosted.environment.id)
    assert second.data.id == first.data.id and second.id != first.id
    work.ack(second.id, **of)
    assert work.stop(second.id, **of).state == "stopping"
    assert work.heartbeat(second.id, expected_last_heartbeat="NO_HEARTBEAT", **of).state == "stopping"
    assert work.stop(second.id, force=True, **of).state == "stopped"
    with pytest.raises(anthropic.ConflictError):
        work.stop(second.id, force=True, **of)
    admin = hosted.world.client.beta.environments.work
    assert admin.update(second.id, metadata={"a": "b"}, **of).metadata == {"a": "b"}
    assert admin.retrieve(second.id, **of).metadata == {"a": "b"}
    with pytest.raises(anthropic.PermissionDeniedError):
        work.retrieve(second.id, **of)


def sessions_token(secret: str) -> str:
    import base64
    import json

    return json.loads(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))["sessions_token"]
