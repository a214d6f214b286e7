"""`openfall breakers` and `local-only`: what is left alone, what may leave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from openfall.config import load
from openfall.router_core.state.external_calls import CallStart
from tests.producers.cli.conftest import Run

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu, slots: 64}
  api: {protocol: anthropic, url: "http://127.0.0.1:9", pool: cloud, api_key: sk-0123456789abcdefghij}
  api-2: {protocol: anthropic, url: "http://127.0.0.1:9/v1", pool: cloud, api_key: sk-0123456789abcdefghij}
  many:
    {protocol: openai, url: "http://127.0.0.1:8", pool: cloud, api_keys: [sk-aaaaaaaaaaaaaaaaaa, sk-bbbbbbbbbbbbbbbbbb]}
models:
  gpt: {upstream: gpt-1, backends: [many]}
  tiny: {upstream: tiny-1, backends: [rack]}
  opus: {upstream: opus-1, backends: [api, api-2], usd_per_mtok: {in: 5, out: 25}}
roles: {chat: {chain: [tiny, opus]}}
breakers: {consecutive_failures: 2}
"""


@pytest.fixture
def config_text() -> str:
    return CONFIG


def test_breakers_that_never_had_trouble_are_not_listed(openfall: Run) -> None:
    ran = openfall("breakers")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "every breaker is closed" in ran.stderr


def test_a_breaker_is_shown_with_its_cause_and_its_countdown(openfall: Run, called: Callable[..., None]) -> None:
    called("tiny", "rack", "timeout")
    assert "closed, 1 failed in a row" in openfall("breakers").stdout
    called("tiny", "rack", "timeout")
    shown = openfall("breakers").stdout
    assert "rack/tiny" in shown
    assert "open, next probe in " in shown
    assert "2 failures in a row (timeout)" in shown
    assert "closed  open  2 failures in a row" in openfall("breakers", "--history").stdout


def test_a_key_is_named_by_the_backends_that_use_it_and_by_nothing_else(
    openfall: Run, called: Callable[..., None]
) -> None:
    called("opus", "api", "auth")
    shown = openfall("breakers").stdout
    assert "key:api,api-2" in shown
    assert "sk-" not in shown
    rows = json.loads(openfall("breakers", "--json").stdout)
    assert [(row["name"], row["state"]) for row in rows] == [("key:api,api-2", "open")]
    assert openfall("breakers", "force-closed", "key:api-2").returncode == 0
    assert json.loads(openfall("breakers", "--json").stdout)[0]["forced"] == "closed"


def test_each_of_several_keys_is_shown_by_its_number_and_its_secret_by_nothing(
    openfall: Run, called: Callable[..., None], config_file: Path
) -> None:
    first, second = load(config_file, environ={}).catalog.credentials("many")
    called("gpt", "many", "auth", start=CallStart(first))
    called("gpt", "many", "rate_limited", start=CallStart(second), retry_after_seconds=600)
    shown = openfall("breakers").stdout
    assert "key:many/1" in shown
    assert "many/gpt with key 2" in shown
    assert "none of its 2" in openfall("models").stdout
    (gpt,) = [row for row in json.loads(openfall("models", "--json").stdout) if row["model"] == "gpt"]
    assert gpt["at"][0]["keys"] == [
        "is parked after a failure that does not pass by itself (auth)",
        "cools down after rate_limited",
    ]
    assert openfall("breakers", "force-closed", "key:many/1").returncode == 0
    (gpt,) = [row for row in json.loads(openfall("models", "--json").stdout) if row["model"] == "gpt"]
    assert gpt["at"][0]["why"] == "key 2 cools down after rate_limited"
    for command in (("breakers",), ("breakers", "--json"), ("models",), ("models", "--json"), ("config", "show")):
        text = openfall(*command).stdout
        assert "aaaaaaaa" not in text
        assert "bbbbbbbb" not in text


