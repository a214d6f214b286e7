"""Bodies that attack the gateway: each is a 400 in words on every path, and none reaches the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall.producers.gateway.app import ENDPOINTS
from openfall.router_core.state import keys
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, open_gateway, run

CHAT = b'"model":"chat","messages":[{"role":"user","content":"hi"}]'
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": b'"model":"chat","prompt":"hi"',
    "/v1/responses": b'"model":"chat","input":"hi"',
    "/v1/messages": CHAT + b',"max_tokens":5',
    "/v1/messages/count_tokens": CHAT,
}
DEEP, WIDE, NO_JSON = "is nested more than 100 levels deep", "has more than 300,000 values", "is not JSON"
PARTS = "has more than 100,000 names, texts, lists and objects"
HOSTILE = {
    "101 lists": (b"[" * 101 + b"]" * 101, DEEP),
    "250 lists": (b"[" * 250 + b"]" * 250, DEEP),
    "900 objects": (b'{"a":' * 900 + b"1" + b"}" * 900, DEEP),
    "1,020 lists": (b"[" * 1020 + b"]" * 1020, DEEP),
    "5,000 objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, DEEP),
    "90,000 lists": (b"[" * 90_000 + b"]" * 90_000, DEEP),
    "10^5 lists": (b"[" * 10**5 + b"]" * 10**5, PARTS),
    "10^6 lists": (b"[" * 10**6 + b"]" * 10**6, WIDE),
    "350,000 keys": (b"{" + b'"k":1,' * 350_000 + b'"k":1}', WIDE),
    "10^6 empty lists": (b"[" + b"[]," * 10**6 + b"[]]", WIDE),
    "not UTF-8": (b'"\xff\xfe"', NO_JSON),
    "a raw NUL": (b'"\x00"', NO_JSON),
    "NUL behind": (b"1}\x00", NO_JSON),
    "NaN": (b"NaN", NO_JSON),
    "infinity": (b"-Infinity", NO_JSON),
    "5,000 digits": (b"9" * 5000, NO_JSON),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_hostile_body_is_a_400_in_words_on_every_path(redis_url: str, tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for name, (value, words) in HOSTILE.items():
                body = b"{" + PATHS[path] + b',"x":' + value + b"}"
                response = await gateway.http.post(path, content=body)
                assert (response.status_code, words in response.text) == (400, True), (name, response.text[:300])
            assert not await gateway.link.command("EXISTS", keys.UNFINISHED)

    run(main)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "value",
    [b'{"a":1,"a":2}', b"9" * 100, b"-9223372036854775809", b'"\\u0000"', b"[" * 98 + b"]" * 98, b'"\\ud83d"',
     b'{"\\ud83d":1}'],
)  # fmt: skip
def test_an_odd_body_that_is_json_is_answered(redis_url: str, tmp_path: Path, path: str, value: bytes) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            response = await gateway.http.post(path, content=b"{" + PATHS[path] + b',"x":' + value + b"}")
            assert response.status_code == 200, response.text[:300]

    run(main)


FIELDS = {"service_tier", "stream_options", "background_options", "tool_choice", "response_format", "reasoning"}
"""Fields that some endpoint reads, beside those of its schema."""


def test_a_field_of_any_other_kind_is_never_a_500(redis_url: str, tmp_path: Path) -> None:
    valid = {
        "model": "chat", **SAY, "input": "x", "prompt": "x", "model_name": "tiny", "max_tokens": 9,
        "endpoint": "/v1/responses", "requests": [], "background": True,
    }  # fmt: skip
    value = {"completion_window": [[]], "type": {}, "include_usage": {}, "effort": {}, "format": []}
    headers = {"X-Openfall-Wait": "1ms", "X-Openfall-Urgency": "background"}

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for endpoint in ENDPOINTS:
                known = (endpoint.body or {}).get("properties", {}) if endpoint.path.startswith("/v1/") else {}
                for name in FIELDS.union(known) - {"stream"} if known else ():
                    body = {**valid, name: value}
                    response = await gateway.http.post(endpoint.path, json=body, headers=headers)
                    assert "unexpected error" not in response.text, (endpoint.path, name)

    run(main)
