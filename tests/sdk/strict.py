"""Checks everything the server says against the SDK's own models.

The SDK builds its models without validation: a missing or misspelt field shows up late, as an attribute that is not there.
Here every JSON body and every event of a stream is validated strictly, by hooks on the SDK's own HTTP client, whichever
test happens to cause it.
"""

import json
import re
from typing import Any, Iterator, Optional, get_args

import httpx2
import pydantic
from anthropic._models import BaseModel
from anthropic.pagination import SyncBidirectionalPageCursor, SyncPageCursor
from anthropic.types.beta import (
    BetaEnvironment,
    BetaEnvironmentDeleteResponse,
    BetaManagedAgentsAgent,
    BetaManagedAgentsDeletedSession,
    BetaManagedAgentsSession,
)
from anthropic.types.beta.environments import (
    BetaSelfHostedWork,
    BetaSelfHostedWorkHeartbeatResponse,
    BetaSelfHostedWorkQueueStats,
)
from anthropic.types.beta.sessions import (
    BetaManagedAgentsSendSessionEvents,
    BetaManagedAgentsSessionEvent,
    BetaManagedAgentsStreamSessionEvents,
)
from anthropic.types.beta_error_response import BetaErrorResponse

ID = r"/[a-z]+_[0-9a-f]{32}"
ROUTES = [
    ("POST", r"/v1/agents", BetaManagedAgentsAgent),
    ("GET", r"/v1/agents", SyncPageCursor[BetaManagedAgentsAgent]),
    ("GET|POST", rf"/v1/agents{ID}(/archive)?", BetaManagedAgentsAgent),
    ("GET", rf"/v1/agents{ID}/versions", SyncPageCursor[BetaManagedAgentsAgent]),
    ("POST", r"/v1/environments", BetaEnvironment),
    ("GET", r"/v1/environments", SyncPageCursor[BetaEnvironment]),
    ("GET|POST", rf"/v1/environments{ID}(/archive)?", BetaEnvironment),
    ("DELETE", rf"/v1/environments{ID}", BetaEnvironmentDeleteResponse),
    ("GET", rf"/v1/environments{ID}/work", SyncPageCursor[BetaSelfHostedWork]),
    ("GET", rf"/v1/environments{ID}/work/poll", Optional[BetaSelfHostedWork]),
    ("GET", rf"/v1/environments{ID}/work/stats", BetaSelfHostedWorkQueueStats),
    ("GET|POST", rf"/v1/environments{ID}/work{ID}(/ack|/stop)?", BetaSelfHostedWork),
    ("POST", rf"/v1/environments{ID}/work{ID}/heartbeat", BetaSelfHostedWorkHeartbeatResponse),
    ("POST", r"/v1/sessions", BetaManagedAgentsSession),
    ("GET", r"/v1/sessions", SyncBidirectionalPageCursor[BetaManagedAgentsSession]),
    ("GET|POST", rf"/v1/sessions{ID}(/archive)?", BetaManagedAgentsSession),
    ("DELETE", rf"/v1/sessions{ID}", BetaManagedAgentsDeletedSession),
    ("POST", rf"/v1/sessions{ID}/events", BetaManagedAgentsSendSessionEvents),
    ("GET", rf"/v1/sessions{ID}/events", SyncPageCursor[BetaManagedAgentsSessionEvent]),
]
# Beside Anthropic's error shape; part of what we promise.
OUR_ERROR_FIELDS = frozenset({"title", "status", "detail"})


