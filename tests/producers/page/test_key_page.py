"""Keys at the page: an administrator creates and revokes them, others read what each may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, digest_of, new_secret
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.producers.page.test_rights import press, token_of
from tests.valkey_server import Server

RIGHTS: dict[str, dict[str, Any]] = {"reader": {"page": "read"}, "actor": {"page": "act"}, "boss": {"admin": True}}


@pytest.fixture(scope="module")
def running(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("key-page")) as opened:
        yield opened


@pytest.fixture
def gateway(running: PageGateway) -> PageGateway:
    """A gateway with a key of each right."""
    running.redis.flushall()
    running.secrets = {name: new_secret() for name in RIGHTS}  # type: ignore[attr-defined]
    for name, rights in RIGHTS.items():
        key = ClientKey.model_validate({"name": name, "digest": digest_of(running.secrets[name]), **rights})  # type: ignore[attr-defined]
        running.redis.hset(keys.CLIENT_KEYS, name, key.model_dump_json(exclude_none=True))
    return running


@contextmanager
def signed_in(gateway: Any, name: str) -> Iterator[httpx.Client]:
    with gateway.browser() as browser:
        assert browser.post("/page/sign-in", data={"key": gateway.secrets[name]}).status_code == 303
        yield browser


def create(browser: httpx.Client, **fields: str) -> httpx.Response:
    return browser.post("/keys", data={"token": token_of(browser.get("/keys").text), **fields})


def stored(gateway: PageGateway, name: str) -> ClientKey | None:
    packed: Any = gateway.redis.hget(keys.CLIENT_KEYS, name)
    return None if packed is None else ClientKey.model_validate_json(packed)


def test_an_administrator_creates_a_key_that_is_shown_once_and_opens_the_page(gateway: PageGateway) -> None:
    with signed_in(gateway, "boss") as browser:
        made = create(browser, name="anna", page="act", group="main", per_minute="60", names="chat, auto")
        listed = browser.get("/keys").text
    (secret,) = re.findall(r"of_[\w-]{43}", made.text)
    key = stored(gateway, "anna")
    assert key is not None
    assert (key.page, key.group, key.per_minute, key.names, key.admin) == ("act", "main", 60, ("chat", "auto"), False)
    assert key.digest == digest_of(secret)
    assert made.headers["cache-control"] == "no-store"
    assert secret not in listed
    assert "anna" in listed
    with gateway.browser() as browser:
        assert browser.post("/page/sign-in", data={"key": secret}).status_code == 303


@pytest.mark.parametrize("name", ["reader", "actor"])
def test_another_key_lists_keys_and_manages_none(gateway: PageGateway, name: str) -> None:
    with signed_in(gateway, name) as browser:
        shown = browser.get("/keys").text
        token = token_of(browser.get("/").text)
        made = browser.post("/keys", data={"token": token, "name": "mine", "admin": "on"})
        revoked = press(browser, "revoke-key", "boss")
        question = browser.get("/page/ask/revoke-key?subject=boss")
    assert "boss" in shown
    assert 'action="/keys"' not in shown
    assert [answer.status_code for answer in (made, revoked, question)] == [403, 403, 403]
    assert stored(gateway, "mine") is None
    assert stored(gateway, "boss") is not None


def test_a_key_that_cannot_be_read_is_shown_and_can_be_revoked(gateway: PageGateway) -> None:
    gateway.redis.hset(keys.CLIENT_KEYS, "lost", b"\xff")
    with signed_in(gateway, "boss") as browser:
        assert "The key lost cannot be read in Redis" in browser.get("/keys").text
        assert press(browser, "revoke-key", "lost").status_code == 303
        assert "cannot be read" not in browser.get("/keys").text


@pytest.mark.parametrize("data", [{}, {"token": "guessed"}])
def test_a_form_of_another_site_creates_no_key(gateway: PageGateway, data: dict[str, str]) -> None:
    with signed_in(gateway, "boss") as browser:
        assert browser.post("/keys", data={**data, "name": "evil", "admin": "on"}).status_code == 403
    assert stored(gateway, "evil") is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a b"}, "1 to 64 letters"),
        ({"name": ""}, "1 to 64 letters"),
        ({"name": "gateway"}, "callers without a key"),
        ({"name": "boss"}, "revoke it first"),
        ({"name": "x", "names": "nope"}, "unknown role, task or model"),
        ({"name": "x", "per_minute": "many"}, "no whole number"),
        ({"name": "x", "in_flight": "0"}, "no whole number"),
        ({"name": "x", "webhook": "http://127.0.0.1/hook"}, "webhook"),
        ({"name": "x", "page": "everything"}, "1 to 64 letters"),
        ({"name": "<script>alert(1)</script>"}, "1 to 64 letters"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_what_is_wrong(
    gateway: PageGateway, fields: dict[str, str], words: str
) -> None:
    with signed_in(gateway, "boss") as browser:
        answer = create(browser, **fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert "<script>alert" not in answer.text
    assert {name.decode() for name in gateway.redis.hkeys(keys.CLIENT_KEYS)} == set(RIGHTS)


def test_a_revoked_key_ends_at_once_and_the_audit_log_has_who_did_it(gateway: PageGateway) -> None:
    with signed_in(gateway, "boss") as browser:
        assert press(browser, "revoke-key", "reader").status_code == 303
        unknown = press(browser, "revoke-key", "no-such-key")
    assert stored(gateway, "reader") is None
    assert unknown.status_code in (400, 404)
    entries = [fields[b"entry"].decode() for _, fields in gateway.redis.xrevrange(keys.AUDIT_LOG)]
    assert any("key.revoke" in entry and '"boss"' in entry and "reader" in entry for entry in entries)


def test_on_the_machine_of_a_gateway_without_keys_the_first_key_is_created(
    running: PageGateway, tmp_path: Path
) -> None:
    running.redis.flushall()
    with running.browser() as browser:
        while browser.get("/keys").status_code != 200:  # it notices within 2 s that its keys are gone
            pass
        assert "No key" in browser.get("/keys").text
        made = create(browser, name="first", admin="on")
    assert made.status_code == 200
    key = stored(running, "first")
    assert key is not None
    assert key.admin
