"""A call that starts, progresses or completes too late ends with the name of its limit."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.jobs.stream_time_limits import StreamLimits
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.stall_watch import CallWatch
from openfall.workers.backends.transport import Transport
from tests.faults import COMPLETION, answer, dripping, events, fault_server, head, piece, stall

BODY = {"messages": [{"role": "user", "content": "hello"}]}
WHOLE = (piece(role="assistant", content=""), piece(content="A lantern festival."), piece("stop"))


async def open_then_stall(writer: asyncio.StreamWriter) -> None:
    """The head of a stream, and nothing after it."""
    writer.write(head(200, None, {"Content-Type": "text/event-stream"}))
    await writer.drain()
    await stall(writer)


def pieces_then_stall(*chunks: bytes):
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, None, {"Content-Type": "text/event-stream"}) + b"".join(chunks))
        await writer.drain()
        await stall(writer)

    return script


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode()


def call(*scripts, timeout: float = 20.0, times: int = 1, **limits: float):
    """The outcomes of calls with these limits, and the bodies that the server received."""

    async def main():
        async with fault_server(*scripts) as server:
            backend = OpenAIBackend(server.url, "", Transport(keep_alive=False))
            outcomes = []
            for _ in range(times):
                watch = CallWatch(timeout, StreamLimits(**limits) if limits else None)
                request = Request(body=BODY, upstream="m", timeout=timeout, watch=watch)
                outcomes.append(await backend.complete(request))
            await backend.close()
            return outcomes, [received.body for received in server.calls_received]

    return asyncio.run(main())


@pytest.mark.parametrize(
    "script",
    [
        stall,
        open_then_stall,
        pieces_then_stall(b": a comment\n\n" * 9, b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'),
        dripping("text/event-stream", b": ping\n\n"),
    ],
    ids=["before the head", "after the head", "after a role", "with comments alone"],
)
def test_a_hang_ends_at_the_limit_of_the_first_token(script):
    (outcome,), _ = call(script, first_token=0.3, stall=9)
    assert outcome == Failure(error_class=ErrorClass.TIMEOUT, detail="no first token within 0.3 s")


def test_an_answer_that_stops_ends_at_the_limit_of_its_progress():
    (outcome,), _ = call(pieces_then_stall(event("A lantern"), event(" festival.")), first_token=9, stall=0.3)
    assert outcome == Failure(error_class=ErrorClass.TIMEOUT, detail="no progress for 0.3 s after 19 characters")


def test_a_trickle_is_no_progress():
    (outcome,), _ = call(dripping("text/event-stream", event("")), first_token=0.3, stall=9)
    assert outcome.detail == "no first token within 0.3 s"
    (outcome,), _ = call(pieces_then_stall(event("A")), first_token=9, stall=9, start=0.3)
    assert outcome.detail.startswith("no progress for 0.")
    assert outcome.detail.endswith("after 1 character")


def test_reasoning_and_tool_calls_are_progress():
    reasoning = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"0123456789"}}]}\n\n'
    arguments = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function",'
        b'"function":{"name":"look","arguments":"{}"}}]}}]}\n\n'
    )
    (outcome,), _ = call(pieces_then_stall(reasoning, arguments), first_token=9, stall=0.3)
    assert outcome.detail == "no progress for 0.3 s after 16 characters"


def test_an_answer_that_goes_on_ends_at_its_timeout():
    (outcome,), _ = call(dripping("text/event-stream", event("0123456789")), timeout=0.5, first_token=9, stall=9)
    assert outcome == Failure(error_class=ErrorClass.TIMEOUT, detail="no complete answer within 0.5 s")


def test_a_call_with_limits_is_streamed_and_gives_the_whole_answer_with_its_usage():
    usage = {"choices": [], "usage": {"prompt_tokens": 41, "completion_tokens": 5}}
    (outcome,), (body,) = call(events(*WHOLE, usage), first_token=9, stall=9)
    assert (outcome.text, outcome.usage.input_tokens, outcome.usage.output_tokens) == ("A lantern festival.", 41, 5)
    assert b'"include_usage":true' in body


def test_a_call_without_limits_is_not_streamed():
    _, (body,) = call(answer(COMPLETION))
    assert b"stream" not in body


def test_a_server_that_ignores_the_stream_is_understood():
    (outcome,), _ = call(answer(COMPLETION), first_token=9, stall=9)
    assert outcome.text == "A lantern festival."


@pytest.mark.parametrize(
    "refusal",
    [
        answer({"error": {"message": "streaming is not available", "param": "stream"}}, 400),
        answer({"detail": [{"loc": ["body", "stream"], "msg": "Extra inputs are not permitted"}]}, 422),
    ],
)
def test_a_server_that_refuses_to_stream_is_called_once_more_and_remembered(refusal):
    outcomes, bodies = call(refusal, answer(COMPLETION), answer(COMPLETION), times=2, first_token=9, stall=9)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [b'"stream":true' in body for body in bodies] == [True, False, False]


@pytest.mark.parametrize(
    "refusal",
    [
        answer({"error": {"message": "Unrecognized request argument: stream_options"}}, 400),
        answer({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422),
    ],
)
def test_a_server_that_refuses_the_options_of_a_stream_gets_streams_without_them(refusal):
    outcomes, bodies = call(refusal, events(*WHOLE), events(*WHOLE), times=2, first_token=9, stall=9)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert all(b'"stream":true' in body for body in bodies)
    assert [b"stream_options" in body for body in bodies] == [True, False, False]


def test_a_refusal_that_names_something_else_is_not_repeated():
    (outcome,), bodies = call(answer({"error": {"message": "upstream says no"}}, 400), first_token=9, stall=9)
    assert outcome.error_class is ErrorClass.BAD_REQUEST
    assert len(bodies) == 1


class TestALoad:
    """A model that must be loaded first has its load time before its first token."""

    def run(self, *, load: float):
        async def main():
            async with fault_server(stall) as server:
                backend = OpenAIBackend(server.url, "", Transport(keep_alive=False))
                limits = StreamLimits(first_token=0.2, stall=9, load=load, first_token_after_load=0.2, longest=9)
                watch = CallWatch(5, limits)
                request = Request(body=BODY, upstream="m", timeout=60, watch=watch)
                calling = asyncio.ensure_future(backend.complete(request))
                await server.arrived.wait()
                watch.allow_load()
                loading = watch.is_loading
                outcome = await calling
                await backend.close()
                return loading, outcome, watch.progressed_after

        return asyncio.run(main())

    def test_its_limit_is_the_load_and_the_first_token(self):
        loading, outcome, progressed_after = self.run(load=0.4)
        assert loading
        assert outcome.detail == "no first token within 0.6 s, of which 0.4 s are for loading the model"
        assert progressed_after == pytest.approx(0.4), "its caller knows of the load"
