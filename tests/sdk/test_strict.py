"""The checks themselves: each finds what it is there to find."""

import json
from typing import Any

import httpx2
import pytest
from strict import EventCheck, Strict, event_types

MESSAGE = {
    "type": "agent.message",
    "id": "sevt_1",
    "processed_at": "2026-01-01T00:00:00.000000Z",
    "content": [{"type": "text", "text": "hi"}],
}
DELETED = {"id": "sesn_1", "type": "session_deleted"}


def frame(event: str, data: dict[str, Any], seq: int | None = 1) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"event: {event}\n{number}data: {json.dumps(data)}\n\n".encode()


def violations_of_stream(*frames: bytes) -> list[str]:
    strict = Strict()
    check = EventCheck(strict, "stream")
    for one in frames:
        # However the bytes are cut.
        check.feed(one[:7])
        check.feed(one[7:])
    assert strict.events == len(frames)
    return strict.violations


def violations_of_answer(status: int, body: dict[str, Any], request_id: str | None = "req_1") -> list[str]:
    strict = Strict()
    headers = {"content-type": "application/json"} | ({"request-id": request_id} if request_id else {})
    request = httpx2.Request("DELETE", "http://127.0.0.1/v1/sessions/sesn_" + "0" * 32)
    strict.check_response(httpx2.Response(status, headers=headers, json=body, request=request))
    return strict.violations


def test_what_is_right_passes() -> None:
    assert violations_of_stream(frame("agent.message", MESSAGE), frame("agent.message", MESSAGE, 2)) == []
    assert violations_of_answer(200, DELETED) == []
    assert {"agent.message", "session.status_idle", "event_delta"} <= event_types()


@pytest.mark.parametrize(
    "frames",
    [
        [frame("agent.thinking", MESSAGE)],
        [frame("agent.message", MESSAGE, None)],
        [frame("agent.message", MESSAGE, 2), frame("agent.message", MESSAGE, 2)],
        [frame("agent.message", {**MESSAGE, "content": None})],
        [frame("agent.message", {**MESSAGE, "surprise": 1})],
        [frame("agent.message", {name: value for name, value in MESSAGE.items() if name != "processed_at"})],
        [frame("input.processed", {"type": "input.processed", "id": "sevt_1", "event_ids": []})],
    ],
)
def test_a_wrong_stream_is_found(frames: list[bytes]) -> None:
    assert violations_of_stream(*frames)


@pytest.mark.parametrize(
    ("status", "body", "request_id"),
    [
        (200, DELETED, None),
        (200, {"id": "sesn_1"}, "req_1"),
        (200, {**DELETED, "id": 1}, "req_1"),
        (200, {**DELETED, "surprise": {}}, "req_1"),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "m"}, "request_id": "req_1"}, "req_1"),
        (404, {"type": "error", "error": {"type": "odd", "message": "m"}, "title": "t", "status": 404, "detail": "m"}, "req_1"),
    ],
)
def test_a_wrong_answer_is_found(status: int, body: dict[str, Any], request_id: str | None) -> None:
    assert violations_of_answer(status, body, request_id)
