"""A worker and a gateway beside those of a newer and of an older version: what they do not know is carried."""

from __future__ import annotations

import json
from pathlib import Path

from openfall.router_core.state import keys
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.operator_switches import pause_queue, resume_queue
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run

QUEUE = "gpu.tiny.interactive"
NEWER_FIELDS = ("of_moon", "1")
OLDER_LACKS = ("tokens", "bound", "has_deadline", "start_within")


def test_a_job_with_what_another_version_writes_is_answered_and_read(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            link, client = gateway.link, gateway.instance.client
            await pause_queue(link, QUEUE)
            newer, older = [(await client.submit("Haruka waves", role="chat")).id for _ in range(2)]
            await link.command("HSET", keys.RECORD + newer, *NEWER_FIELDS)
            await link.command("RPUSH", keys.EVENTS + newer, '{"event":"moonrise","at":1}')
            await link.command("HDEL", keys.RECORD + older, *OLDER_LACKS)
            for worker in await link.command("SMEMBERS", keys.RQ_WORKERS):
                await link.command("HSET", worker, *NEWER_FIELDS)
            await link.command("SADD", keys.PAUSED, "gpu.tiny.someday")
            await link.command("HSET", keys.BLOCKED, "rack/other", "resting 7")
            await link.command("ZADD", keys.OUTBOX, 1, "parcel:x")
            await resume_queue(link, QUEUE)

            results = [await client.wait(job, timeout=60) for job in (newer, older)]
            assert [result.answered for result in results] == [True, True]
            assert all(worker.alive for worker in (await fetch_status(link)).workers)
            assert b"gpu.tiny.someday" in await link.command("SMEMBERS", keys.PAUSED)
            assert await link.command("ZSCORE", keys.OUTBOX, "parcel:x") is not None
            assert await link.command("HGET", keys.BLOCKED, "rack/other") == b"resting 7"
            assert await list_unreadable(link) == []

            packed = json.loads(await link.command("GET", keys.RESULT + newer))
            packed |= {"status": "partial", "error": "melted", "moon": {"phase": 3}}
            packed["attempts"][0] |= {"error": "melted", "colour": "red"}
            await link.command("SET", keys.RESULT + newer, json.dumps(packed))
            shown = (await gateway.http.get(f"/v1/jobs/{newer}")).json()
            assert (shown["result"]["status"], shown["attempts"][0]["error"]) == ("partial", "melted")
            listed = (await gateway.http.get("/v1/jobs")).json()["data"]
            assert {row["id"] for row in listed} >= {newer, older}
            assert (await gateway.http.get(f"/job/{newer}", headers={"accept": "text/html"})).status_code == 200

    run(main)
