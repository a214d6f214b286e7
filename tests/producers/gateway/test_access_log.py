"""The access log of the gateway: one line for a request, whatever the request has in it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from openfall.workers.log_format import LineFormatter
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, open_gateway, run


def test_a_request_has_one_line_whatever_is_in_its_path(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = (
        "/%0a%0dI%20forged",
        "/v1/models/a%0astatus=200",
        "/for/x%0ay/v1/models",
        "/%1b%5b2J%c2%85%e2%80%ae",
        "/%ff",
    )

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for path in paths:
                await gateway.http.get(path)
            await gateway.http.get("/" + "a" * 20_000)

    with caplog.at_level(logging.INFO, "openfall.gateway"):
        run(main)
    own = [LineFormatter().format(record) for record in caplog.records if record.name == "openfall.gateway"]
    lines = [line for line in own if " I GET " in line]
    assert len(lines) == len(paths) + 1
    assert len(own) == len(lines) + 2  # it serves; it stops
    assert all(line.isprintable() and line.isascii() and len(line) < 500 for line in own)
    assert all(line.count("status=") == 1 for line in lines)


def test_the_access_log_has_neither_a_key_nor_a_prompt_nor_a_query(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            headers = {"Authorization": "Bearer of_secret"}
            body = {"model": "chat", **SAY}
            await gateway.http.post("/v1/chat/completions?key=of_query", json=body, headers=headers)

    with caplog.at_level(logging.DEBUG):
        run(main)
    own = [record for record in caplog.records if not record.name.startswith("http")]
    text = "\n".join(map(LineFormatter().format, own))
    assert ": POST /v1/chat/completions; status=200 key=gateway" in text
    assert not any(word in text for word in ("of_secret", "of_query", "Haruka"))
