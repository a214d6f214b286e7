"""What each agent must get through at a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.agents.agent_programs import Agent
from tests.agents.agent_provider import ANSWER, SIGNATURE, THINKING, WORD
from tests.agents.agent_stand import AgentStand, agent_stand
from tests.clients.outcomes import Outcome

AGENT_SECONDS = 120.0
"""How long an agent may take for its turn."""
CHAINS = {"a provider of messages": "thinker", "a provider of chat completions": "writer"}


async def checks_of(agent: Agent) -> list[Outcome]:
    """The outcome of every check of an agent."""
    outcomes = []
    for provider, chain in CHAINS.items():
        async with agent_stand(chain) as stand:
            printed = await _run(agent, stand)
            outcomes.append(Outcome(f"a tool turn over {provider}", _turn_trouble(printed, stand)))
            if agent.name == "claude-code" and chain == "thinker":
                outcomes.append(Outcome("thinking comes back as it was signed", _thinking_trouble(stand)))
            if not outcomes[-1].why:
                outcomes.append(Outcome(f"the gateway killed in mid-turn, {provider}", await _killed(agent, stand)))
    return outcomes


async def _killed(agent: Agent, stand: AgentStand) -> str:
    """The trouble when the gateway is killed while the answer is being written. Empty: the repeat got it, bought
    once."""
    gate = asyncio.Event()
    stand.provider.clear(gate)
    running = asyncio.create_task(_run(agent, stand))
    waiting = asyncio.create_task(stand.provider.waits.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    await stand.kill_gateway()
    await stand.start_gateway()
    gate.set()
    printed = await running
    waiting.cancel()
    return _turn_trouble(printed, stand)


async def _run(agent: Agent, stand: AgentStand) -> str:
    """Run the agent for one prompt, in an empty folder. What it printed."""
    with TemporaryDirectory(prefix="of-agent-") as place:
        work = Path(place) / "work"
        work.mkdir()
        process = await asyncio.create_subprocess_exec(
            *agent.command(stand.url),
            cwd=work,
            env=agent.environment(Path(place) / "home", stand.url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = b"it did not end in time"
        try:
            async with asyncio.timeout(AGENT_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        agent.client.home.joinpath("output.log").write_bytes(output)
        return output.decode(errors="replace")


def _turn_trouble(printed: str, stand: AgentStand) -> str:
    """Why the turn with the tool is not whole. Empty: it is."""
    turns = stand.provider.turns
    if ANSWER not in printed:
        return f"it did not answer: {printed.strip()[-200:]!r}"
    if len(turns) != 2:
        return f"{len(turns)} requests with tools reached the provider instead of 2"
    if WORD not in json.dumps(turns[1]["messages"][1:]):
        return "the result of the tool did not reach the provider"
    return ""


def _thinking_trouble(stand: AgentStand) -> str:
    """Why the signed thinking did not come back intact. Empty: it did."""
    blocks = [block for block in _blocks(stand.provider.turns[1]) if block.get("type") == "thinking"]
    expected = {"type": "thinking", "thinking": THINKING, "signature": SIGNATURE}
    return "" if blocks == [expected] else f"{blocks} instead of {[expected]}"


def _blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for message in body["messages"]:
        if message["role"] == "assistant" and isinstance(message["content"], list):
            yield from message["content"]
