"""The limits of keys at the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.key_limits import KeyLimits
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run


def test_a_key_may_use_its_minute_at_once_and_gets_its_requests_back_one_by_one() -> None:
    now = 100.0
    limits, key = KeyLimits(lambda: now), ClientKey(name="bot", digest="", per_minute=3)

    def admitted() -> bool:
        try:
            with limits.admitted(key):
                return True
        except Refusal:
            return False

    assert [admitted() for _ in range(4)] == [True, True, True, False]
    with pytest.raises(Refusal) as refused, limits.admitted(key):
        pass
    assert refused.value.headers()["retry-after"] == "20"
    now += 20
    assert [admitted() for _ in range(2)] == [True, False]


def test_a_key_at_its_number_of_requests_waits_for_one_to_end() -> None:
    limits, key = KeyLimits(), ClientKey(name="bot", digest="", in_flight=1)
    with limits.admitted(key):
        with pytest.raises(Refusal, match="1 requests at once"), limits.admitted(key):
            pass
        with limits.admitted(ClientKey(name="other", digest="", in_flight=1)):
            pass
    with limits.admitted(key):
        pass


def test_a_stream_counts_until_its_end_and_a_list_of_models_does_not_count(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await answer(COMPLETION)(writer)

        async with open_gateway(redis_url, tmp_path, slow) as gateway:
            await add_key(gateway.link, ClientKey(name="bot", digest=digest_of("of_bot"), in_flight=1))
            gateway.instance.keys = await fetch_keys(gateway.link)
            gateway.http.headers["authorization"] = "Bearer of_bot"
            first = asyncio.create_task(gateway.chat(stream=True))
            async with asyncio.timeout(60):
                while not gateway.upstream.calls_received:
                    await asyncio.sleep(0.01)
            second = await gateway.chat()
            models = await gateway.http.get("/v1/models")
            gate.set()
            done = await first
            third = await gateway.chat()
        assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert second.headers["retry-after"] == "1"
        assert (models.status_code, done.status_code, third.status_code) == (200, 200, 200)

    run(main)
