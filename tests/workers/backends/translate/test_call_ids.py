"""Ids of tool calls are unique over a conversation, and each result stays with its call, in every translation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.translate import TRANSLATORS
from openfall.workers.backends.translate.call_ids import CallIds

DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "ollama")
PAIRS = [(caller, backend) for caller in DIALECTS for backend in DIALECTS if caller != backend]
steady = settings(max_examples=100)

IDS = st.sampled_from(["call_0", "call_1", "a.b", "x" * 50, "call_0_1"])
TURNS = st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=1, max_size=4)
"""By turn, the ids of its calls. They repeat within a turn and from turn to turn."""


class Numbers:
    """Numbers the calls of a conversation: the argument of a call and the text of its result are its number."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> list[int]:
        self._next += count
        return list(range(self._next - count, self._next))


def answered(dialect: Dialect, ids: list[str], numbers: list[int]) -> dict[str, Any]:
    """A message of the assistant with these calls."""
    calls = list(zip(ids, numbers, strict=True))
    if dialect == "anthropic":
        uses = [{"type": "tool_use", "id": id, "name": "look", "input": {"n": number}} for id, number in calls]
        return {"role": "assistant", "content": uses}
    if dialect == "openai":
        functions = [{"name": "look", "arguments": f'{{"n":{number}}}'} for number in numbers]
    else:
        functions = [{"name": "look", "arguments": {"n": number}} for number in numbers]  # type: ignore[dict-item]
    tool_calls = [
        {"type": "function", "function": function, **({"id": id} if id else {})}
        for id, function in zip(ids, functions, strict=True)
    ]
    return {"role": "assistant", "content": "", "tool_calls": tool_calls}


def results(dialect: Dialect, ids: list[str], numbers: list[int]) -> list[dict[str, Any]]:
    """The results of these calls, in this order."""
    calls = list(zip(ids, numbers, strict=True))
    if dialect == "anthropic":
        blocks = [{"type": "tool_result", "tool_use_id": id, "content": str(number)} for id, number in calls]
        return [{"role": "user", "content": blocks}]
    return [
        {"role": "tool", "content": str(number), **({"tool_call_id": id} if id else {"tool_name": "look"})}
        for id, number in calls
    ]


