"""An upstream that attacks its caller costs little memory, blocks nothing, and fails in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.json_bounds import JsonTooLarge
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_time_limits import StreamLimits
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends import loop_share
from openfall.workers.backends.answer_bounds import AnswerMemory, AnswerTooLarge
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.exact_json import loads
from openfall.workers.backends.framing import NdjsonFraming, SseFraming
from openfall.workers.backends.loop_share import LoopShare
from openfall.workers.backends.openai_answer import CompletionAssembler
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.stall_watch import CallWatch
from tests.chaos.hostile_upstream import serve_kind
from tests.workers.backends.openai_calls import REQUEST_BODY, run


@asynccontextmanager
async def upstream(kind: str) -> AsyncIterator[str]:
    server = await asyncio.start_server(partial(serve_kind, kind), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def call(kind: str, timeout: float = 30.0) -> Outcome:
    async def work() -> Outcome:
        async with upstream(kind) as url:
            backend = open_backend(Backend(url=url, pool="cloud"))
            watch = CallWatch(timeout, StreamLimits(first_token=timeout))
            try:
                return await backend.complete(Request(body=REQUEST_BODY, upstream="m", timeout=timeout, watch=watch))
            finally:
                await backend.close()

    return run(work())


REDIRECTS = "the server redirects, which openfall does not follow: correct the backend's `url` (http or https, host)"
WORDS = {
    "gzip_twice": "the answer is longer than 16 MiB",
    "unknown_encoding": "the answer is compressed in a way that openfall does not read; it asks for none",
    "many_keys": "the answer has more than 300,000 values",
    "many_tool_calls": "the answer has more than 300,000 values",
    "deep_enough_to_be_read": "the answer is nested more than 100 levels deep",
    "half_a_character_and_many_keys": "the answer has more than 300,000 values",
    "long_text": "the answer is longer than 16 MiB",
    "endless_wide_events": "an event of the stream has more than 300,000 values",
    "endless_line": "an event of the stream is longer than 16 MiB",
    "interim_responses": "the connection failed: the server closed the connection",
    "long_header": "the connection failed: the response is not valid HTTP (ClientResponseError)",
    "many_headers": "the connection failed: the response is not valid HTTP (ClientResponseError)",
    "length_lie": "the connection broke off within the answer",
    "redirect_to_itself": f"HTTP 302: {REDIRECTS}",
    "redirect_to_another_host": f"HTTP 307: {REDIRECTS}",
    "upgrade": "HTTP 101: a body that is not JSON",
    "no_head": "the connection failed: the response is not valid HTTP (ClientResponseError)",
    "long_reason": "the connection failed: the response is not valid HTTP (ClientResponseError)",
    "deflate_bomb": "the answer is longer than 16 MiB",
    "long_waits": "HTTP 429: a body that is not JSON",
    "endless_trailers": "the connection broke off within the answer",
}


@pytest.mark.parametrize("kind", WORDS)
def test_an_answer_of_a_hostile_upstream_fails_in_words(kind: str) -> None:
    outcome = call(kind)
    assert isinstance(outcome, Failure)
    assert outcome.detail == WORDS[kind]


@pytest.mark.parametrize(
    "kind", ["endless_events", "endless_tiny_events", "endless_comments", "tiny_chunks", "chunk_size"]
)
def test_an_endless_stream_ends_at_the_time_limit_of_its_call(kind: str) -> None:
    outcome = call(kind, timeout=0.3)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.TIMEOUT


def test_a_compressed_error_body_is_read_up_to_its_limit() -> None:
    outcome = call("gzip_bomb_in_an_error")
    assert isinstance(outcome, Failure)
    assert outcome.http_status == 500


@pytest.mark.parametrize("kind", ["endless_tiny_events", "chunk_size", "empty_gzip_members"])
def test_an_endless_answer_leaves_the_event_loop_to_others(kind: str) -> None:
    """Beside eight answers at full speed the loop has most of its time left. The time of the CPU counts, so a busy
    machine does not change the result."""

    async def work() -> tuple[float, int]:
        async with upstream(kind) as url:
            backend = open_backend(Backend(url=url, pool="cloud"))
            request = Request(body=REQUEST_BODY, upstream="m", timeout=60.0)
            calls = [asyncio.create_task(backend.complete(request, lambda pieces: None)) for _ in range(8)]
            longest, turns, last = 0.0, 0, time.thread_time()
            try:
                while turns < 100:
                    await asyncio.sleep(0.002)
                    turns, now = turns + 1, time.thread_time()
                    longest, last = max(longest, now - last), now
                return longest, sum(task.done() for task in calls)
            finally:
                for task in calls:
                    task.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                await backend.close()

    longest, ended = run(work())
    assert (longest < 0.25, ended) == (True, 0)


@pytest.fixture
def nothing_is_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test books is gone after it: the heavy answers of other tests would wait."""
    for name in ("_ordinary_until", "_heavy_until"):
        monkeypatch.setattr(LoopShare, name, 0.0)