def test_an_operator_opens_closes_and_lets_be(openfall: Run) -> None:
    ran = openfall("breakers", "force-open", "rack/tiny", "--for", "10m", "--reason", "{repaired} at noon")
    assert ran.stdout == "rack/tiny is open for 10m\n"
    shown = openfall("breakers").stdout
    assert "open by override for 10m more" in shown
    assert "{repaired} at noon" in shown
    assert (
        "its breaker is kept open by an operator ({repaired} at noon)"
        in openfall("resolve", "chat", "--explain").stdout
    )
    assert openfall("breakers", "force-closed", "rack/tiny").stdout.startswith("rack/tiny is closed, until `openfall")
    assert "closed by override until reset" in openfall("breakers").stdout
    assert openfall("breakers", "reset", "rack/tiny").stdout == "rack/tiny is closed, and works automatically again\n"


def test_the_reset_of_an_open_breaker_says_that_it_is_probed(openfall: Run, called: Callable[..., None]) -> None:
    called("opus", "api", "auth")
    ran = openfall("breakers", "reset", "key:api")
    assert ran.stdout == (
        "key:api is open, and reset: a worker probes it at once, and it closes if the probe succeeds\n"
    )


def test_the_reset_of_a_key_says_that_another_configuration_has_a_refused_one(
    openfall: Run, called: Callable[..., None], config_file: Path
) -> None:
    called("opus", "api", "auth")
    config_file.write_text(CONFIG.replace("sk-0123456789abcdefghij", "sk-renewed-0123456789ab"))
    shown = openfall("breakers", "reset", "key:api").stdout
    assert shown.startswith("key:api is closed, and works automatically again. A key that this configuration does not ")
    assert "(auth)" in shown


def test_preflight_says_how_a_slow_model_gets_more_time(openfall: Run, called: Callable[..., None]) -> None:
    for _ in range(5):
        called("tiny", "rack", "timeout")
    rows = json.loads(f"[{','.join(openfall('preflight', '--json').stdout.splitlines())}]")
    (row,) = [row for row in rows if row["check"] == "breakers"]
    assert "give it time: first_token_timeout of the model, reply_within of the urgency" in row["remedy"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("force-open", "rack/tyni"), "unknown breaker 'rack/tyni'. Did you mean 'rack/tiny'?"),
        (("reset", "key:apl"), "unknown breaker 'key:apl'. Did you mean 'key:api'?"),
        (("force-open", "rack/tiny", "--for", "soon"), "not a duration: 'soon'"),
    ],
)
def test_an_error_is_reported_and_changes_nothing(openfall: Run, args: tuple[str, ...], words: str) -> None:
    ran = openfall("breakers", *args)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert json.loads(openfall("breakers", "--json").stdout) == []


def test_the_switch_that_lets_nothing_leave_is_turned_and_shown(openfall: Run) -> None:
    assert openfall("local-only").stdout == "local-only is off\n"
    ran = openfall("local-only", "on", "--reason", "the line is tapped")
    assert ran.stdout == "local-only is on: no job leaves the local pools (the line is tapped)\n"
    shown = openfall("status").stdout
    assert re.search(r"no job leaves the local pools \(\S+: 'the line is tapped'\) for \d", shown), shown
    assert json.loads(openfall("status", "--json").stdout)["local_only"] == "the line is tapped"
    switch = json.loads(openfall("local-only", "--json").stdout)
    assert switch == {"local_only": True, "reason": "the line is tapped", "by_configuration": False}
    assert openfall("resolve", "--model", "opus").returncode == 1
    assert openfall("local-only", "off").stdout == "local-only is off\n"
    assert "Local only" not in openfall("status").stdout


def test_a_configuration_that_keeps_all_at_home_is_named_beside_the_switch(openfall: Run, config_file: Path) -> None:
    config_file.write_text(CONFIG + "privacy: {local_only: yes}\n")
    assert "the configuration sets it too" in openfall("local-only").stderr
    assert "no job leaves the local pools (set in the configuration)" in openfall("status").stdout
