"""The rights that openfall needs in Redis are those of its scripts; the ACL rules of the documentation give them."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files
from pathlib import Path

import pytest
import redis

from openfall.router_core.redis_preconditions import ServerTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_rights import WORKER_SCRIPTS, commands_of
from openfall.router_core.state.redis_server_check import fetch_findings

PAGE = Path(__file__).parents[3] / "docs" / "redis.md"


def rule(member: str) -> list[str]:
    """The ACL rule of the documentation."""
    (text,) = re.findall(rf"^\| {member} \| `(.*)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return str(text).replace("\\|", "|").split()


@pytest.mark.parametrize("name", WORKER_SCRIPTS)
def test_every_command_that_stands_in_a_script_is_among_its_rights(name):
    text = (files("openfall.router_core.state") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    assert set(re.findall(r"redis\.p?call\('([A-Z]+)'", text)) <= commands_of(name)


@pytest.mark.parametrize(
    ("member", "only_producer"), [("worker", False), ("producer", True), ("operator", False), ("operator", True)]
)
def test_the_acl_rule_of_the_documentation_has_every_right(server, member, only_producer):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "someone", "on", ">pw", *rule(member))

    async def story() -> None:
        async with RedisConnection(f"unix://someone:pw@{server.socket}") as link:
            assert await fetch_findings(link, ServerTerms(), only_producer=only_producer) == ()

    asyncio.run(story())


@pytest.mark.parametrize("member", ["worker", "producer"])
def test_a_member_may_neither_administer_the_server_nor_touch_other_keys(server, member):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "someone", "on", ">pw", *rule(member))
    with redis.Redis.from_url(f"unix://someone:pw@{server.socket}") as store:
        for command in (
            ("FLUSHALL",), ("CONFIG", "SET", "appendonly", "no"), ("KEYS", "*"), ("SHUTDOWN",), ("GET", "foreign"),
            ("FUNCTION", "FLUSH"), ("ACL", "LIST"),
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                store.execute_command(*command)


def test_an_operator_may_carry_out_the_remedies(server):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "someone", "on", ">pw", *rule("operator"))
    with redis.Redis.from_url(f"unix://someone:pw@{server.socket}") as store:
        assert store.config_set("maxmemory-policy", "noeviction")
