"""Programs that call models themselves: the model they get, and where its outcome is reported."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from openfall import AsyncOpenfall, InvalidOperation, NoModel, Openfall, resolve_runtime_model
from openfall.config import LoadedConfig, load
from openfall.producers.exception_error_class import error_class
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state import redis_connection
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.ledger import LedgerEntry, ledger_day, read_ledger
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BreakerState, ErrorClass
from tests.settled_file import write_settled

CONFIG = """
redis: ${REDIS_URL:-embedded}
backends:
  api: {protocol: anthropic, url: "http://127.0.0.1:9", api_key: sk-ant-0123456789-secret, pool: cloud}
  box: {protocol: openai, url: "http://127.0.0.1:9/v1", pool: gpu}
models:
  opus: {upstream: claude-opus-4-6, backends: [api], context: 200k, usd_per_mtok: {in: 5, out: 25}, timeout: 75s}
  haiku: {upstream: claude-haiku-4-5, backends: [api], context: 200k, usd_per_mtok: {in: 1, out: 5}}
  llama: {upstream: "llama3.1:8b", backends: [box], context: 8k}
roles:
  ace: {chain: [opus, haiku, llama], urgency: interactive}
breakers: {consecutive_failures: 3}
groups: [{name: main, match: ["whatsapp:*"], role: ace}]
"""


@pytest.fixture
def ace(tmp_path: Path) -> Path:
    path = tmp_path / "ace.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def ace_config(ace: Path, redis_url: str) -> LoadedConfig:
    return load(ace, environ={"REDIS_URL": redis_url})


@pytest.fixture
def llm(ace_config: LoadedConfig) -> Any:
    with Openfall(config=ace_config) as client:
        yield client


def read(url: str, query: Callable[[RedisConnection], Any]) -> Any:
    async def main() -> Any:
        async with RedisConnection(url) as link:
            return await query(link)

    return asyncio.run(main())


async def entries_of_today(link: RedisConnection) -> list[LedgerEntry]:
    return await read_ledger(link, [ledger_day(float((await link.command("TIME"))[0]))])


def test_without_redis_the_catalog_alone_decides_and_report_returns_false(
    ace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    model = resolve_runtime_model("ace", config=ace)
    assert (model.model, model.upstream, model.backend, model.live) == ("opus", "claude-opus-4-6", "api", False)
    assert (model.protocol, model.url, model.timeout) == ("anthropic", "http://127.0.0.1:9", 75.0)
    assert model.reason == "1st in role ace"
    assert model.report(error="timeout") is False
    assert resolve_runtime_model("ace", exclude=["opus"], config=ace).model == "haiku"
    assert resolve_runtime_model("ace", exclude=["api"], config=ace).model == "llama"


def test_a_silent_redis_delays_no_caller(ace_config: LoadedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "REPLY_TIMEOUT_SECONDS", 600.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        async def main() -> None:
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
            async with AsyncOpenfall(url, config=ace_config) as llm, asyncio.timeout(60):
                model = await llm.resolve("ace")
                assert (model.model, model.live) == ("opus", False)
                assert await llm.report(model, error="timeout") is False

        asyncio.run(main())


def test_the_api_key_is_not_in_the_repr(llm: Openfall) -> None:
    model = llm.resolve("ace")
    assert model.api_key == "sk-ant-0123456789-secret"
    assert "secret" not in repr(model)
    assert "secret" not in str(model)


def test_a_token_is_given_in_place_of_the_key(tmp_path: Path, redis_url: str) -> None:
    file = tmp_path / "token.yaml"
    file.write_text(CONFIG.replace("api_key: sk-ant-0123456789-secret", "api_key: key, auth_token: t0ken-0123456789"))
    with Openfall(config=load(file, environ={"REDIS_URL": redis_url}, cwd=tmp_path)) as own:
        model = own.resolve("ace")
    assert (model.api_key, model.auth_token) == ("", "t0ken-0123456789")
    assert "0123456789" not in repr(model)


def test_reported_failures_open_the_breaker_and_the_next_model_is_named(llm: Openfall, redis_url: str) -> None:
    for _ in range(3):
        assert llm.resolve("ace").model == "opus"
        assert llm.resolve("ace").report(error=TimeoutError("too long"))
    (row,) = read(redis_url, list_breakers)
    assert (row.target, row.state) == ("api/opus", BreakerState.OPEN)
    model = llm.resolve("ace")
    assert (model.model, model.reason) == ("haiku", "2nd in role ace")


def test_no_model_lists_the_reason_for_each_model(llm: Openfall) -> None:
    for _ in range(3):
        llm.resolve("ace").report(status=500)
    with pytest.raises(NoModel) as caught:
        llm.resolve("ace", exclude=["haiku", "box"])
    words = str(caught.value)
    assert "opus: its breaker is open after 3 failures in a row (overloaded: HTTP 500)" in words
    assert "haiku: excluded by the request" in words
    assert "llama: excluded by the request" in words


def test_a_refused_api_key_is_parked_for_all_its_models(llm: Openfall, redis_url: str) -> None:
    llm.resolve("ace").report(status=401)
    assert llm.resolve("ace").model == "llama"
    (row,) = read(redis_url, list_breakers)
    assert row.target.startswith("key:")
    assert "secret" not in row.target


def test_a_429_cools_the_model_down_for_retry_after(llm: Openfall) -> None:
    llm.resolve("ace").report(status=429, retry_after=60)
    assert llm.resolve("ace").model == "haiku"


def test_a_breaker_ignores_a_call_resolved_before_it_changed(llm: Openfall, redis_url: str) -> None:
    late = llm.resolve("ace")
    for _ in range(3):
        llm.resolve("ace").report(error="connection")
    (before,) = read(redis_url, list_breakers)
    assert late.report(error="connection")
    (after,) = read(redis_url, list_breakers)
    assert after == before


def test_the_ledger_has_each_call_with_its_cost_or_as_unpriced(llm: Openfall, redis_url: str) -> None:
    first = llm.resolve(group="whatsapp:main")
    assert first.report(latency_seconds=2.0, input_tokens=1000, output_tokens=100)
    assert first.report(error="timeout", latency_seconds=1.0)
    (entry,) = read(redis_url, entries_of_today)
    assert (entry.model, entry.backend, entry.group) == ("opus", "api", "main")
    assert (entry.calls, entry.failed, entry.seconds, entry.unpriced) == (2, 1, 3.0, 1)
    assert entry.usd == pytest.approx(1000 * 5e-6 + 100 * 25e-6)


def test_a_direct_call_needs_no_worker(llm: Openfall) -> None:
    assert llm.resolve("ace").live
    assert llm.resolve("ace").model == "opus"


def test_a_local_only_fleet_names_no_cloud_model(llm: Openfall, redis_url: str) -> None:
    read(redis_url, lambda link: set_local_only(link, True, "maintenance"))
    assert llm.resolve("ace").model == "llama"
    with pytest.raises(NoModel, match="the fleet is switched to local-only"):
        llm.resolve(model="opus")


def test_only_models_of_the_catalog_are_named(llm: Openfall) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ace'"):
        llm.resolve("acee")
    with pytest.raises(UnknownName, match=r"unknown model or backend 'opsu'\. Did you mean 'opus'"):
        llm.resolve("ace", exclude=["opsu"])
    with pytest.raises(NoModel, match="its context is 8000 tokens"):
        llm.resolve(model="llama", prompt_tokens=9000)


def test_the_async_client_resolves_and_reports(ace_config: LoadedConfig, redis_url: str) -> None:
    async def main() -> None:
        async with AsyncOpenfall(config=ace_config) as llm:
            model = await llm.resolve("ace")
            assert await llm.report(model, error=ConnectionResetError())
            (row,) = await list_breakers(llm.store.connection)
            assert row.consecutive_failures == 1
            with pytest.raises(InvalidOperation, match=r"await llm.report"):
                model.report()

    asyncio.run(main())


def test_a_changed_config_file_is_reloaded_and_a_broken_one_is_not(
    ace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert resolve_runtime_model("ace", config=ace).model == "opus"
    write_settled(ace, CONFIG.replace("[opus, haiku, llama]", "[haiku, llama]"))
    assert resolve_runtime_model("ace", config=ace).model == "haiku"
    write_settled(ace, CONFIG.replace("[opus, haiku, llama]", "[haiku, glm-4.7-flash]"))
    assert resolve_runtime_model("ace", config=ace).model == "haiku"
    assert resolve_runtime_model("ace", config=ace).model == "haiku"
    assert len([record for record in caplog.records if "stays in force" in record.message]) == 1


class RateLimitError(Exception):
    """An exception of a provider's client."""

    status_code = 429


