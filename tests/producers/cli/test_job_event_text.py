"""What `ask` says while it waits: only what is known."""

from __future__ import annotations

import pytest

from openfall.producers.job_event_text import describe_event, is_news

CALL = {"model": "haiku", "backend": "anthropic"}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"event": "started", "backend": "tower"}, "claimed for tower, no token so far"),
        (
            {"event": "loading", **CALL, "seconds": 0, "expected_seconds": 45.0},
            "anthropic loads haiku, about 45 s",
        ),
        (
            {"event": "loading", **CALL, "seconds": 9, "expected_seconds": 45.0},
            "anthropic loads haiku, about 45 s (9 s so far)",
        ),
        ({"event": "loading", **CALL, "seconds": 0, "expected_seconds": None}, "anthropic loads haiku"),
        (
            {"event": "writing", **CALL, "characters": 1840, "text_characters": 1840},
            "haiku is writing: 1,840 characters so far",
        ),
        (
            {"event": "writing", **CALL, "characters": 300, "text_characters": 0},
            "haiku is thinking: 300 characters so far",
        ),
        (
            {"event": "waiting", **CALL, "seconds": 9, "limit_seconds": 30},
            "anthropic sends the answer of haiku in one piece: 9 s so far, at most 30 s",
        ),
        (
            {
                "event": "queued",
                "queue": "cloud.sonnet.interactive",
                "position": 1,
                "why": "opus@anthropic: timeout (no first token within 5 s)",
            },
            "opus@anthropic: timeout (no first token within 5 s); waiting for sonnet, number 1 in the queue",
        ),
        ({"event": "queued", "position": 4}, "waiting for a worker, number 4 in the queue"),
        ({"event": "delta", "text": "x"}, "being answered"),
    ],
)
def test_an_event_in_words(event, text):
    assert describe_event(event) == text


def test_a_load_and_a_failed_call_are_worth_a_line_of_their_own():
    assert is_news({"event": "loading"})
    assert is_news({"event": "queued", "why": "it failed"})
    assert not is_news({"event": "queued"})
    assert not is_news({"event": "started"})
