"""Every row of the error table as the Python SDKs of OpenAI and Anthropic raise it. `make clients` has those of JS."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pytest

from openfall.producers.gateway.error_table import TABLE
from tests.clients.refusing_server import REMEDY, refusing_server
from tests.producers.gateway.running_gateway import run
from tests.producers.gateway.sdk_streams import ASK


async def rows(base: str) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(timeout=60) as http:
        return {row["cause"]: row for row in (await http.get(f"{base}/rows")).json()}


def test_every_row_is_raised_by_openai_with_its_code_and_remedy_and_repeated_if_that_may_help() -> None:
    async def main() -> None:
        async with refusing_server() as base, openai.AsyncOpenAI(api_key="any", max_retries=1) as client:
            for cause, row in TABLE.items():
                own = client.with_options(base_url=f"{base}/{cause}/v1")
                with pytest.raises(openai.APIStatusError) as raised:
                    await own.chat.completions.create(model="chat", messages=ASK)
                error = raised.value
                assert (error.status_code, error.code, error.type) == (row.status, row.code, row.type)
                assert REMEDY in str(error)
            assert {cause: row["received"]["openai"] for cause, row in (await rows(base)).items()} == expected()

    run(main)


def test_every_row_is_raised_by_anthropic_with_its_type_and_remedy_and_repeated_if_that_may_help() -> None:
    async def main() -> None:
        async with refusing_server() as base, anthropic.AsyncAnthropic(api_key="any", max_retries=1) as client:
            for cause, row in TABLE.items():
                own = client.with_options(base_url=f"{base}/{cause}")
                with pytest.raises(anthropic.APIStatusError) as raised:
                    await own.messages.create(model="chat", messages=ASK, max_tokens=9)
                error: Any = raised.value
                assert (error.status_code, error.body["error"]["type"]) == (
                    row.anthropic_status or row.status,
                    row.anthropic,
                )
                assert REMEDY in str(error)
            assert {cause: row["received"]["anthropic"] for cause, row in (await rows(base)).items()} == expected()

    run(main)


def expected() -> dict[str, int]:
    """The requests of an SDK that repeats once what may succeed soon."""
    return {cause: 2 if row.retry else 1 for cause, row in TABLE.items()}