def refused(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1:9")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status))


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (None, None, None),
        (None, 200, None),
        (ErrorClass.NO_VRAM, 500, ErrorClass.NO_VRAM),
        ("invalid_output", None, ErrorClass.INVALID_OUTPUT),
        ("it said nothing", None, ErrorClass.OTHER),
        ("it said nothing", 503, ErrorClass.OVERLOADED),
        (None, 404, ErrorClass.NOT_INSTALLED),
        (None, 402, ErrorClass.OUT_OF_CREDITS),
        (None, 418, ErrorClass.OTHER),
        (None, 529, ErrorClass.OVERLOADED),
        (TimeoutError(), None, ErrorClass.TIMEOUT),
        (ConnectionResetError(), None, ErrorClass.CONNECTION),
        (ValueError("no JSON"), None, ErrorClass.OTHER),
        (RateLimitError(), None, ErrorClass.RATE_LIMITED),
        (refused(401), None, ErrorClass.AUTH),
        (httpx.ReadTimeout("slow"), None, ErrorClass.TIMEOUT),
        (httpx.ConnectError("refused"), None, ErrorClass.CONNECTION),
    ],
    ids=repr,
)
def test_a_failure_has_an_error_class(error: object, status: int | None, expected: ErrorClass | None) -> None:
    assert error_class(error, status) is expected  # type: ignore[arg-type]
