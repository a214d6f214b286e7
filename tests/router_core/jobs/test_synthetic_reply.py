"""A text that no model wrote is read by the dialects' own SDKs like any other answer."""

from __future__ import annotations

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from tests.router_core.decisions import job

AT = 1_700_000_000.25


def test_the_sdk_of_openai_reads_it():
    actual = synthetic_reply(job(dialect="openai"), "Später 🙂", AT)
    read = ChatCompletion.model_validate(actual.body, strict=True)
    assert (read.choices[0].message.content, read.choices[0].finish_reason) == ("Später 🙂", "stop")
    assert (read.id, read.model, read.created, actual.finish_reason) == (
        "chatcmpl-job-00001", "openfall", 1_700_000_000, "stop"
    )  # fmt: skip
    assert read.to_dict() == {**actual.body, "choices": [dict(actual.body["choices"][0])]}


def test_the_sdk_of_anthropic_reads_it():
    actual = synthetic_reply(job(dialect="anthropic"), "later", AT)
    read = Message.model_validate(actual.body, strict=True)
    assert (read.content[0].text, read.stop_reason, read.model) == ("later", "end_turn", "openfall")
    assert actual.finish_reason == "end_turn"


def test_a_client_of_ollama_reads_it():
    actual = synthetic_reply(job(dialect="ollama"), "later", AT)
    assert (actual.body["message"], actual.body["done"], actual.body["done_reason"]) == (
        {"role": "assistant", "content": "later"}, True, "stop"
    )  # fmt: skip
    assert actual.body["created_at"] == "2023-11-14T22:13:20.250000Z"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
def test_its_text_is_the_text(dialect):
    actual = synthetic_reply(job(dialect=dialect), "later", AT)
    assert actual.text == answer_text(actual.body) == "later"