def calls_and_results(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(call or result, its id, its number) of messages in any dialect, in order."""
    for message in messages:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        for block in blocks:
            if block["type"] == "tool_use":
                yield "call", block["id"], str(block["input"]["n"])
            if block["type"] == "tool_result":
                yield "result", block["tool_use_id"], block["content"]
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            number = arguments["n"] if isinstance(arguments, dict) else arguments.strip('{}"').rpartition(":")[2]
            yield "call", call["id"], str(number)
        if message["role"] == "tool":
            yield "result", message["tool_call_id"], str(content)


def check(messages: list[dict[str, Any]]) -> None:
    numbers: dict[str, str] = {}
    for kind, id, number in calls_and_results(messages):
        assert id
        if kind == "call":
            assert id not in numbers, "an id occurs twice"
            numbers[id] = number
        else:
            assert numbers[id] == number, "a result belongs to another call"


@steady
@given(TURNS, st.sampled_from(PAIRS), st.randoms(use_true_random=False))
def test_a_history_with_repeated_ids_is_translated_with_unique_ids_and_each_result_keeps_its_call(
    turns: list[list[str]], pair: tuple[Dialect, Dialect], random: Any
) -> None:
    caller, backend = pair
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Look around."}]
    count = Numbers()
    for ids in turns:
        numbers = count.take(len(ids))
        order = sorted(range(len(ids)), key=lambda index: random.random())
        rank = {id: iter(sorted(index for index in order if ids[index] == id)) for id in ids}
        order = [next(rank[ids[index]]) for index in order]  # results of one id come in the order of its calls
        messages.append(answered(caller, ids, numbers))
        messages += results(caller, [ids[index] for index in order], [numbers[index] for index in order])
    there = TRANSLATORS[caller, backend].request({"messages": messages, "max_tokens": 9})["messages"]
    check(there)
    assert len(list(calls_and_results(there))) == 2 * sum(map(len, turns))


@steady
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(["openai", "anthropic"]))
def test_calls_and_results_of_ollama_without_ids_are_paired_in_their_order(turns: list[int], backend: Dialect) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Look around."}]
    count = Numbers()
    for calls in turns:
        numbers = count.take(calls)
        messages += [answered("ollama", [""] * calls, numbers), *results("ollama", [""] * calls, numbers)]
    check(TRANSLATORS["ollama", backend].request({"messages": messages})["messages"])


def response(dialect: Dialect, ids: list[str], numbers: list[int]) -> dict[str, Any]:
    """A backend's whole response with these calls."""
    message = answered(dialect, ids, numbers)
    if dialect == "anthropic":
        return {"id": "msg_1", "content": message["content"], "stop_reason": "tool_use", "usage": {}}
    if dialect == "openai":
        return {"id": "c", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    return {"message": message, "done": True, "done_reason": "stop", "created_at": "2026-11-01T10:00:00Z"}


def message_of(dialect: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """The message of a response, as its caller appends it to the conversation."""
    if dialect == "anthropic":
        return {"role": "assistant", "content": body["content"]}
    message: dict[str, Any] = body["choices"][0]["message"] if dialect == "openai" else body["message"]
    return message


BACKENDS = st.lists(
    st.tuples(st.sampled_from(DIALECTS), st.lists(st.sampled_from(["", "call_0", "call_1"]), min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


@steady
@given(BACKENDS, st.sampled_from(DIALECTS))
def test_a_tool_conversation_goes_on_at_another_backend_and_no_id_occurs_twice(
    turns: list[tuple[Dialect, list[str]]], caller: Dialect
) -> None:
    """Each turn is answered by a backend that sends no ids, or starts again with `call_0`."""
    request: dict[str, Any] = {"messages": [{"role": "user", "content": "Look around."}], "max_tokens": 9}
    count = Numbers()
    for backend, ids in turns:
        if backend == caller:
            continue  # such a body passes as it is
        check(TRANSLATORS[caller, backend].request(request)["messages"])
        numbers = count.take(len(ids))
        given_ids = [id or "call_0" for id in ids] if backend == "anthropic" else ids
        body = TRANSLATORS[caller, backend].response(response(backend, given_ids, numbers), request)
        message = message_of(caller, body)
        own = [id for _, id, _ in calls_and_results([message])]
        request["messages"] = [*request["messages"], message, *results(caller, own, numbers)]
        check(request["messages"])


@pytest.mark.parametrize("caller", ["openai", "anthropic"])
def test_the_same_conversation_gets_the_same_ids(caller: Dialect) -> None:
    request = {"messages": [{"role": "user", "content": "Look."}]}
    bodies = [TRANSLATORS[caller, "ollama"].response(response("ollama", [""], [0]), request) for _ in range(2)]
    assert bodies[0] == bodies[1]


def test_a_result_without_a_call_keeps_its_id_and_a_second_result_that_of_its_call() -> None:
    ids = CallIds()
    ids.begin_turn()
    assert [ids.add_call("a"), ids.add_call("a"), ids.add_call("", "look"), ids.add_call("")] == [
        "a", "a_1", "call_2", "call_3",
    ]  # fmt: skip
    assert [ids.add_result("b"), ids.add_result("a"), ids.add_result("a"), ids.add_result("a")] == [
        "b", "a", "a_1", "a_1",
    ]  # fmt: skip
    assert [ids.add_result("", "look"), ids.add_result("", "other"), ids.add_result("")] == [
        "call_2",
        "call_3",
        "call_3",
    ]


def test_the_results_of_an_abandoned_turn_do_not_go_to_the_next_one() -> None:
    ids = CallIds()
    ids.begin_turn()
    ids.add_call("a")
    ids.begin_turn()
    assert ids.add_call("a") == "a_1"
    assert ids.add_result("a") == "a_1"


@pytest.mark.parametrize("form", ["c{}", ""])
def test_a_history_of_thousands_of_calls_costs_little_time(form: str) -> None:
    ids, began = CallIds({f"call_{number}" for number in range(20_000, 40_000)}), time.thread_time()
    calls = [ids.add_call(form.format(number), "f") for number in range(20_000)]
    assert [ids.add_result(form.format(number), "f") for number in range(20_000)] == calls
    assert not ids.is_waiting("")
    assert time.thread_time() - began < 2.0  # 6,000 took 0.6 s, and the time grew with the square
