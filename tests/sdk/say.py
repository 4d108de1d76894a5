"""Events to send, and what comes back in short."""

import json
from typing import Any


def message(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def tool(name: str, **arguments: Any) -> str:
    """A line of a rehearsal script."""
    return f"/tool {name} {json.dumps(arguments)}"


def types(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def only(events: list[Any], kind: str) -> Any:
    """The one event of this type."""
    found = [event for event in events if event.type == kind]
    assert len(found) == 1, f"{kind}: {types(events)}"
    return found[0]


def text(event: Any) -> str:
    """The text of its content blocks."""
    return "".join(block.text for block in event.content)
