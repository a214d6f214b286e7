"""The gateway reads the state of the fleet in the background: no request waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openfall.producers import client_store
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run


def test_no_request_of_the_gateway_reads_the_state_of_the_fleet(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[str] = []
    fetch = client_store.fetch_fleet

    async def note(*arguments: object) -> object:
        task = asyncio.current_task()
        readers.append(task.get_name() if task else "")
        return await fetch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(client_store, "fetch_fleet", note)
    monkeypatch.setattr(client_store, "FLEET_TTL_SECONDS", 0.01)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            while len(readers) < 3:
                await asyncio.sleep(0.01)
            for _ in range(3):
                assert (await gateway.chat()).status_code == 200
        count = len(readers)
        assert set(readers) == {"fleet-snapshot"}
        await asyncio.sleep(0.05)
        assert len(readers) == count  # it ends with the gateway

    run(main)
