"""Gives the same bytes to the official SDKs and to the readers of the product.

A difference is an answer that an SDK reads whole, with a text or tool calls, and that the product does not read, or
reads otherwise. The other direction is none: the product reads more on purpose.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anthropic
import httpx
import httpx2
import openai

from openfall.router_core.jobs.outcome import Completion, Outcome
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import Piece, ToolArguments, ToolStart
from tests.fuzz import samples
from tests.fuzz.accepted import reason_of
from tests.fuzz.cases import stream_bytes
from tests.fuzz.mutations import mutate, pack
from tests.fuzz.reading import read

_MESSAGES: Any = [{"role": "user", "content": "hi"}]
_ENDS = frozenset(
    {"stop", "length", "tool_calls", "function_call", "end_turn", "max_tokens", "stop_sequence", "tool_use"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader made of an answer: its text, its tool calls (name, input), and their inputs as they arrived."""

    text: str
    calls: tuple[tuple[str, str], ...] = ()
    raw_inputs: tuple[str, ...] = field(default=(), compare=False)


async def compare(answers: int, seed: int) -> dict[str, list[str]]:
    """The differences by kind, each with its cases."""
    differences: dict[str, list[str]] = {}
    for number in range(answers):
        chance = random.Random(f"{seed}:sdk:{number}")
        dialect, streamed = chance.choice(("openai", "anthropic")), chance.random() < 0.7
        if streamed:
            body = stream_bytes(chance, dialect, 2, named=1)  # SDKs ignore an event of Anthropic's without a name
        else:
            body = pack(chance, mutate(chance, chance.choice(samples.ANSWERS[dialect]), 2))
        if difference := await differ(dialect, body, streamed):
            differences.setdefault(difference[0], []).append(f"{difference[1]} {body!r}")
    return differences


async def differ(dialect: str, body: bytes, streamed: bool) -> tuple[str, str] | None:
    """The kind of a difference and what differs; None: there is none."""
    theirs = await read_by_sdk(dialect, body, streamed)
    if theirs is None or not (theirs.text or theirs.calls):
        return None
    outcome, _ = await read(dialect, [body], _content_type(streamed), streamed=streamed)
    mine = _reading(outcome, dialect)
    if theirs == mine or reason_of(body, theirs, mine, outcome):
        return None
    how = "text" if mine is not None and mine.text != theirs.text else "calls" if mine is not None else str(outcome)
    return f"{dialect} {'stream' if streamed else 'whole'}: {how}", f"SDK {theirs}, product {mine}"


def _reading(outcome: Outcome, dialect: str) -> Reading | None:
    if not isinstance(outcome, Completion):
        return None
    pieces: tuple[Piece, ...] = pieces_of_answer(outcome.body, dialect)  # type: ignore[arg-type]
    names = {piece.call: piece.name for piece in pieces if isinstance(piece, ToolStart) and piece.choice == 0}
    inputs = dict.fromkeys(names, "")
    for piece in pieces:
        if isinstance(piece, ToolArguments) and piece.choice == 0:
            inputs[piece.call] += piece.text
    return Reading(outcome.text, tuple((names[call], canonical(inputs[call])) for call in names))


def canonical(arguments: Any) -> str:
    """The input of a call, however it is written."""
    try:
        text = (arguments or "").strip() or "{}" if isinstance(arguments, str | None) else ""
        value = json.loads(text, strict=False) if text else arguments
        return json.dumps(value, sort_keys=True)
    except ValueError:
        return str(arguments)


def _content_type(streamed: bool) -> str:
    return "text/event-stream" if streamed else "application/json"


async def read_by_sdk(dialect: str, body: bytes, streamed: bool) -> Reading | None:
    """What the SDK reads; None: it raises, or the answer does not end for a known reason."""
    headers = {"content-type": _content_type(streamed)}
    client: Any = openai.AsyncOpenAI if dialect == "openai" else anthropic.AsyncAnthropic
    library: Any = httpx if dialect == "openai" else httpx2
    transport = library.MockTransport(lambda request: library.Response(200, headers=headers, content=body))
    reader = _READERS[dialect, streamed]
    async with library.AsyncClient(transport=transport) as http:
        try:
            with warnings.catch_warnings(action="ignore"):  # the SDKs warn of values of other types
                return await reader(client(api_key="k", base_url="http://h", max_retries=0, http_client=http))
        except Exception:  # noqa: BLE001 - whatever an SDK raises, the answer is not read
            return None


async def _completion(client: Any) -> Reading | None:
    answer = await client.chat.completions.create(model="m", messages=_MESSAGES)
    choice = answer.choices[0]
    functions = [call.function for call in choice.message.tool_calls or ()]
    calls = tuple((function.name, canonical(function.arguments)) for function in functions)
    text = choice.message.content
    return _whole("" if text is None else text, calls, choice.finish_reason)


async def _chunks(client: Any) -> Reading | None:
    text, calls, inputs, end = "", {}, {}, None
    async for chunk in await client.chat.completions.create(model="m", messages=_MESSAGES, stream=True):
        for choice in chunk.choices or ():
            if choice.index is not None and choice.index > 0:
                continue
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                if call.function and call.function.name:
                    calls[call.index] = calls.get(call.index, "") + call.function.name
                if call.function and call.function.arguments:
                    inputs[call.index] = inputs.get(call.index, "") + call.function.arguments
            end = choice.finish_reason or end
    return _whole(text, tuple((calls[index], canonical(inputs.get(index))) for index in sorted(calls)), end)


async def _message(client: Any) -> Reading | None:
    return _of_message(await client.messages.create(model="m", max_tokens=9, messages=_MESSAGES))


async def _events(client: Any) -> Reading | None:
    async with client.messages.stream(model="m", max_tokens=9, messages=_MESSAGES) as stream:
        ended, inputs = False, {}
        async for event in stream:
            ended = ended or event.type == "message_stop"
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                inputs[event.index] = inputs.get(event.index, "") + event.delta.partial_json
        answer = _of_message(await stream.get_final_message()) if ended else None
        return answer and replace(answer, raw_inputs=tuple(inputs.values()))


def _of_message(message: Any) -> Reading | None:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = tuple((block.name, canonical(block.input)) for block in message.content if block.type == "tool_use")
    return _whole(text, calls, message.stop_reason)


def _whole(text: Any, calls: tuple[Any, ...], end: Any) -> Reading | None:
    """None unless the answer ended well and is of the types that the SDK declares."""
    if end not in _ENDS or not isinstance(text, str) or not all(isinstance(name, str) for name, _ in calls):
        return None
    return Reading(text, calls)


_READERS: dict[tuple[str, bool], Callable[[Any], Any]] = {
    ("openai", False): _completion,
    ("openai", True): _chunks,
    ("anthropic", False): _message,
    ("anthropic", True): _events,
}
