"""Errors as providers, servers and proxies write them, one a line of `provider_errors.jsonl`, and what each means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_response import classify

ERRORS = [json.loads(line) for line in Path(__file__).with_name("provider_errors.jsonl").read_text().splitlines()]


def _classify(status: int, body: Any) -> ErrorClass:
    raw = body if isinstance(body, str) else json.dumps(body)
    return classify(status, CIMultiDict({}), raw.encode()).error_class


@pytest.mark.parametrize("error", [pytest.param(error, id=error["name"]) for error in ERRORS])
def test_an_error_in_its_providers_words_has_its_meaning_and_lets_the_next_model_answer(error: dict[str, Any]) -> None:
    meaning = _classify(error["status"], error["body"])
    assert meaning in error["means"]
    assert DISPOSITIONS[meaning].try_next_model


@pytest.mark.parametrize(
    "raw", ['{"error":{"message":"prompt is too long"}}', "prompt is too long", {"message": "prompt is too long"}]
)
def test_the_words_of_the_provider_behind_a_router_decide(raw: Any) -> None:
    body = {
        "error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "P"}}
    }
    assert _classify(400, body) is ErrorClass.CONTEXT_OVERFLOW
    failure = classify(400, CIMultiDict({}), json.dumps(body).encode())
    assert failure.detail.endswith("Provider returned error: prompt is too long")
