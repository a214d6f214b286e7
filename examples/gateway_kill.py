"""Act 4, the gateway: a program that knows a base URL asks, and follows a request over a kill of the gateway.

It uses the SDK of OpenAI, which knows nothing of openfall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import openai

from examples.demo_fleet import Fleet, poll

GATEWAY = "gateway"
TIMEOUT_S = 120.0
"""The gateway is back within a second, and its jobs are answered within 10 s on a busy machine."""


@dataclass(slots=True)
class GatewayKill:
    """What happened. Times are seconds since the kill; None: not reached."""

    answer: str = ""
    """The answer to a chat completion."""
    response: str = ""
    """The id of the request in the background."""
    killed: bool = False
    back: float | None = None
    """The gateway answered again."""
    text: str = ""
    """The answer of the request in the background."""

    @property
    def survived(self) -> bool:
        """Both requests were answered, the second at a gateway that was killed in between."""
        return bool(self.answer and self.killed and self.back is not None and self.text)


async def kill_gateway(url: str, fleet: Fleet, show_line: Callable[[str], None]) -> GatewayKill:
    """Ask the gateway, put a request into the background, kill the gateway, and read the answer at the next one."""
    act = GatewayKill()
    try:
        async with asyncio.timeout(TIMEOUT_S), openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            chat = await client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "Haruka waves at the last train"}]
            )
            act.answer = chat.choices[0].message.content or ""
            show_line(
                f"POST {url}/chat/completions, by the SDK of OpenAI: [bold green]answered[/] “{_shorten(act.answer)}”"
            )
            queued = await client.responses.create(
                model="scene", input="Describe the last train of the night, in one sentence.", background=True
            )
            act.response = queued.id
            fleet.kill(GATEWAY)
            act.killed, began = True, time.monotonic()
            show_line(f"POST {url}/responses, in the background: queued; [bold red]kill -9 {GATEWAY}[/]")
            response = await poll(lambda: _ended(client, act, began))
            act.text = response.output_text
    except (TimeoutError, openai.OpenAIError) as error:
        show_line(f"[red]the gateway did not answer: {error or 'in time'}[/]")
    if act.survived:
        show_line(f"the gateway is back after {act.back:.1f} s: [bold green]{act.response[:12]}... answered[/]")
    return act


async def _ended(client: openai.AsyncOpenAI, act: GatewayKill, began: float) -> openai.types.responses.Response | None:
    """The response, once it has ended. None: not yet, or no gateway answers.

    An answer of as many tokens as the model may write is `incomplete`, not `completed`.
    """
    try:
        response = await client.responses.retrieve(act.response)
    except openai.APIConnectionError:
        return None
    if act.back is None:
        act.back = time.monotonic() - began
    return None if response.status in ("queued", "in_progress") else response


def _shorten(text: str, limit: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit].rstrip()} ..."
