"""Inbox, webhook and `reply_to` are checked before a job is submitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.config import LoadedConfig
from openfall.config.settings import WebhooksSection
from openfall.producers.errors import BadRequest
from openfall.producers.job_request import JobRequest, prepare
from openfall.router_core.state.jobs import SubmitTerms

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = {"secret": SECRET}
HOOK = "https://hooks.example.org/of"


def terms(loaded: LoadedConfig, settings: dict[str, Any], **options: Any) -> SubmitTerms:
    loaded = replace(loaded, settings=loaded.settings.model_copy(update={"webhooks": WebhooksSection(**settings)}))
    return prepare(loaded, "tests", JobRequest("hello", options))[1]  # type: ignore[arg-type]


def test_a_job_keeps_its_inbox_webhook_and_reply_to(loaded: LoadedConfig) -> None:
    job_terms = terms(loaded, SIGNED, inbox="haruka.bot-1", webhook=HOOK, reply_to=["chat", 7])
    assert (job_terms.inbox, job_terms.webhook, job_terms.reply_to) == ("haruka.bot-1", HOOK, b'["chat",7]')
    assert job_terms.keep_unread_seconds == loaded.settings.retention.unread
    assert job_terms.max_queued == loaded.catalog.urgency["interactive"].max_queued  # type: ignore[index]


def test_a_job_has_no_callbacks_by_default(loaded: LoadedConfig) -> None:
    job_terms = terms(loaded, {})
    assert (job_terms.inbox, job_terms.webhook, job_terms.reply_to) == ("", "", b"")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "ümlaut", "a\n", 7])
def test_an_invalid_inbox_name_is_refused(loaded: LoadedConfig, name: Any) -> None:
    with pytest.raises(BadRequest, match="not the name of an inbox"):
        terms(loaded, {}, inbox=name)


def circular_list() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


@pytest.mark.parametrize(
    ("reply_to", "words"),
    [
        (object(), "must be a JSON value"),
        (circular_list(), "must be a JSON value"),
        ("x" * 5000, "5,002 bytes as JSON, more than 4,096"),
    ],
    ids=["not JSON", "circular", "too large"],
)
def test_reply_to_is_a_small_json_value(loaded: LoadedConfig, reply_to: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        terms(loaded, {}, inbox="bot", reply_to=reply_to)


def test_reply_to_needs_an_inbox_or_a_webhook(loaded: LoadedConfig) -> None:
    with pytest.raises(BadRequest, match="name one of them"):
        terms(loaded, {}, reply_to=1)


def test_a_webhook_needs_a_signing_secret(loaded: LoadedConfig) -> None:
    with pytest.raises(BadRequest, match="set OPENFALL_WEBHOOK_SECRET"):
        terms(loaded, {}, webhook=HOOK)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hooks.example.org/of", "such as https"),
        ("ftp://hooks.example.org", "such as https"),
        ("https://", "such as https"),
        ("https://example.org:99999/", "such as https"),
        ("https://example.org/a b", "such as https"),
        ("https://example.org/\r\nHost: x", "such as https"),
        ("https://ex℀mple.org/", "such as https"),
        (f"https://{'ü' * 70}.org/", "such as https"),
        ("https://example.org/" + "ü" * 400, "too long: 2,420 characters, more than 2,048"),
        ("https://example.org/" + "x" * 3000, "too long: 3,020 characters, more than 2,048"),
        ("https://[::1", "such as https"),
        (7, "such as https"),
        ("https://me:word@example.org/", "must not carry a user"),
        ("https://me@example.org/", "must not carry a user"),
        ("http://example.org/", "must be https"),
        ("https://localhost/", "private address"),
        ("https://hooks.localhost./", "private address"),
        ("https://127.0.0.1/", "private address"),
        ("https://127.1/", "private address"),
        ("https://①②⑦.⓪.⓪.①/", "private address"),
        ("https://0x7f000001/", "private address"),
        ("https://2130706433/", "private address"),
        ("https://10.1.2.3/", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://224.0.0.1/", "private address"),
        ("https://0.0.0.0/", "private address"),
        ("https://[::1]/", "private address"),
        ("https://[::ffff:10.0.0.1]/", "private address"),
        ("https://[fe80::1]/", "private address"),
        ("https://[fd00::1]/", "private address"),
        ("https://[64:ff9b::7f00:1]/", "private address"),
        ("https://[2002:7f00:1::]/", "private address"),
        ("https://192.0.0.192/", "private address"),
        ("https://168.63.129.16/", "private address"),
    ],
)
def test_a_webhook_needs_https_and_a_public_host(loaded: LoadedConfig, url: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        terms(loaded, SIGNED, webhook=url)
    assert SECRET not in str(refused.value)
    assert "word" not in str(refused.value).replace("password", "")


def test_a_url_of_other_letters_is_sent_as_a_browser_sends_it(loaded: LoadedConfig) -> None:
    url = "https://bücher.example:8443/büro%20a?q=ä"
    expected = "https://xn--bcher-kva.example:8443/b%C3%BCro%20a?q=%C3%A4"
    assert terms(loaded, SIGNED, webhook=url).webhook == expected


@pytest.mark.parametrize(
    "url", [HOOK, "https://1.1.1.1/", "https://[2606:4700::1111]:8443/x?y=1", "HTTPS://Example.org"]
)
def test_a_public_webhook_is_accepted(loaded: LoadedConfig, url: str) -> None:
    assert terms(loaded, SIGNED, webhook=url).webhook == url


def test_private_webhooks_are_accepted_when_configured(loaded: LoadedConfig) -> None:
    settings = {**SIGNED, "private": True}
    assert terms(loaded, settings, webhook="http://127.0.0.1:8080/x").webhook
    with pytest.raises(BadRequest, match="must not carry a user"):
        terms(loaded, settings, webhook="http://a:b@127.0.0.1:8080/x")


@pytest.mark.parametrize(
    ("allow", "accepted"),
    [
        (("hooks.example.org",), True),
        (("*.example.org",), True),
        (("HOOKS.example.org:443",), True),
        (("hooks.example.org:8443",), False),
        (("example.org",), False),
    ],
)
def test_webhooks_are_limited_to_allowed_hosts(loaded: LoadedConfig, allow: tuple[str, ...], accepted: bool) -> None:
    settings = {**SIGNED, "allow": allow}
    if accepted:
        assert terms(loaded, settings, webhook=HOOK).webhook == HOOK
    else:
        with pytest.raises(BadRequest, match=r"may not be posted to hooks.example.org:443"):
            terms(loaded, settings, webhook=HOOK)
