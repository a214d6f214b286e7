"""Keys in a provider's words are hidden; its error codes, request ids and model names are not."""

from __future__ import annotations

import pytest

from openfall.workers.backends.redaction import redact


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123DEF456", "sk-ant-api03-Ab1_cd2-EF3", "gsk_abcDEF123456", "xai-abc123def456", "hf_abcDEF123",
        "AIzaSyD4x8abc", "tRq3xYz9AbCdEfGh1234567890abcdEF", "0123456789abcdef0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123", "0123456789abcdef0123456789abcdef.AbCdEf0123456789",
        "abcd****************************wxyz", "3b8f2c1e-0a1b-4c2d-8e3f-0123456789ab",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "sentence",
    ["Incorrect API key provided: {}.", 'invalid api_key="{}"', "Authorization: Bearer {}", "token {}"],
)
def test_a_key_is_hidden(sentence: str, secret: str) -> None:
    shown = redact(sentence.format(secret))
    assert secret not in shown
    assert secret[-8:] not in shown
    assert "[secret]" in shown


@pytest.mark.parametrize("secret", ["tRq3xYz9AbCdEfGh1234567890abcdEF", "0123456789abcdef" * 2, "gsk_abcDEF123456"])
def test_a_key_that_nothing_names_is_hidden(secret: str) -> None:
    assert redact(f"refused {secret} here") == "refused [secret] here"


@pytest.mark.parametrize(
    "text",
    [
        "MODEL_CONTEXT_WINDOW_EXCEEDED_FOR_REQUEST",
        "InvalidEndpointOrModelAccessDeniedException",
        "RESOURCE_EXHAUSTED_TOKENS_PER_MINUTE_32K",
        "api_key_invalid", "API_KEY_INVALID", "key_not_configured", "invalid_api_key",
        "model claude-haiku-4-5-20251001-thinking-preview is retired",
        "qwen2-5-coder-32b-instruct-awq-int4-long is not loaded",
        "request id: 0123456789abcdef0123456789abcdef", "request_id=021718067849899d92fcbcAbCdEf0123",
        "req_011CQ5b3AbCdEfGhIjKlMnOpQrStUv", "chatcmpl-9bAbCdEfGhIjKlMnOpQrStUv012345",
        "trace 123e4567-e89b-12d3-a456-426614174000 failed",
        "context_length_exceeded: 40000 tokens, at most 32768 tokens",
        "the token limit is 1000000000000000",
    ],
)  # fmt: skip
def test_a_code_an_id_and_the_name_of_a_model_stay_readable(text: str) -> None:
    assert redact(text) == text


def test_an_address_is_hidden() -> None:
    assert redact("see https://example.org/keys?k=1 now") == "see [address] now"
