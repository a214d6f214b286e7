"""What `make clients` makes of the output of a client."""

from __future__ import annotations

from tests.clients.environments import CLIENTS
from tests.clients.outcomes import Outcome, outcomes_of

BY_NAME = {client.name: client for client in CLIENTS}


def test_a_check_that_fails_has_its_reason() -> None:
    output = '{"check": "stream", "why": ""}\na warning\n{"check": "tool", "why": "404"}\n'
    assert outcomes_of(BY_NAME["llm"], output, 0) == [Outcome("stream"), Outcome("tool", "404")]


def test_a_client_that_reports_nothing_or_ends_badly_has_failed() -> None:
    assert outcomes_of(BY_NAME["llm"], "", 0)[0].why
    assert outcomes_of(BY_NAME["llm"], '{"check": "stream", "why": ""}\nkilled', 137)[-1].text.startswith("FAILED")
    assert outcomes_of(BY_NAME["schemathesis"], "", 1)[0].why


def test_standard_tests_are_counted_and_the_failed_ones_named() -> None:
    output = "PASSED a.py::T::test_a\nPASSED a.py::T::test_b\nFAILED a.py::T::test_c - no words\n"
    output += "FAILED a.py::TestChatOpenAI::test_unicode_tool_call_integration - no words\n"
    passed, failed, skipped = outcomes_of(BY_NAME["langchain"], output, 1)
    assert passed.check == "2 standard tests"
    assert failed == Outcome("T::test_c", "no words")
    assert skipped.text == "skipped: it wants an answer in Chinese"
