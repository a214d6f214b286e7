"""`openfall keys`: the keys of the HTTP gateway."""

from __future__ import annotations

import json

import pytest
import redis

from openfall.router_core.state import keys
from tests.producers.cli.conftest import Run


def test_a_new_key_is_printed_once_and_only_its_digest_is_kept(openfall: Run, redis_url: str) -> None:
    ran = openfall("keys", "new", "discord", "-g", "discord:main", "--name", "chat", "--per-minute", "60")
    secret = ran.stdout.strip()
    assert ran.returncode == 0
    assert secret.startswith("of_")
    assert len(secret) == 46
    store = redis.from_url(redis_url)
    kept = store.hget(keys.CLIENT_KEYS, "discord")
    store.close()
    assert secret.encode() not in kept
    listed = openfall("keys", "list")
    assert "discord:main" in listed.stdout
    assert secret[3:] not in listed.stdout


def test_a_key_list_as_json_has_the_rights_and_no_digest(openfall: Run) -> None:
    openfall("keys", "new", "bot", "--urgency", "batch", "--admin")
    (row,) = json.loads(openfall("keys", "--json").stdout)
    assert (row["name"], row["urgency"], row["admin"], row["names"]) == ("bot", "batch", True, [])
    assert "digest" not in row


def test_a_name_is_taken_once_and_is_free_again_when_revoked(openfall: Run) -> None:
    assert openfall("keys", "new", "bot").returncode == 0
    again = openfall("keys", "new", "bot")
    assert again.returncode == 2
    assert "revoke it first" in again.stderr
    assert openfall("keys", "revoke", "bot").stdout == "the key 'bot' is revoked\n"
    assert openfall("keys", "new", "bot").returncode == 0
    assert json.loads(openfall("keys", "revoke", "bot", "--json").stdout) == {"name": "bot", "revoked": True}


def test_keys_that_cannot_be_read_are_named_with_the_remedy(openfall: Run, redis_url: str) -> None:
    openfall("keys", "new", "good")
    with redis.from_url(redis_url) as store:
        store.hset(keys.CLIENT_KEYS, "bot", b"\xff")
    listed = openfall("keys", "list")
    assert "good" in listed.stdout
    assert "open nothing: bot. Every caller needs a key" in listed.stderr
    assert "`openfall keys revoke NAME`" in listed.stderr
    assert json.loads(openfall("keys", "--json").stdout)[1:] == [{"name": "bot", "unreadable": True}]
    assert openfall("keys", "new", "bot").returncode == 2
    assert openfall("keys", "revoke", "bot").returncode == 0
    assert openfall("keys", "new", "bot").returncode == 0


def test_a_wrong_name_is_answered_with_the_nearest_or_the_rule(openfall: Run) -> None:
    openfall("keys", "new", "discord")
    revoked = openfall("keys", "revoke", "discrod")
    assert revoked.returncode == 2
    assert "Did you mean 'discord'?" in revoked.stderr
    assert "1 to 64 letters" in openfall("keys", "new", "a b").stderr
    assert "unknown role, task or model 'nope'" in openfall("keys", "new", "b", "--name", "nope").stderr


def test_without_keys_the_list_says_who_is_served(openfall: Run) -> None:
    assert "serves every caller" in openfall("keys").stdout


def test_a_webhook_of_a_key_that_is_not_permitted_creates_no_key(openfall: Run) -> None:
    refused = openfall("keys", "new", "bot", "--webhook", "http://127.0.0.1/hook")
    assert refused.returncode == 2
    assert "webhook" in refused.stderr
    assert json.loads(openfall("keys", "--json").stdout) == []


@pytest.mark.parametrize("name", ["gateway", "page"])
def test_no_key_has_the_name_under_which_callers_without_a_key_ask(openfall: Run, name: str) -> None:
    ran = openfall("keys", "new", name)
    assert ran.returncode == 2
    assert "callers without a key" in ran.stderr
