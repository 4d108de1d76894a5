"""`perennial rehearsal` as Anthropic's API: the official SDK against it, streamed and whole, with its own types and errors."""

import contextlib
import json
import os
import subprocess
from typing import Iterator

import anthropic
import pytest

TOOL = {"name": "look_up", "description": "d", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}
SCRIPT = 'do this:\n/say looking\n/tool look_up {"q": "x"}\n/tool look_up {"q": "y"}\n/then\n/say done'


@contextlib.contextmanager
def rehearsal(*flags: str) -> Iterator[anthropic.Anthropic]:
    command = [os.environ["PERENNIAL_BIN"], "rehearsal", "--json", "--listen", "127.0.0.1:0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            listening = json.loads(process.stdout.readline())
            with anthropic.Anthropic(base_url=listening["anthropic_base_url"], api_key="k", max_retries=0) as client:
                yield client
        finally:
            process.terminate()


def results(message: anthropic.types.Message) -> dict:
    calls = [block for block in message.content if block.type == "tool_use"]
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "found"} for call in calls],
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_loop(streamed: bool) -> None:
    with rehearsal() as client:
        messages: list = [{"role": "user", "content": SCRIPT}]

        def ask() -> anthropic.types.Message:
            arguments = dict(model="claude-x", max_tokens=100, tools=[TOOL], messages=messages)
            if not streamed:
                return client.messages.create(**arguments)
            with client.messages.stream(**arguments) as stream:
                return stream.get_final_message()

        first = ask()
        assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
        assert first.stop_reason == "tool_use"
        assert [block.input for block in first.content[1:]] == [{"q": "x"}, {"q": "y"}]
        messages += [{"role": "assistant", "content": first.content}, results(first)]
        last = ask()
        assert (last.content[0].text, last.stop_reason) == ("done", "end_turn")
        assert last.usage.input_tokens > first.usage.input_tokens > 0


def test_thinking_goes_back_with_its_signature() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with rehearsal() as client:
        messages: list = [{"role": "user", "content": "x\n/tool look_up\n/say done"}]
        arguments = dict(model="claude-x", max_tokens=2000, tools=[TOOL], thinking=thinking, messages=messages)
        first = client.messages.create(**arguments)
        assert [block.type for block in first.content] == ["thinking", "tool_use"]
        messages += [{"role": "assistant", "content": first.content}, results(first)]
        assert client.messages.create(**arguments).content[-1].text == "done"
        first.content[0].thinking = "another thought"
        with pytest.raises(anthropic.BadRequestError, match="was changed"):
            client.messages.create(**arguments)


def test_errors_are_the_vendors() -> None:
    hello: list = [{"role": "user", "content": "x\n/fail 529\n/fail 429\n/say hi"}]
    with rehearsal() as client:

        def ask(messages: list = hello) -> anthropic.types.Message:
            return client.messages.create(model="claude-x", max_tokens=100, messages=messages)

        # `OverloadedError` or `InternalServerError`, as the SDK's version has it.
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            ask()
        assert overloaded.value.status_code == 529
        with pytest.raises(anthropic.RateLimitError):
            ask()
        assert ask().content[0].text == "hi"
        with pytest.raises(anthropic.BadRequestError, match="the role must be user"):
            ask([{"role": "assistant", "content": "x"}])


def test_a_lenient_one_answers_what_a_vendor_refuses() -> None:
    with rehearsal("--lenient") as client:
        messages: list = [{"role": "user", "content": "x"}, {"role": "user", "content": "/say hi"}]
        assert client.messages.create(model="claude-x", max_tokens=100, messages=messages).content[0].text == "hi"


def test_counting_and_listing() -> None:
    with rehearsal() as client:
        counted = client.messages.count_tokens(model="claude-x", messages=[{"role": "user", "content": "hello"}])
        assert counted.input_tokens == 3
        assert [model.id for model in client.models.list()] == ["rehearsal-1"]
        assert client.models.retrieve("claude-x").id == "claude-x"
