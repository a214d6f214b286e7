"""What servers and gateways send in place of a `chat.completion` is read as what it is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, ToolArguments, ToolStart
from openfall.workers.backends.anthropic_answer import parse_message
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.ollama_answer import parse_chat
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from openfall.workers.backends.translate import translate_response
from openfall.workers.backends.translate.piece_translation import translated_pieces
from tests.faults import raw
from tests.workers.backends.openai_calls import ask

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
ASKED = Request(body={"messages": [{"role": "user", "content": "x"}]}, upstream="m", timeout=1)


def choice(finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}


PLAIN = {"choices": [choice(content="plain")]}


def whole(document: Any) -> Completion:
    outcome = parse_completion(orjson.dumps(document), CIMultiDict())
    assert isinstance(outcome, Completion), outcome
    return outcome


def calls_of(outcome: Outcome) -> list[tuple[str, Any]]:
    assert isinstance(outcome, Completion), outcome
    calls = outcome.body["choices"][0]["message"]["tool_calls"]
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize(
    "document",
    [
        {"code": 0, "msg": "ok", "data": PLAIN},
        {"result": PLAIN, "success": True, "errors": [], "messages": []},
        {"output": PLAIN, "usage": {"input_tokens": 7}, "request_id": "r"},
        {"response": PLAIN},
        {"choices": choice(content="plain")},
        {"choices": {"0": choice(content="plain")}},
        json.dumps(PLAIN),
        {"statusCode": 200, "headers": {}, "body": json.dumps(PLAIN)},
        {"choices": [{"index": 0, "message": "plain", "finish_reason": "stop"}]},
        {"choices": [choice(content={"type": "text", "text": "plain"})]},
        {"choices": [choice(content=["pl", "ain"])]},
        {"choices": [choice("None", content="plain")]},
    ],
)
def test_a_wrapped_or_loose_completion_is_the_answer(document: Any) -> None:
    assert whole(document).text == "plain"


MESSAGE = {"type": "message", "content": [{"type": "text", "text": "plain"}], "stop_reason": "end_turn"}


@pytest.mark.parametrize(
    "document", [{"code": 0, "data": MESSAGE}, {"statusCode": 200, "body": json.dumps(MESSAGE)}, {"result": MESSAGE}]
)
def test_a_wrapped_message_of_anthropic_is_the_answer(document: Any) -> None:
    outcome = parse_message(orjson.dumps(document), CIMultiDict())
    assert isinstance(outcome, Completion)
    assert outcome.text == "plain"


@pytest.mark.parametrize("document", [{"data": "{no JSON"}, {"data": [MESSAGE]}, {"body": "{}"}, [], None])
def test_a_wrapper_without_a_message_is_no_answer(document: Any) -> None:
    assert isinstance(parse_message(orjson.dumps(document), CIMultiDict()), Failure)


def test_a_content_of_any_json_is_its_text_and_a_message_has_its_role() -> None:
    assert whole({"choices": [choice(content=42)]}).text == "42"
    assert whole({"choices": [choice(content={"answer": 42})]}).text == '{"answer":42}'
    without_role = whole({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})
    assert without_role.body["choices"][0]["message"]["role"] == "assistant"


@pytest.mark.parametrize(
    "calls",
    [
        CALL,
        [None, CALL],
        [{"id": "c1", "name": "f", "arguments": '{"a":1}'}],
        [{"id": "c1", "name": "f", "arguments": {"a": 1}}],
        [{"id": "c1", "function": {"name": "f", "arguments": json.dumps('{"a":1}')}}],
    ],
)
def test_a_tool_call_in_another_form_gets_its_form(calls: Any) -> None:
    outcome = whole({"choices": [choice("tool_calls", content=None, tool_calls=calls)]})
    assert calls_of(outcome) == [("f", {"a": 1})]
    assert outcome.body["choices"][0]["message"]["tool_calls"][0]["type"] == "function"


@pytest.mark.parametrize("ids", [(None, None), ("", ""), ("c", "c"), (7, 7)])
def test_every_tool_call_of_an_answer_has_an_id_of_its_own_also_in_its_pieces(ids: tuple[Any, Any]) -> None:
    calls = [{**CALL, "id": call_id} for call_id in ids]
    outcome = whole({"choices": [choice("tool_calls", content=None, tool_calls=calls)]})
    translated = translate_response(outcome, ASKED, "openai")
    assert isinstance(translated, Completion)
    unique = [call["id"] for call in translated.body["choices"][0]["message"]["tool_calls"]]
    assert len(set(unique)) == 2
    assert all(isinstance(call_id, str) and call_id for call_id in unique)
    received: list[Piece] = []
    given = [call_id if isinstance(call_id, str) else "" for call_id in ids]
    translated_pieces(ASKED, "openai", received.extend)([ToolStart(0, n, i, "f") for n, i in enumerate(given)])
    assert [piece.id for piece in received if isinstance(piece, ToolStart)] == unique


def test_unique_ids_and_answers_without_calls_stay_as_they_are() -> None:
    for document in ({"choices": [choice("tool_calls", tool_calls=[CALL])]}, PLAIN):
        outcome = whole(document)
        assert translate_response(outcome, ASKED, "openai") == outcome


def test_an_earlier_id_of_the_conversation_is_not_given_again() -> None:
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    request = Request(body={"messages": history}, upstream="m", timeout=1)
    outcome = whole({"choices": [choice("tool_calls", content=None, tool_calls=[CALL])]})
    translated = translate_response(outcome, request, "openai")
    assert isinstance(translated, Completion)
    assert translated.body["choices"][0]["message"]["tool_calls"][0]["id"] != "c1"


def test_a_tool_use_of_anthropics_gets_an_id_and_an_object() -> None:
    block = {"type": "tool_use", "name": "f", "input": '{"a":1}'}
    body = {"type": "message", "role": "assistant", "content": [block], "stop_reason": "tool_use"}
    request = Request(body=ASKED.body, upstream="m", timeout=1, dialect="anthropic")
    outcome = translate_response(parse_message(orjson.dumps(body), CIMultiDict()), request, "anthropic")
    assert isinstance(outcome, Completion)
    assert outcome.body["content"][0]["input"] == {"a": 1}
    assert outcome.body["content"][0]["id"]


def test_the_arguments_of_an_ollama_are_an_object_although_it_sends_their_text() -> None:
    call = {"function": {"name": "f", "arguments": '{"a":1}'}}
    body = {"message": {"role": "assistant", "content": "", "tool_calls": [call, {"function": None}]}, "done": True}
    outcome = parse_chat(orjson.dumps(body), CIMultiDict())
    assert isinstance(outcome, Completion)
    assert outcome.body["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def streamed(*pieces: Any, finish: str = "tool_calls") -> tuple[Outcome, list[Piece]]:
    deltas = [{"tool_calls": piece} for piece in pieces]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    answer, received = CompletionAssembler(), list[Piece]()
    for chunk in (*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}):
        received += answer.add(orjson.dumps(chunk))
    return answer.outcome(), received


F = {"name": "f", "arguments": '{"a":1}'}


@pytest.mark.parametrize(
    "pieces",
    [
        ({"index": 0, "id": "c1", "function": F},),
        ([{"index": 0, "id": "c1", "name": "f", "arguments": '{"a":1}'}],),
        ([{"index": "0", "id": "c1", "function": {"name": "f", "arguments": '{"a":'}}],
         [{"index": "0", "function": {"arguments": "1}"}}]),
        ([{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}],
         [{"index": 0, "function": {"arguments": '{"a":1}'}}]),
        ([{"index": 0, "id": "c1", "function": F}], [{"index": 0, "id": "c1", "function": F}]),
        ([{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}],
         [{"index": 1, "function": {"arguments": '{"a":1}'}}]),
    ],
)  # fmt: skip
def test_the_pieces_of_one_call_are_one_call_for_its_reader_too(pieces: tuple[Any, ...]) -> None:
    outcome, received = streamed(*pieces)
    assert calls_of(outcome) == [("f", {"a": 1})]
    assert [piece.name for piece in received if isinstance(piece, ToolStart)] == ["f"]
    assert "".join(piece.text for piece in received if isinstance(piece, ToolArguments)) == '{"a":1}'


def test_the_rest_of_a_second_call_may_stand_under_another_index() -> None:
    outcome, _ = streamed([{"index": 0, "id": "c1", "function": F}],
                          [{"index": 0, "id": "c2", "function": {"name": "g", "arguments": ""}}],
                          [{"index": 1, "function": {"arguments": "{}"}}])  # fmt: skip
    assert calls_of(outcome) == [("f", {"a": 1}), ("g", {})]


def test_a_call_whose_arguments_stay_empty_is_written_at_its_end() -> None:
    outcome, received = streamed([{"index": 0, "id": "c1", "function": {"name": "g", "arguments": "{}"}}])
    assert calls_of(outcome) == [("g", {})]
    assert received == [ToolStart(0, 0, "c1", "g"), ToolArguments(0, 0, "{}")]


@pytest.mark.parametrize("parts", [("{", "}"), ("", "{", "}"), ("{}",), ("{}", "")])
def test_empty_arguments_in_any_pieces_reach_their_reader_whole(parts: tuple[str, ...]) -> None:
    pieces = [[{"index": 0, "function": {"arguments": part}}] for part in parts]
    outcome, received = streamed([{"index": 0, "id": "c", "function": {"name": "g"}}], *pieces)
    assert calls_of(outcome) == [("g", {})]
    assert "".join(piece.text for piece in received if isinstance(piece, ToolArguments)) == "{}"


SIGNED = CALL | {"extra_content": {"google": {"thought_signature": "c2ln"}}}


def test_the_signature_of_a_call_of_geminis_reaches_its_reader() -> None:
    event = RawEvent({"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 1, "extra_content": SIGNED["extra_content"]}]}}]})  # fmt: skip
    outcome, received = streamed([{"index": 0, **CALL}], [{"index": 0, **SIGNED, "id": "c2"}])
    assert received[-3:] == [ToolStart(0, 1, "c2", "f"), ToolArguments(0, 1, '{"a":1}'), event]
    assert isinstance(outcome, Completion)
    assert outcome.body["choices"][0]["message"]["tool_calls"][1]["extra_content"] == SIGNED["extra_content"]
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, SIGNED]}
    assert pieces_of_answer({"choices": [{"index": 0, "message": message}]}, "openai")[-1] == event


EVENTS = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")]
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def joined(field: str, *events: Any, indent: int | None = None) -> bytes:
    return b"".join(f"{field}: {json.dumps(event, indent=indent)}\n\n".encode() for event in events)


@pytest.mark.parametrize(
    "body",
    [
        joined("data", *EVENTS) + b"data: [done]\n\n",
        joined("data", *EVENTS) + b'data: "[DONE]"\n\n',
        joined("data", *EVENTS) + b"[DONE]\n\n",
        joined("Data", *EVENTS, END),
        joined(" data", *EVENTS, END),
        b"\0\0" + joined("data", *EVENTS, END),
        joined("data", *EVENTS, END, indent=2),
        joined("data", EVENTS[0]) + b"\xef\xbb\xbf" + joined("data", EVENTS[1], END),
        joined("data", [EVENTS[0]], [EVENTS[1], END]),
        joined("data", {"choices": EVENTS[0]["choices"][0]}, {"choices": EVENTS[1]["choices"][0]}, END),
        joined("data", *({"choices": [{"delta": {"content": {"type": "text", "text": t}}}]} for t in ("Hel", "lo")),
               END),
    ],
)  # fmt: skip
def test_a_stream_in_a_loose_form_is_read_whole(body: bytes) -> None:
    framing, answer = SseFraming(), CompletionAssembler()
    for event in (*framing.feed(body), *framing.end()):
        answer.add(event)
    outcome = answer.outcome()
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "Hello"


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252", "GBK", "shift_jis", "utf-8", "unknown-1"])
def test_an_answer_is_read_in_the_character_set_that_it_names(charset: str) -> None:
    text = {"GBK": "你好", "shift_jis": "こんにちは"}.get(charset, "café über")
    encoding = "utf-8" if charset == "unknown-1" else charset
    document = json.dumps({"choices": [choice(content=text)]}, ensure_ascii=False).encode(encoding)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset={charset}\r\nConnection: close\r\n\r\n"
    outcome = ask(raw(head.encode() + document))
    assert isinstance(outcome, Completion)
    assert outcome.text == text


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"usage": {"promptTokens": 7, "completionTokens": 2, "totalTokens": 9}}, (7, 2)),
        ({"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 12}}, (7, 5)),
        ({"timings": {"prompt_n": 5, "cache_n": 2, "predicted_n": 2}}, (7, 2)),
        ({"timings": {"prompt_n": 7, "predicted_n": 2}, "usage": {"prompt_tokens": 8, "completion_tokens": 3}}, (8, 3)),
    ],
)
def test_tokens_count_under_the_names_that_servers_use(usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    outcome = whole(PLAIN | usage)
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == tokens