class Strict:
    """Hooks for an HTTP client; collects what is wrong."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.bodies = 0
        self.events = 0
        self._adapters: dict[Any, pydantic.TypeAdapter[Any]] = {}

    def check_response(self, response: httpx2.Response) -> None:
        """An httpx event hook: validates a JSON body, or the stream as it is read."""
        what = f"{response.request.method} {response.request.url.path} -> {response.status_code}"
        if not response.headers.get("request-id"):
            self.violations.append(f"{what}: no request-id header")
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = Tee(response.stream, EventCheck(self, what))
            return
        response.read()
        self.bodies += 1
        if response.is_success:
            self._success(what, response)
        else:
            self._error(what, response)

    def _success(self, what: str, response: httpx2.Response) -> None:
        method, path = response.request.method, response.request.url.path
        fits = (kind for methods, route, kind in ROUTES if re.fullmatch(methods, method) and re.fullmatch(route, path))
        kind = next(fits, None)
        if kind is None:
            self.violations.append(f"{what}: no model is known for this route")
        elif not mentions_local(response.text):
            self.validate(what, kind, response.text)

    def _error(self, what: str, response: httpx2.Response) -> None:
        body = response.json()
        # The model of errors has no details; the class the SDK raises for a heartbeat reads them.
        known = OUR_ERROR_FIELDS | {"error.details"} if response.status_code == 412 else OUR_ERROR_FIELDS
        self.validate(what, BetaErrorResponse, response.text, known)
        if body.get("request_id") != response.headers.get("request-id"):
            self.violations.append(f"{what}: the body's request_id is not the header's")
        if body.get("status") != response.status_code or not body.get("title") or not body.get("detail"):
            self.violations.append(f"{what}: title, status or detail is missing or wrong: {body}")

    def validate(self, what: str, kind: Any, text: str, known: frozenset[str] = frozenset()) -> Any:
        """The value, strictly of this kind and with no field the SDK does not know; else a violation."""
        adapter = self._adapters.setdefault(kind, pydantic.TypeAdapter(kind))
        try:
            value = adapter.validate_json(text, strict=True)
        except pydantic.ValidationError as error:
            self.violations.append(f"{what}: {error}\n{text[:2000]}")
            return None
        unknown = {path for path in extras(value) if path not in known}
        if unknown:
            self.violations.append(f"{what}: fields the SDK does not know: {sorted(unknown)}")
        return value


class EventCheck:
    """Validates the frames of one event stream."""

    def __init__(self, strict: Strict, what: str) -> None:
        self.strict = strict
        self.what = what
        self.buffer = b""
        self.last = 0

    def feed(self, chunk: bytes) -> None:
        self.buffer += chunk
        while b"\n\n" in self.buffer:
            frame, self.buffer = self.buffer.split(b"\n\n", 1)
            self._frame(frame.decode())

    def _frame(self, frame: str) -> None:
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" not in fields:
            return
        self.strict.events += 1
        event, data = fields.get("event"), fields["data"]
        what = f"{self.what} event {event}"
        if event != json.loads(data)["type"]:
            self.strict.violations.append(f"{what}: the data's type is another: {data}")
        preview = event in ("event_start", "event_delta")
        if preview == ("id" in fields):
            self.strict.violations.append(f"{what}: only stored events have an id")
        if "id" in fields:
            if int(fields["id"]) <= self.last:
                self.strict.violations.append(f"{what}: id {fields['id']} after {self.last}")
            self.last = int(fields["id"])
        self.strict.validate(what, BetaManagedAgentsStreamSessionEvents, data)


class Tee(httpx2.SyncByteStream):
    """Passes a stream on and shows it to a check."""

    def __init__(self, inner: Any, check: EventCheck) -> None:
        self.inner = inner
        self.check = check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.inner:
            self.check.feed(chunk)
            yield chunk

    def close(self) -> None:
        self.inner.close()


def mentions_local(text: str) -> bool:
    """Whether a body shows an environment of our extension type `local`, which the SDK's union does not know."""
    def local(value: Any) -> bool:
        if isinstance(value, dict):
            return value.get("type") == "local" or any(map(local, value.values()))
        return isinstance(value, list) and any(map(local, value))

    return '"local"' in text and local(json.loads(text))


def extras(value: Any, path: str = "") -> Iterator[str]:
    """Paths of fields no model declares."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}".lstrip(".") for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from extras(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from extras(item, f"{path}[]")


def event_types() -> set[str]:
    """Every `type` the SDK's stream union knows."""
    union = get_args(BetaManagedAgentsStreamSessionEvents)[0]
    variants = get_args(union) if get_args(union) else (union,)
    return {get_args(variant.model_fields["type"].annotation)[0] for variant in variants}


