"""The inboxes of a program over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, open_gateway, run
from tests.producers.gateway.test_jobs import two_keys

PATH = "/v1/inboxes/bot.main"
ASK = {"model": "chat", **SAY}


def test_an_inbox_gives_its_key_what_it_has_not_acknowledged(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            mine, yours = await two_keys(gateway)
            headers = {**mine, "X-Openfall-Inbox": "bot.main", "X-Openfall-Reply-To": '"channel 7"'}
            for _ in range(2):
                await gateway.http.post("/v1/chat/completions", json=ASK, headers=headers)
            page = (await gateway.http.get(f"{PATH}?limit=1", headers=mine)).json()
            (first,) = page["data"]
            rest = (await gateway.http.get(f"{PATH}?after={first['id']}", headers=mine)).json()
            other = (await gateway.http.get(PATH, headers=yours)).json()
            foreign = await gateway.http.post(f"{PATH}/ack", json={"entries": [first["id"]]}, headers=yours)
            own = [
                (await gateway.http.post(f"{PATH}/ack", json={"entries": [first["id"]]}, headers=mine)).json()
                for _ in range(2)
            ]
            left = (await gateway.http.get(PATH, headers=mine)).json()
        assert page["has_more"] is True
        assert first["result"]["text"] == "A lantern festival."
        assert [entry["id"] for entry in left["data"]] == [entry["id"] for entry in rest["data"]] != []
        assert (other["data"], foreign.json()) == ([], {"acknowledged": 0})
        assert own == [{"acknowledged": 1}, {"acknowledged": 0}]

    run(main)


def test_a_reader_waits_for_the_next_entry(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            waiting = asyncio.create_task(gateway.http.get(f"{PATH}?wait=20s"))
            await gateway.http.post("/v1/chat/completions", json=ASK, headers={"X-Openfall-Inbox": "bot.main"})
            entries = (await waiting).json()["data"]
            none = (await gateway.http.get(f"{PATH}?after={entries[0]['id']}&wait=10ms")).json()
        assert entries[0]["result"]["status"] == "answered"
        assert none["data"] == []

    run(main)


def test_what_no_entry_can_be_is_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            answers = [
                await gateway.http.get(f"{PATH}?after=x"),
                await gateway.http.get(f"{PATH}?limit=0"),
                await gateway.http.get(f"{PATH}?wait=soon"),
                await gateway.http.post(f"{PATH}/ack", json={"entries": "all"}),
            ]
        assert {response.status_code for response in answers} == {400}

    run(main)
