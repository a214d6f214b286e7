"""The section `redis`: one address, or a mapping of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from openfall import config
from openfall.router_core.catalog.redis_server import RedisServer
from tests.config.config_texts import check_text, load_text

SENTINELS = "sentinels: ['a:26379', '[::1]:26380'], service: jobs"


def redis(directory: Path, value: str, **environ: str) -> RedisServer:
    return load_text(directory, f"redis: {value}", environ).settings.redis


def test_text_is_the_address(tmp_path: Path) -> None:
    assert redis(tmp_path, "redis://a") == redis(tmp_path, "{url: 'redis://a'}") == RedisServer(url="redis://a")


def test_a_mapping_names_sentinels_users_and_files(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    server = redis(
        tmp_path, f"{{{SENTINELS}, username: app, password: '${{P}}', database: 2, tls: yes, tls_ca: ca.pem}}", P="pw"
    )
    assert (server.sentinels, server.service) == (("a:26379", "[::1]:26380"), "jobs")
    assert server.password is not None
    assert (server.username, server.password.get_secret_value(), server.database) == ("app", "pw", 2)
    assert (server.uses_tls, server.tls_ca) == (True, str(tmp_path / "ca.pem"))


def test_a_mapping_without_an_address_is_about_the_redis_of_the_environment_or_the_embedded_one(tmp_path: Path) -> None:
    text = "{durability: fsync}"
    assert redis(tmp_path, text).is_embedded
    assert redis(tmp_path, text, REDIS_URL="redis://b").url == "redis://b"
    assert redis(tmp_path, "{url: embedded, durability: fsync}", REDIS_URL="redis://b").is_embedded


def test_a_file_that_names_sentinels_overrules_the_environment(tmp_path: Path) -> None:
    assert redis(tmp_path, f"{{{SENTINELS}}}", REDIS_URL="redis://b").url is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[a]", "redis: must be an address or a mapping of keys"),
        (f"{{{SENTINELS}, url: 'redis://a'}}", "redis.url: both|redis.sentinels: both a url and sentinels"),
        ("{sentinels: ['a:26379']}", "redis.sentinels: service is missing"),
        ("{sentinels: [a], service: x}", 'redis.sentinels: must be host:port, not "a"'),
        ("{sentinels: ['a:99999'], service: x}", "redis.sentinels: must be host:port"),
        ("{sentinels: ['redis://u:hunter2@a:1'], service: x}", "redis.sentinels: must be host:port. "),
        ("{url: 'rediss://a', tls_ca: none.pem}", "none.pem cannot be read (No such file or directory)"),
        ("{url: 'redis://a', servce: x}", 'unknown key "servce". Did you mean "service"?'),
        ("{url: 'redis://a', durability: always}", 'unknown durability "always"'),
        ("{url: 'redis://:hunter2@a', password: hunter2}", "redis.password: the url has a password as well"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_its_remedy_and_without_a_secret(
    tmp_path: Path, value: str, message: str
) -> None:
    text = "\n".join(check_text(tmp_path, f"redis: {value}"))
    assert any(words in text for words in message.split("|"))
    assert "openfall.yaml:1" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("embedded", "embedded"),
        ("redis://:hunter2@a", "redis://:…@a"),
        ("{durability: fsync}", {"durability": "fsync"}),
        (
            f"{{{SENTINELS}, password: a-long-password-hunter2-hunter2, confirm_timeout: 5s}}",
            {"sentinels": ["a:26379", "[::1]:26380"], "service": "jobs", "password": "…"},
        ),
    ],
)
def test_the_dump_has_what_was_written_and_no_secret(tmp_path: Path, value: str, shown: Any) -> None:
    text = config.dump(load_text(tmp_path, f"redis: {value}", {}))
    assert yaml.safe_load(text)["redis"] == shown
    assert "hunter2" not in text


def test_a_dump_of_sentinels_can_be_loaded_again(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, f"redis: {{{SENTINELS}, durability: fsync, confirm_replicas: 1}}", {})
    assert load_text(tmp_path, config.dump(loaded), {}).settings.redis == loaded.settings.redis
