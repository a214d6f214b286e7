"""Base urls and keys in the forms that people write."""

from __future__ import annotations

import pytest

from openfall.workers.backends import anthropic_client
from openfall.workers.backends.base_url import parse_address
from openfall.workers.backends.ollama_client import CHAT_PATH, parse_ollama_address
from openfall.workers.backends.openai_client import PATH, PREFIXES, credentials
from openfall.workers.backends.registry import is_loopback


@pytest.mark.parametrize(
    ("base", "full"),
    [
        ("http://h:8080", "http://h:8080/v1/chat/completions"),
        ("http://h:8080/v1/", "http://h:8080/v1/chat/completions"),
        ("http://h/llm", "http://h/llm/v1/chat/completions"),
        ("https://h/api/v1", "https://h/api/v1/chat/completions"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        (" https://h/v1/models ", "https://h/v1/chat/completions"),
        ("https://h/api/chat/completions/", "https://h/api/chat/completions"),
        ("https://h/chat/completions", "https://h/chat/completions"),
        (
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1",
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1",
        ),
        (
            "https://x.openai.azure.com/openai/deployments/gpt?api-version=1",
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1",
        ),
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1/chat/completions"),
        ("https://x.openai.azure.com/openai/v1/", "https://x.openai.azure.com/openai/v1/chat/completions"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://api.groq.com/v1", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://api.perplexity.ai/", "https://api.perplexity.ai/chat/completions"),
        ("https://models.github.ai", "https://models.github.ai/inference/chat/completions"),
        ("https://h/v1/chat", "https://h/v1/chat/completions"),
        ("https://h/v1/messages", "https://h/v1/chat/completions"),
        ("HTTP://h/V1", "http://h/V1/chat/completions"),
        ("https://x.services.ai.azure.com", "https://x.services.ai.azure.com/openai/v1/chat/completions"),
        ("https://x.services.ai.azure.com/models", "https://x.services.ai.azure.com/openai/v1/chat/completions"),
        (
            "https://x.services.ai.azure.com/models?api-version=1",
            "https://x.services.ai.azure.com/models/chat/completions?api-version=1",
        ),
        ("https://api.cohere.ai", "https://api.cohere.ai/compatibility/v1/chat/completions"),
        ("https://api.z.ai/api/coding/paas/v4", "https://api.z.ai/api/coding/paas/v4/chat/completions"),
        ("https://open.bigmodel.cn", "https://open.bigmodel.cn/api/paas/v4/chat/completions"),
        (
            "https://dashscope-intl.aliyuncs.com",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        (
            "https://api.cloudflare.com/client/v4/a/ai/v1",
            "https://api.cloudflare.com/client/v4/a/ai/v1/chat/completions",
        ),
    ],
)
def test_a_url_as_people_have_it_reaches_the_endpoint(base: str, full: str) -> None:
    place = parse_address(base, PATH, prefixes=PREFIXES)
    assert str(place.at(place.version + PATH)) == full


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/v1", "http://h:1/api/", "http://h:1/v1/chat/completions"])
def test_an_ollama_is_reached_by_the_url_of_any_of_its_protocols(url: str) -> None:
    assert str(parse_ollama_address(url).at(CHAT_PATH)) == "http://h:1/api/chat"


@pytest.mark.parametrize(
    ("url", "key", "header"),
    [
        ("https://x.openai.azure.com", "k", {"api-key": "k"}),
        ("https://x.services.ai.azure.com/openai/v1", " k ", {"api-key": "k"}),
        ("https://x.openai.azure.com", "", {}),
        ("https://x.openai.azure.com", "eyJh.x.y", {"authorization": "Bearer eyJh.x.y"}),
        ("https://api.openai.com", "k", {"authorization": "Bearer k"}),
    ],
)
def test_azure_reads_a_key_from_a_header_of_its_own(url: str, key: str, header: dict[str, str]) -> None:
    assert credentials(key, parse_address(url, PATH)) == header


def test_the_query_of_a_base_url_is_kept() -> None:
    place = parse_address("http://h/anthropic?tenant=a")
    assert str(place.at(place.version + "/models?limit=9")) == "http://h/anthropic/v1/models?tenant=a&limit=9"


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="as the key") as refused:
        parse_address("http://me:hunter2@h")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", [f"http://{'a' * 64}", "http://a..b", "http://[::1", "http://h:99999", "http://:80"])
def test_a_url_that_cannot_be_called_is_refused_when_it_is_opened(url: str) -> None:
    with pytest.raises(ValueError, match="check its host and port"):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://192.168.1.2", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_the_host_decides_whether_a_url_is_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize("url", ["https://openrouter.ai", "https://openrouter.ai/api", "https://openrouter.ai/api/v1"])
def test_openrouters_endpoint_of_anthropics_protocol_is_reached_by_its_host(url: str) -> None:
    place = parse_address(url, "/messages", prefixes=anthropic_client.PREFIXES)
    assert str(place.at(place.version + "/messages")) == "https://openrouter.ai/api/v1/messages"
