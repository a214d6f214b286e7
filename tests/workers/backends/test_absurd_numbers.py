"""Numbers that no upstream means: they cost no time, fill no budget, and are no error of openfall's own."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from base64 import b64encode
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.anthropic_answer import parse_message
from openfall.workers.backends.embedding_answer import parse_openai
from openfall.workers.backends.exact_json import dumps, loads
from openfall.workers.backends.http_client import _repeats
from openfall.workers.backends.model_lists import MAX_NAMES, parse_gigabytes, parse_names
from openfall.workers.backends.openai_answer import to_outcome
from openfall.workers.backends.retry_after import retry_after, until
from tests.cpu_time import least_cpu_seconds
from tests.faults import answer, fault_server
from tests.workers.backends.protocol_clients import adapter

HUGE = 10**400
DATE = "Tue, 01 Dec 2026 00:00:00 GMT"


def completion(usage: dict[str, Any]) -> Completion:
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    outcome = to_outcome({"choices": [choice], "usage": usage})
    assert isinstance(outcome, Completion)
    return outcome


@pytest.mark.parametrize(
    "usage",
    [{"cost_in_usd_ticks": HUGE}, {"cost": HUGE}, {"cost": math.inf}, {"cost": -1}, {"estimated_cost": "1"},
     {"server_tool_use": {"web_search_requests": 10**8}}, {"prompt_tokens": HUGE, "completion_tokens": -1}],
)  # fmt: skip
def test_an_absurd_usage_is_unknown(usage: dict[str, Any]) -> None:
    known = completion(usage).usage
    assert (known.cost_nusd, known.web_searches, known.input_tokens, known.output_tokens) == (None, None, None, None)


def test_searches_that_no_call_makes_are_not_billed() -> None:
    outcome = parse_message(
        b'{"content":"a","stop_reason":"end_turn","usage":{"server_tool_use":{"web_search_requests":999999999}}}', {}
    )
    assert isinstance(outcome, Completion)
    assert outcome.usage.web_searches is None


@pytest.mark.parametrize(
    "moment",
    [f"Tue, 01 Dec 2026 00:00:00 +{'9' * 30}", f"{'9' * 30} Dec 2026 00:00:00 GMT", f"1 Dec {'9' * 30} 00:00:00 GMT",
     f"Tue, 01 Dec 2026 {'9' * 30}:00:00 GMT"],
)  # fmt: skip
def test_a_date_with_endless_numbers_is_none(moment: str) -> None:
    assert until(moment, DATE) is None
    assert until("1796083200", moment) is None
    assert retry_after(CIMultiDict({"retry-after": moment, "date": DATE})) is None


@pytest.mark.parametrize("size", [HUGE, -1, 1.5, True, "x", None])
def test_a_model_in_memory_with_an_absurd_size_is_listed_without_one(size: object) -> None:
    models = dumps({"models": [{"name": name, "size": size, "size_vram": HUGE} for name in "ab"]})

    async def work() -> Any:
        async with fault_server(answer(models)) as server, adapter("ollama", server.url) as backend:
            return await backend.list_loaded(5)

    assert [(model.upstream, model.vram_gb) for model in asyncio.run(work())] == [("a", None), ("b", None)]
    assert parse_gigabytes(size) in (None, 1.5)


def test_a_list_of_models_is_read_up_to_a_bound() -> None:
    names = parse_names({"data": ["x" * 100_000, *map(str, range(MAX_NAMES + 5))]})
    assert isinstance(names, tuple)
    assert (len(names), names[0]) == (MAX_NAMES, "0")


def test_an_ollama_with_many_names_of_one_model_costs_little_time() -> None:
    models = {"models": [{"name": "a", "digest": "d"}] * 50_000}

    async def work() -> float:
        async with fault_server(answer(models)) as server, adapter("ollama", server.url) as backend:
            began = time.thread_time()
            await backend.list_loaded(30)
            return time.thread_time() - began

    assert asyncio.run(work()) < 1.0  # it took 5 s


@pytest.mark.parametrize(
    "vector",
    [b64encode(struct.pack("<2f", 1.0, number)).decode() for number in (math.nan, math.inf)]
    + [[1e39, 1.0], [1.0, HUGE], ["1e39"], "[1e999]"],
)
def test_a_vector_with_a_number_that_is_not_finite_is_no_answer(vector: object) -> None:
    raw = orjson.dumps({"data": [{"embedding": "@"}]})
    text = b'"' + vector.encode() + b'"' if isinstance(vector, str) else repr(vector).replace("'", '"').encode()
    outcome = parse_openai(raw.replace(b'"@"', text), {})
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (
        ErrorClass.MALFORMED,
        "a vector of the answer is not a list of numbers",
    )


def test_an_integer_above_64_bits_stays_exact_and_a_long_fraction_is_read_fast() -> None:
    exact = [10**19, 10**20 + 1, -(10**19) - 1, 2**64, -(2**63) - 1, 12345678901234567890123]
    assert loads(str(exact).encode()) == exact
    assert loads(b" 18446744073709551617\n") == 2**64 + 1
    fractions = b"[" + b",".join([b"0.1234567890123456789012345"] * 200_000) + b"]"
    assert len(loads(fractions)) == 200_000
    assert least_cpu_seconds(lambda: loads(fractions), 0.2) < 0.2  # it took 0.45 s


def test_a_long_prompt_is_searched_for_an_echo_in_steps() -> None:
    sent, detail = "the quick brown fox jumps over it. " * 120_000, "x" * 15 + "This model takes fewer tokens. " * 9

    async def work() -> tuple[bool, bool, float]:
        longest, last, search = 0.0, time.thread_time(), asyncio.create_task(_repeats(detail, sent))
        while not search.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()
        return await search, await _repeats("It has: quick brown fox jumps", sent), longest

    absent, present, longest = asyncio.run(work())
    assert (absent, present) == (False, True)
    assert longest < 0.1  # it took 0.5 s at once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 " * 4_000_000 + "!", "the answer has more than 300,000 values"),
        ("1" + "," * 8_000_000, "the answer has more than 300,000 values"),
        ("1" * 5_000_000 + "!", "a vector of the answer is not a list of numbers"),
        ("1 " * 200_000 + "!", "a vector of the answer is not a list of numbers"),
    ],
    ids=["numbers", "commas", "digits", "numbers within the limit"],
)
def test_a_vector_that_is_an_absurd_text_fails_in_little_time(text: str, words: str) -> None:
    body = orjson.dumps({"data": [{"embedding": text}]})
    outcome = parse_openai(body, CIMultiDict())
    assert isinstance(outcome, Failure)
    assert outcome.detail == words
    # a regular expression takes 0.3 to 1.5 s
    assert least_cpu_seconds(lambda: parse_openai(body, CIMultiDict()), 0.25) < 0.25


@pytest.mark.parametrize("separator", [", ", " ", ",\r\n"])
def test_the_numbers_of_a_text_are_counted_once_however_they_are_separated(separator: str) -> None:
    body = orjson.dumps({"data": [{"embedding": separator.join(["0.5"] * 200_000)}]})
    assert isinstance(parse_openai(body, CIMultiDict()), Completion)


def test_a_packed_vector_of_a_million_numbers_is_read_in_little_time() -> None:
    body = orjson.dumps({"data": [{"embedding": b64encode(bytes(4 * 1_000_000)).decode()}]})
    assert isinstance(parse_openai(body, CIMultiDict()), Completion)
    assert least_cpu_seconds(lambda: parse_openai(body, CIMultiDict()), 0.25) < 0.25
