"""A text that no model wrote is parsed by the dialects' own SDKs like any other answer."""

from __future__ import annotations

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from tests.router_core.decisions import job

AT = 1_700_000_000.25


def test_the_sdk_of_openai_reads_it():
    reply = synthetic_reply(job(dialect="openai"), "Später 🙂", AT)
    parsed = ChatCompletion.model_validate(reply.body, strict=True)
    assert (parsed.choices[0].message.content, parsed.choices[0].finish_reason) == ("Später 🙂", "stop")
    assert (parsed.id, parsed.model, parsed.created, reply.finish_reason) == (
        "chatcmpl-job-00001", "openfall", 1_700_000_000, "stop"
    )  # fmt: skip
    assert parsed.to_dict() == {**reply.body, "choices": [dict(reply.body["choices"][0])]}


def test_the_sdk_of_anthropic_reads_it():
    reply = synthetic_reply(job(dialect="anthropic"), "later", AT)
    parsed = Message.model_validate(reply.body, strict=True)
    assert (parsed.content[0].text, parsed.stop_reason, parsed.model) == ("later", "end_turn", "openfall")
    assert reply.finish_reason == "end_turn"


def test_a_client_of_ollama_reads_it():
    reply = synthetic_reply(job(dialect="ollama"), "later", AT)
    assert (reply.body["message"], reply.body["done"], reply.body["done_reason"]) == (
        {"role": "assistant", "content": "later"}, True, "stop"
    )  # fmt: skip
    assert reply.body["created_at"] == "2023-11-14T22:13:20.250000Z"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
def test_its_text_is_the_text(dialect):
    reply = synthetic_reply(job(dialect=dialect), "later", AT)
    assert reply.text == answer_text(reply.body) == "later"
