"""The refusals of a server that has nothing at the path of a request, and those that only look like one."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.vocabulary import ErrorClass as E
from tests.workers.backends.test_error_words import error, refusal


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    "body",
    [
        b"404 page not found\n", b"Not Found", b"", b"<html><title>404 Not Found</title><hr>nginx</html>",
        b"<pre>Cannot POST /v1/chat/completions</pre>", b"default backend - 404", b"405 method not allowed",
        {"detail": "Not Found"}, {"detail": "Method Not Allowed"}, {"message": "no Route matched with those values"},
        error("Invalid URL (POST /v1/v1/chat/completions)", type="invalid_request_error"),
        error("Unknown request URL: POST /v1/v1/x. Please check the URL for typos", code="unknown_url"),
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, error("404 Route Not Found"),
        {"status": 404, "error": "Not Found", "path": "/v1/chat"}, {"errors": [{"message": "No route for that URI"}]},
    ],
)  # fmt: skip
def test_a_path_that_the_server_does_not_know_is_named_and_not_called_again(status: int, body: Any) -> None:
    failure = refusal(status, body)
    assert failure.error_class is E.NOT_INSTALLED
    assert not failure.disposition.try_same_again
    assert "correct the backend's `url`" in failure.detail


@pytest.mark.parametrize(
    "message",
    [
        "File not found: file-123", "The image at the url https://example.org/a.png was not found",
        "url not found: https://example.org/a.png", "Invalid URL: image_url must be http", "Conversation not found",
        "No file found at path a.pdf: not found", "Invalid url 'https://example.org/a.mp3'", "Model not found",
    ],
)  # fmt: skip
def test_what_is_missing_of_a_request_is_no_path(message: str) -> None:
    assert "`url`" not in refusal(404, error(message)).detail


def test_the_page_of_the_documentation_is_no_address_of_a_request() -> None:
    message = (
        "Unknown request URL: POST /v1/x. Please check the URL for typos, or see the docs at https://example.org/."
    )
    assert refusal(404, error(message)).error_class is E.NOT_INSTALLED
