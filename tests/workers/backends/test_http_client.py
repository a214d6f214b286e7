"""One call over HTTP: kept, broken and cancelled connections, endless answers, and secrets in refusals."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import orjson
import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends import response_reader
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.transport import Transport
from tests.faults import (
    COMPLETION,
    FaultServer,
    Script,
    answer,
    drip,
    drip_events,
    fault_server,
    flood,
    kept,
    raw,
    reset,
    stall,
)
from tests.workers.backends.openai_calls import KEY, REQUEST_BODY, ask, run, served


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_an_answer_without_end_is_cut_off(deltas: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_reader, "MAX_ANSWER_BYTES", 2**21)
    outcome = ask(flood, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (E.MALFORMED, "the answer is longer than 2 MiB")


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_decompressed(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    outcome = ask(answer(pack(orjson.dumps(COMPLETION)), Content_Encoding=encoding))
    assert isinstance(outcome, Completion)


def test_the_limit_of_an_answer_counts_decompressed_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_reader, "MAX_ANSWER_BYTES", 2**20)
    outcome = ask(answer(gzip.compress(b" " * 2**24), Content_Encoding="gzip"))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (E.MALFORMED, "the answer is longer than 1 MiB")


def test_a_refused_connection_is_a_connection_failure() -> None:
    async def work() -> Outcome:
        async with fault_server(reset) as server:
            url = server.url
        backend = open_backend(Backend(url=url, pool="gpu"))
        try:
            return await backend.complete(Request(body=REQUEST_BODY, upstream="m", timeout=60))
        finally:
            await backend.close()

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.CONNECTION


def test_an_unknown_host_is_a_connection_failure_with_its_reason() -> None:
    async def work() -> Outcome:
        backend = open_backend(Backend(url="http://nowhere.invalid", pool="cloud"))
        try:
            return await backend.complete(Request(body=REQUEST_BODY, upstream="m", timeout=60))
        finally:
            await backend.close()

    fault = "its host name is not known"
    detail = f"cannot connect: {fault}"
    assert run(work()) == Failure(error_class=E.CONNECTION, detail=detail, connection_fault=fault, never_sent=True)


def test_a_response_that_is_not_http_is_a_connection_failure_that_repeats_nothing() -> None:
    outcome = ask(raw(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"))
    fault = "the response is not valid HTTP (ClientResponseError)"
    detail = f"the connection failed: {fault}"
    assert outcome == Failure(error_class=E.CONNECTION, detail=detail, connection_fault=fault)


def test_an_answer_that_cannot_be_decompressed_is_malformed() -> None:
    broken = gzip.compress(b" " * 64)[:12] + b"no deflated block"
    outcome = ask(answer(broken, Content_Encoding="gzip"))
    assert outcome == Failure(error_class=E.MALFORMED, detail="the compressed answer is damaged")


def test_a_refusal_that_repeats_the_prompt_is_reported_without_it() -> None:
    prompt = REQUEST_BODY["messages"][0]["content"]
    error = {"message": f"cannot parse '{prompt}' for {KEY}", "type": "invalid_request_error"}
    outcome = ask(answer({"error": error}, 400))
    assert outcome == Failure(error_class=E.BAD_REQUEST, detail="HTTP 400 invalid_request_error", http_status=400)


def test_a_body_that_is_not_json_is_the_callers_fault() -> None:
    outcome = ask(answer(COMPLETION), body=REQUEST_BODY | {"temperature": object()})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.BAD_REQUEST


def test_a_kept_connection_is_used_again() -> None:
    _, server = served(kept(answer(COMPLETION)), calls=3)
    assert [received.connection for received in server.calls_received] == [0, 0, 0]


def test_a_call_on_a_kept_connection_that_breaks_is_sent_once_more() -> None:
    outcome, server = served(kept(answer(COMPLETION)), reset, answer(COMPLETION), calls=2)
    assert isinstance(outcome, Completion)
    assert [received.connection for received in server.calls_received] == [0, 0, 1]


def test_a_call_on_a_fresh_connection_that_breaks_is_not_sent_again() -> None:
    outcome, server = served(reset)
    assert isinstance(outcome, Failure)
    assert len(server.calls_received) == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_call_that_a_kept_connection_began_to_answer_is_not_sent_again(begun: bytes) -> None:
    outcome, server = served(kept(answer(COMPLETION)), raw(begun), answer(COMPLETION), calls=2)
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, len(server.calls_received)) == (E.CONNECTION, 2)


def test_a_call_is_sent_again_only_once() -> None:
    async def work() -> tuple[Outcome, FaultServer]:
        whole = kept(answer(COMPLETION))
        async with fault_server(whole, whole, reset, reset, answer(COMPLETION)) as server:
            backend = OpenAIBackend(server.url, KEY, Transport(keep_alive=True))
            request = Request(body=REQUEST_BODY, upstream="m", timeout=60)
            try:
                await asyncio.gather(backend.complete(request), backend.complete(request))
                return await backend.complete(request), server
            finally:
                await backend.close()

    outcome, server = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.CONNECTION
    assert sorted(received.connection for received in server.calls_received) == [0, 0, 1, 1]


@pytest.mark.parametrize("script", [stall, drip, drip_events], ids=["before headers", "in the body", "in the stream"])
@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
def test_a_cancelled_or_late_call_closes_its_socket(script: Script, ending: str) -> None:
    async def work() -> bool:
        async with fault_server(script) as server:
            backend = OpenAIBackend(server.url, KEY, Transport(keep_alive=True))

            def call(timeout: float) -> asyncio.Future[Outcome]:
                server.left.clear()
                request = Request(body=REQUEST_BODY, upstream="m", timeout=timeout)
                return asyncio.ensure_future(backend.complete(request, lambda text: None))

            if ending == "cancelled":
                calling = call(60)
                await server.arrived.wait()
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
            timeout = 0.2
            while not server.arrived.is_set():  # a slow machine may not have sent the request yet
                assert isinstance(await call(timeout), Failure)
                timeout *= 2
            await asyncio.wait_for(server.left.wait(), 60)
            remaining = server.left.is_set()
            await backend.close()
            return remaining

    assert run(work())


def test_a_local_engine_gets_a_connection_for_each_call() -> None:
    async def work() -> FaultServer:
        async with fault_server(answer(COMPLETION)) as server:
            backend = open_backend(Backend(url=server.url, pool="gpu", api_key=SecretStr("")))
            for _ in range(2):
                assert isinstance(
                    await backend.complete(Request(body=REQUEST_BODY, upstream="m", timeout=60)), Completion
                )
            await backend.close()
            return server

    server = run(work())
    assert [received.connection for received in server.calls_received] == [0, 1]
    assert {received.headers["connection"] for received in server.calls_received} == {"close"}
