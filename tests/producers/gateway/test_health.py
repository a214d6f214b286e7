"""`/health`: whether requests are accepted now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.valkey_server import Server

REFUSALS: dict[str, tuple[tuple[Any, ...], str]] = {
    "a replica": (("REPLICAOF", "127.0.0.1", "1"), "redis takes no writes"),
    "too few replicas": (("CONFIG", "SET", "min-replicas-to-write", "3"), "redis takes no writes"),
    "no memory": (("CONFIG", "SET", "maxmemory", "1"), "redis takes no writes: its disk or its memory is full"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_redis_that_takes_no_writes_is_no_health(refusal, server: Server, tmp_path: Path) -> None:
    command, words = REFUSALS[refusal]

    async def main() -> None:
        async with open_gateway(server.url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            before = await gateway.http.get("/health")
            assert (before.status_code, before.json()) == (200, {"status": "ok", "redis": True, "workers": 0})
            with redis.Redis.from_url(server.url) as admin:
                admin.execute_command(*command)
                after = await gateway.http.get("/health")
                assert (after.status_code, after.json()) == (503, {"status": words, "redis": True, "workers": 0})
                admin.execute_command("REPLICAOF", "NO", "ONE")
                admin.config_set("min-replicas-to-write", 0)
                admin.config_set("maxmemory", 0)
            assert (await gateway.http.get("/health")).status_code == 200

    run(main)
