"""Requests besides completions: liveness, and the list of models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.registry import open_backend
from tests.faults import FaultServer, Script, answer, drip, fault_server, reset, stall

T = TypeVar("T")
LISTED = {"object": "list", "data": [{"id": "claude-haiku-4-5", "type": "model"}, {"id": "gpt-5"}, {"name": "odd"}, 3]}
both = pytest.mark.parametrize("protocol", ["openai", "anthropic"])


def request_at(
    protocol: Protocol, script: Script, question: Callable[[HttpBackend], Awaitable[T]], base: str = ""
) -> tuple[T, FaultServer]:
    async def work() -> tuple[T, FaultServer]:
        async with fault_server(script) as server:
            spec = Backend(url=server.url + base, pool="gpu", protocol=protocol, api_key=SecretStr("of-mine"))
            backend = open_backend(spec)
            try:
                return await question(backend), server
            finally:
                await backend.close()

    return asyncio.run(asyncio.wait_for(work(), 60))


@both
@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405, 429])
def test_an_endpoint_that_answers_anything_but_its_own_error_is_alive(protocol: Protocol, status: int) -> None:
    result, server = request_at(protocol, answer(b"<html>", status), lambda backend: backend.check_alive(5))
    assert result is None
    assert server.calls_received[0].path == "/health"
    assert server.calls_received[0].body == b""


@both
def test_the_health_path_is_beside_the_version(protocol: Protocol) -> None:
    _, server = request_at(protocol, answer({}), lambda backend: backend.check_alive(5), base="/llm/v1/")
    assert server.calls_received[0].path == "/llm/health"


@both
@pytest.mark.parametrize(
    ("script", "meant"),
    [
        (answer({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503), E.OVERLOADED),
        (answer(b"<html>", 502), E.CONNECTION),
        (reset, E.CONNECTION),
        (stall, E.TIMEOUT),
    ],
)
def test_an_endpoint_with_its_own_error_or_no_response_is_not_alive(
    protocol: Protocol, script: Script, meant: E
) -> None:
    result, _ = request_at(protocol, script, lambda backend: backend.check_alive(0.5))
    assert isinstance(result, Failure)
    assert result.error_class is meant


@both
def test_the_models_are_those_that_the_endpoint_lists(protocol: Protocol) -> None:
    result, server = request_at(protocol, answer(LISTED), lambda backend: backend.list_models(5))
    assert result == ("claude-haiku-4-5", "gpt-5", "odd")
    [get] = server.calls_received
    assert get.path.partition("?")[0] == "/v1/models"
    assert get.headers["authorization"] == "Bearer of-mine"


@both
@pytest.mark.parametrize(
    "listed",
    [
        [{"id": "a"}, {"id": "b"}],
        ["a", "b"],
        {"models": [{"name": "a"}, {"model": "b"}]},
        {"data": None, "models": ["a", "b"]},
        {"data": [{"id": "a", "aliases": ["b", None]}, None, {"id": None}]},
        {"data": {"a": {}, "b": {}}},
        {"code": 0, "data": {"models": [{"id": "a"}, {"id": "b"}]}},
        {"result": [{"id": "1", "name": "a"}, {"id": "b"}], "success": True},
    ],
)
def test_a_list_of_models_is_read_in_the_forms_of_servers(protocol: Protocol, listed: Any) -> None:
    result, _ = request_at(protocol, answer(listed), lambda backend: backend.list_models(5))
    assert result == ("a", "b")


@both
@pytest.mark.parametrize(
    ("script", "meant"),
    [
        (answer({"data": []}), E.MALFORMED),
        (answer({"error": {"message": "no", "code": "invalid_api_key"}}, 401), E.AUTH),
        (answer({"data": "none"}), E.MALFORMED),
        (answer(b"<html>"), E.MALFORMED),
        (answer({"error": {"type": "overloaded_error"}}), E.OVERLOADED),
        (drip, E.TIMEOUT),
    ],
)
def test_an_invalid_list_of_models_is_a_failure(protocol: Protocol, script: Script, meant: E) -> None:
    result, _ = request_at(protocol, script, lambda backend: backend.list_models(0.5))
    assert isinstance(result, Failure)
    assert result.error_class is meant


@both
def test_an_endpoint_without_loading_neither_loads_nor_unloads(protocol: Protocol) -> None:
    async def questions(backend: HttpBackend) -> tuple[Any, Any, Any]:
        return await backend.list_loaded(5), await backend.load("m", 4096, 5), await backend.unload("m", 5)

    (loaded, load, unload), server = request_at(protocol, answer({}), questions)
    assert (loaded, load) == (None, None)
    assert isinstance(unload, Failure)
    assert server.calls_received == []
