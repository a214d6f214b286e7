"""Reasoning is left out of texts, and a hostile text costs no more than its length."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.reasoning import without_reasoning, without_thinking
from tests.cpu_time import least_cpu_seconds

MANY = 200_000
"""Tags for which a search that starts again at each of them would take hours."""


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("no tag", "no tag"),
        ("a<think>b</think>c", "a c"),
        ("<think>a</think><think>b</think>", "  "),
        ("<think>a<think>b</think>c</think>", " c</think>"),
        ("a<think>b", "a<think>b"),
        ("</think>a<think>", "</think>a<think>"),
        ("<think>a\nb</think>", " "),
        ("", ""),
    ],
)
def test_thinking_with_an_end_is_left_out(text: str, rest: str) -> None:
    assert without_thinking(text) == rest


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("<think>" * MANY, 7 * MANY),
        ("<think></think>" * MANY, MANY),
        ("</think><think>" * MANY, 8 + (MANY - 1) + 7),
        ("<think>" * MANY + "</think>", 1),
    ],
)
def test_millions_of_tags_are_read_once(text: str, length: int) -> None:
    assert len(without_thinking(text)) == length


@pytest.mark.parametrize("text", ["<think>" * MANY, "<think></think>" * MANY, "<thinking> </thinking>\n" * MANY])
def test_an_answer_of_reasoning_alone_has_no_text(text: str) -> None:
    assert without_reasoning(text) == ""


def test_a_long_reasoning_without_an_end_takes_little_time() -> None:
    text = "<think>" + "hm " * 5_000_000
    assert without_reasoning(text) == ""
    assert least_cpu_seconds(lambda: without_reasoning(text), 0.2) < 0.2  # a regular expression takes 0.6 s