@pytest.mark.usefixtures("nothing_is_booked")
def test_ordinary_answers_take_turns_and_wait_for_no_heavy_one() -> None:
    heavy, first, second = LoopShare(), LoopShare(), LoopShare()
    for share, seconds in ((heavy, 10.0), (first, 0.05), (second, 0.05)):
        share.begin()
        share.charge(seconds)
    assert heavy.end_slice() >= 50.0
    assert 0.05 <= first.end_slice() < second.end_slice() < 10.0


@pytest.mark.usefixtures("nothing_is_booked")
def test_no_answer_pays_for_a_standstill_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    share = LoopShare()
    share.begin()
    later = time.perf_counter() + 60
    monkeypatch.setattr(loop_share, "time", SimpleNamespace(perf_counter=lambda: later, thread_time=time.thread_time))
    assert share.end_slice() < 1


def test_many_half_characters_are_marked_and_not_joined() -> None:
    assert loads(b'["%b"]' % (rb"\ud83d" * 30_000)) == ["?" * 30_000]
    assert loads(b'["' + rb"\ud83d" * 9 + b'"]') == ["\ufffd" * 9]
    assert loads(b'["%b"]' % (b"\xed\xa0\xbd" * 30_000)) == ["\ufffd" * 90_000]


@pytest.mark.parametrize("depth", [50, 2_000, 200_000])
@pytest.mark.parametrize("halved", [b"", b'"\\ud83d",'])
def test_json_is_read_to_a_depth_of_a_hundred(depth: int, halved: bytes) -> None:
    text = b"[" + halved + b"[" * depth + b"]" * depth + b"]"
    if depth < 100:
        assert loads(text)
        return
    with pytest.raises(JsonTooLarge):
        loads(text)


def test_a_long_text_full_of_commas_is_no_wide_answer() -> None:
    assert loads(b'["' + b"a, b: " * 40_000 + b'"]')


def test_the_memory_of_all_answers_is_shared_and_given_back() -> None:
    memory = AnswerMemory(8 * 2**20)
    with memory.reading() as first, memory.reading() as second:
        first.take(5 * 2**20, 2**30)
        second.take(2**20, 2**30)
        with pytest.raises(AnswerTooLarge, match="longer than 2 MiB"):
            second.take(2 * 2**20, 2**30)
    with memory.reading() as third:
        third.take(7 * 2**20, 2**30)


def test_a_short_answer_has_room_however_many_are_read() -> None:
    memory = AnswerMemory(0)
    with memory.reading() as kept:
        kept.take(2**20, 2**30)


def test_a_tool_call_with_a_giant_index_takes_no_memory_for_it() -> None:
    answer = CompletionAssembler()
    calls = [{"index": 10**9, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    answer.add(orjson.dumps({"choices": [{"index": 10**9, "delta": {"tool_calls": calls}, "finish_reason": "stop"}]}))
    outcome = answer.outcome()
    assert isinstance(outcome, Completion)
    assert len(outcome.body["choices"]) == 1


@pytest.mark.parametrize("framing", [SseFraming, NdjsonFraming])
def test_the_framing_counts_what_is_not_complete(framing: Callable[[], SseFraming | NdjsonFraming]) -> None:
    stream = framing()
    assert list(stream.feed(b"data: a")) == []
    assert list(stream.feed(b"b" * 100)) == []
    assert stream.waiting_bytes >= 107
    assert list(stream.feed(b"\n\n")) != []
    assert stream.waiting_bytes == 0


def test_the_lines_of_an_event_without_end_count() -> None:
    stream = SseFraming()
    assert list(stream.feed(b"data:a\n" * 1000)) == []
    assert stream.waiting_bytes > 1000


def test_a_message_of_an_error_is_read_in_part() -> None:
    errors = [{"msg": "a" * 50}] * 10_000
    failure = classify(422, {}, orjson.dumps({"error": {"message": errors, "details": [{"code": "x"}] * 10_000}}))
    assert failure.detail.startswith("HTTP 422")
    assert len(failure.detail) <= 300
