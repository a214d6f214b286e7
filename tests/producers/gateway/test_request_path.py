"""Base URLs as people write them."""

from __future__ import annotations

import pytest

from openfall.producers.gateway.request_path import RequestPath, normalize_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/v1/chat/completions", RequestPath("/v1/chat/completions")),
        ("/chat/completions", RequestPath("/v1/chat/completions")),
        ("/v1/v1/messages", RequestPath("/v1/messages")),
        ("/v1/v1/v1/messages", RequestPath("/v1/messages")),
        ("//v1//models/", RequestPath("/v1/models")),
        ("/models/status", RequestPath("/models/status")),
        ("/models/qwen/qwen3", RequestPath("/v1/models/qwen/qwen3")),
        ("/in/batch/v1/responses", RequestPath("/v1/responses", urgency="batch")),
        ("/for/discord:main/chat/completions", RequestPath("/v1/chat/completions", group="discord:main")),
        ("/for/a/in/batch/v1/v1/chat/completions", RequestPath("/v1/chat/completions", "a", "batch")),
        ("/in", RequestPath("/in")),
        ("/", RequestPath("/")),
        ("/api/chat", RequestPath("/api/chat")),
        ("/health", RequestPath("/health")),
    ],
)
def test_a_path_with_or_without_version_means_the_same(written: str, meant: RequestPath) -> None:
    assert normalize_path(written) == meant
