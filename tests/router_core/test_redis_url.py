"""An address of Redis never shows a piece of its password, however the password is written."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from openfall.router_core.redis_url import NO_ADDRESS, NOT_ENCODED, SENTINEL, find_fault, hide_credentials

PASSWORDS = [
    "p@ss", "a:b", "se/cret", "50%off", "12/34", "12?34", "12#34", "a?password=b", "a&b=c", "x@y/z@w", "[v6",
    "a b", "ä@ö", "1@2:3/4?5#6",
]  # fmt: skip


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "form", ["redis://:{}@cache:6379/0", "rediss://me:{}@cache", "unix://:{}@/run/redis.sock?db=1"]
)
def test_a_password_is_hidden_whether_it_is_encoded_or_not(form: str, password: str) -> None:
    encoded = form.format(quote(password, safe=""))
    assert find_fault(encoded) is None
    assert quote(password, safe="") not in hide_credentials(encoded)
    bare = form.format(password)
    expected = form.replace("{}@", "…@") if find_fault(bare) is None else "…"
    assert hide_credentials(bare) == expected


@pytest.mark.parametrize("password", ["se/cret", "12/34", "12?34", "12#34", "x@y/z@w", "[v6"])
def test_a_password_whose_characters_must_be_encoded_is_refused_with_the_remedy(password: str) -> None:
    assert find_fault(f"redis://:{password}@cache:6379/0") == NOT_ENCODED


@pytest.mark.parametrize(
    "url", ["", "cache:6379", "http://cache", "redis:cache", "redis://cache:0", "redis://cache:port"]
)
def test_a_text_that_is_no_address_is_refused_and_not_shown(url: str) -> None:
    assert find_fault(url) == NO_ADDRESS
    assert hide_credentials(url) == "…"


@pytest.mark.parametrize("scheme", ["redis+sentinel", "sentinel", "rediss+sentinel", "redis-sentinel"])
def test_an_address_of_a_sentinel_is_refused_with_the_keys_that_name_it(scheme: str) -> None:
    url = f"{scheme}://:hunter2@cache:26379/jobs"
    assert find_fault(url) == SENTINEL
    assert hide_credentials(url) == "…"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://token@cache", "redis://…@cache"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("unix://:pw@/run/a@b.sock", "unix://:…@/run/a@b.sock"),
        ("redis://cache?password=a@b&db=1", "redis://cache?password=…&db=1"),
        ("redis://cache?username=a@b&password=", "redis://cache?username=…&password=…"),
    ],
)
def test_an_address_is_shown_whole_but_for_its_credentials(url: str, shown: str) -> None:
    assert hide_credentials(url) == shown
