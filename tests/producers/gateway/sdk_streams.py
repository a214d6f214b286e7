"""What the upstream of the tests with foreign SDKs streams, and how those SDKs are opened."""

from __future__ import annotations

from typing import Any

import anthropic
import openai

from tests.faults import events, piece
from tests.producers.gateway.running_gateway import RunningGateway

LOOK: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
ASK: Any = [{"role": "user", "content": "Haruka waves"}]
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
TEXT = "A lantern festival."


def words(*spoken: str, finish: str = "stop") -> Any:
    """A stream of text, with its usage, as OpenAI's protocol has it."""
    return events(*[piece(content=word) for word in spoken], piece(finish), USAGE)


def thought_text_and_call() -> Any:
    """A stream of thinking, text and a tool call in three fragments."""
    function = {"name": "look", "arguments": ""}
    start = {"index": 0, "id": "call_1", "type": "function", "function": function}
    fragments = [{"index": 0, "function": {"arguments": text}} for text in ('{"at":', '"dusk"}')]
    calls = [piece(tool_calls=[call]) for call in (start, *fragments)]
    return events(piece(reasoning_content="hmm"), piece(content="Let me look."), *calls, piece("tool_calls"), USAGE)


def openai_client(gateway: RunningGateway, **options: Any) -> openai.AsyncOpenAI:
    """OpenAI's own client, which checks every field of every answer."""
    own: dict[str, Any] = {
        "base_url": f"{gateway.url}/v1",
        "api_key": "any",
        "max_retries": 0,
        "_strict_response_validation": True,
    }
    return openai.AsyncOpenAI(**(own | options))


def anthropic_client(gateway: RunningGateway, **options: Any) -> anthropic.AsyncAnthropic:
    """Anthropic's own client, which checks every field of every answer."""
    own: dict[str, Any] = {
        "base_url": gateway.url,
        "api_key": "any",
        "max_retries": 0,
        "_strict_response_validation": True,
    }
    return anthropic.AsyncAnthropic(**(own | options))
