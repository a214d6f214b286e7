"""Every backend is away: who reads what, and who gets the answer when a model is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults import Script, events, piece, reset
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import ASK, LOOK, TEXT, anthropic_client, openai_client

MORE = """
  cared: {chain: [tiny], canned_reply: "Back in a minute.", open_fall: [canned_reply, hold]}
breakers: {consecutive_failures: 1, open_for: 300ms, open_for_max: 300ms, slow_start: 100ms}
retry: {max_retries: 0}
urgency: {interactive: {start_within: 300ms}}
"""


def _away_until(back: asyncio.Event) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        if not back.is_set():
            await reset(writer)
        else:
            await events(piece(content=TEXT), piece("stop"))(writer)

    return script


async def _come_back_after(gateway: RunningGateway, count: int, back: asyncio.Event) -> None:
    """The model is back once as many jobs are held."""
    async with asyncio.timeout(60):
        while await gateway.link.command("ZCARD", "rq:deferred:degrade") < count:
            await asyncio.sleep(0.02)
    back.set()


@pytest.mark.slow
def test_agents_get_503_and_their_answers_by_the_loops_of_their_sdks_when_a_model_is_back(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No SDK repeats a request whose stream has begun, and on a busy machine the refusal takes longer than a second.
    monkeypatch.setattr("openfall.producers.gateway.event_stream.HEAD_SECONDS", 60)
    back = asyncio.Event()
    function = {"type": "function", "function": {key: LOOK[key] for key in ("name", "parameters")}}
    tool = {"name": "look", "input_schema": LOOK["parameters"]}

    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, _away_until(back), more=MORE) as gateway,
            openai_client(gateway, max_retries=6) as openai,
            anthropic_client(gateway, max_retries=6) as anthropic,
        ):
            coming = asyncio.create_task(_come_back_after(gateway, 4, back))
            whole, streamed, message, response = await asyncio.gather(
                openai.chat.completions.create(model="plain", messages=ASK, tools=[function]),
                openai.chat.completions.create(model="plain", messages=ASK, tools=[function], stream=True),
                anthropic.messages.create(model="plain", messages=ASK, tools=[tool], max_tokens=99),
                openai.responses.create(model="plain", input="Haruka waves"),
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in streamed])
            await coming
            jobs = int(await gateway.link.command("HGET", "of:counters", "accepted"))
        assert (whole.choices[0].message.content, text, message.content[0].text) == (TEXT, TEXT, TEXT)
        assert response.output_text == TEXT
        assert jobs == 4

    run(main)


def test_a_person_reads_the_canned_reply_of_the_role_and_an_agent_gets_503(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, reset, more=MORE) as gateway:
            person = await gateway.chat(model="cared")
            agent = await gateway.chat(model="cared", tools=[{"type": "function", "function": {"name": "look"}}])
        assert person.json()["choices"][0]["message"]["content"] == "Back in a minute."
        assert person.headers["x-openfall-degraded"] == "canned_reply"
        assert (agent.status_code, agent.json()["error"]["code"]) == (503, "held")
        assert 5 <= int(agent.headers["retry-after"]) <= 60
        assert agent.json()["error"]["message"].endswith(
            ". The job is held, and is answered by itself when a model takes calls. Send the same request again within "
            "120 s: it joins this job. `openfall preflight` names what to repair."
        )

    run(main)
