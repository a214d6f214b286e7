"""Who follows a job that was submitted without a stream gets its pieces, if they can still flow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from openfall.producers.client import AsyncOpenfall
from openfall.router_core.state.errors import UnknownJob
from tests.faults import Script, head, piece
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import openai_client


class HeldStream:
    """An upstream that writes some pieces, and the rest when it is released."""

    def __init__(self) -> None:
        self.begun, self.released = asyncio.Event(), asyncio.Event()

    @property
    def script(self) -> Script:
        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(head(200, None, {"Content-Type": "text/event-stream"}))
            for text in ("A lan", "tern "):
                writer.write(b"data: " + orjson.dumps(piece(content=text)) + b"\n\n")
            await writer.drain()
            self.begun.set()
            await self.released.wait()
            for rest in (piece(content="festival."), piece(finish="stop")):
                writer.write(b"data: " + orjson.dumps(rest) + b"\n\n")
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()

        return write


async def follow(client: AsyncOpenfall, job_id: str, upstream: HeldStream) -> list[str]:
    """The texts of the deltas. The upstream goes on when the first one is there."""
    texts = []
    async for event in client.stream(job_id):
        if event["event"] == "delta":
            texts.append(event["text"])
            upstream.released.set()
    return texts


def test_a_follower_of_an_interactive_job_in_flight_gets_all_of_its_pieces(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        upstream = HeldStream()
        async with open_gateway(redis_url, tmp_path, upstream.script) as gateway:
            client = gateway.instance.client
            job = await client.submit("Haruka waves", role="chat", urgency="interactive")
            await upstream.begun.wait()
            assert "".join(await follow(client, job.id, upstream)) == "A lantern festival."

    run(main)


def test_a_follower_of_a_background_job_before_its_claim_switches_its_stream_on(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        upstream = HeldStream()
        async with open_gateway(redis_url, tmp_path, upstream.script, pools=()) as idle:
            job = await idle.instance.client.submit("Haruka waves", role="scene")
            await idle.instance.client.store.jobs.request_stream(job.id)
        async with open_gateway(redis_url, tmp_path, upstream.script) as gateway:
            assert "".join(await follow(gateway.instance.client, job.id, upstream)) == "A lantern festival."
            assert b'"stream":true' in gateway.upstream.calls_received[0].body

    run(main)


def test_a_response_of_the_gateway_that_no_worker_has_begun_is_streamed_to_its_follower(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        upstream, home = HeldStream(), tmp_path / "workers"
        home.mkdir()
        async with open_gateway(redis_url, tmp_path, pools=()) as idle, openai_client(idle) as client:
            waiting = await client.responses.create(model="scene", input="Haruka waves", background=True)
            texts = []
            events = await client.responses.retrieve(waiting.id, stream=True)
            async with open_gateway(redis_url, home, upstream.script) as gateway:
                async for event in events:
                    if event.type == "response.output_text.delta":
                        texts.append(event.delta)
                        upstream.released.set()
                assert b'"stream":true' in gateway.upstream.calls_received[0].body
        assert len(texts) > 1
        assert "".join(texts) == "A lantern festival."

    run(main)


def test_a_background_job_without_a_follower_is_not_streamed(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        upstream = HeldStream()
        upstream.released.set()
        async with open_gateway(redis_url, tmp_path, upstream.script) as gateway:
            result = await gateway.instance.client.ask("Haruka waves", role="scene", timeout=20)
            assert result.text == "A lantern festival."
            assert b'"stream"' not in gateway.upstream.calls_received[0].body

    run(main)


def test_a_stream_of_an_unknown_job_is_an_error(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, HeldStream().script, pools=()) as gateway:
            events: Any = gateway.instance.client.stream("no-such-job-1")
            with pytest.raises(UnknownJob):
                await anext(events)

    run(main)
