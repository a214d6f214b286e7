"""`openfall spend`, `usage` and `budgets`: what was paid, what it was for, what is left, what was saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from openfall.config import load
from openfall.router_core.state.ledger import ledger_day
from tests.budget_sums import pack_sums
from tests.producers.cli.conftest import Run

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu, slots: 64}
  api: {protocol: anthropic, url: "http://127.0.0.1:9", pool: cloud, api_key: sk-0123456789abcdefghij}
  api-2: {protocol: anthropic, url: "http://127.0.0.1:9/v1", pool: cloud, api_key: sk-0123456789abcdefghij}
  plan:
    {protocol: ollama, url: "http://127.0.0.1:9", pool: cloud, billing: flat, plan_windows: [5h, 7d], api_key: k-012345}
models:
  tiny: {upstream: tiny-1, backends: [rack]}
  opus: {upstream: opus-1, backends: [api, api-2], max_tokens: 100, usd_per_mtok: {in: 5, out: 25}}
roles: {chat: {chain: [tiny, opus]}}
budgets:
  - {name: house, usd: 2}
  - {name: forever, usd: 5, per: ever}
"""


@pytest.fixture
def config_text() -> str:
    return CONFIG


def test_spend_shows_the_known_cost_in_json_as_whole_nanodollars_and_counts_unknown_ones_apart(
    openfall: Run, called: Callable[..., None]
) -> None:
    assert "no calls" in openfall("spend").stderr
    called("opus", "api", input_tokens=100_000, output_tokens=20_000, seconds=2.0, group="main")
    called("opus", "api", "timeout", seconds=1.0, group="main")
    called("tiny", "rack", input_tokens=7, output_tokens=9, seconds=1.0)
    shown = openfall("spend", "--days", "7").stdout
    rows = {row.split()[0]: row.split() for row in shown.splitlines() if row.strip()}
    assert rows["opus"][1:] == [
        "api",
        "main",
        "2",
        "1",
        "0",
        "0",
        "100000",
        "20000",
        "1.5s",
        "$1.00",
        "+",
        "1",
        "call",
        "of",
        "unknown",
        "cost",
    ]
    assert rows["tiny"][-1] == "$0"
    assert rows["all"][-7:] == ["$1.00", "+", "1", "call", "of", "unknown", "cost"]
    entries = json.loads(openfall("spend", "--json").stdout)
    assert {(entry["model"], entry["group"], entry["calls"], entry["unpriced"]) for entry in entries} == {
        ("opus", "main", 2, 1),
        ("tiny", None, 1, 0),
    }
    costs = {entry["model"]: entry["nusd"] for entry in entries}
    assert costs == {"opus": 10**9, "tiny": 0}
    assert all(isinstance(cost, int) for cost in costs.values())


def test_usage_sums_up_calls_tokens_and_whole_nanodollars_by_what_is_named(
    openfall: Run, called: Callable[..., None]
) -> None:
    assert "no calls" in openfall("usage").stderr
    called("opus", "api", input_tokens=100_000, output_tokens=20_000, group="main")
    called("opus", "api-2", "timeout", group="main")
    called("tiny", "rack", input_tokens=7, output_tokens=9)
    opus, tiny = json.loads(openfall("usage", "--json").stdout)
    assert opus == {
        "name": "opus", "calls": 2, "answered": 1, "failed": 1, "probes": 0, "as_fallback": 0, "left_home": 0,
        "input_tokens": 100_000, "output_tokens": 20_000, "cached_tokens": 0, "cache_write_tokens": 0,
        "reasoning_tokens": 0, "nusd": 10**9, "unpriced": 1, "unconfirmed_nusd": 0, "saved_nusd": 0,
        "cache_saved_nusd": 0, "mean_seconds": 0.0, "p50_seconds": 0.0, "p95_seconds": 0.0,
        "p50_nusd": 750_000_000, "p95_nusd": 975_000_000,
    }  # fmt: skip
    assert (tiny["name"], tiny["answered"], tiny["nusd"]) == ("tiny", 1, 0)
    groups = json.loads(openfall("usage", "--by", "group", "--json").stdout)
    assert [(row["name"], row["calls"]) for row in groups] == [("main", 2), (None, 1)]
    (role,) = json.loads(openfall("usage", "--by", "role", "--json").stdout)
    assert (role["name"], role["calls"], role["nusd"], role["unconfirmed_nusd"]) == (None, 3, 10**9, 0)
    shown = openfall("usage", "--by", "producer").stdout.strip()
    assert shown.splitlines()[-1].split()[:6] == ["-", "3", "2", "1", "0", "0"]
    shown = openfall("usage", "--by", "day", "--days", "7").stdout.strip()
    assert shown.splitlines()[-1].split()[1:5] == ["3", "2", "1", "0"]


def test_spend_saved_compares_with_live_prices_and_says_that_it_is_estimated(openfall: Run, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        store.hset(
            "of:ledger:" + ledger_day(time.time()),
            mapping={
                "tiny@rack - - -": "2 0 0 0 0 0 0 0 saved 3000000000",
                "opus@api main - -": "1 0 0 0 1000000000 0 0 1000000000 cache_saved 500000000",
            },
        )
    ran = openfall("spend", "--saved")
    rows = [row.split() for row in ran.stdout.splitlines() if row.strip()]
    assert rows[2:] == [
        ["local", "tiny", "rack", "2", "$3.00", "$0", "$3.00", "$0"],
        ["metered", "opus", "api", "1", "$1.50", "$1.00", "$0", "$0.50"],
        ["all", "3", "$4.50", "$1.00", "$3.00", "$0.50"],
    ]
    assert "estimated" in ran.stderr
    assert [row["live_nusd"] for row in json.loads(openfall("spend", "--saved", "--json").stdout)] == [
        3 * 10**9, 15 * 10**8,
    ]  # fmt: skip


def test_spend_unexpected_names_the_model_that_should_have_answered_and_the_cause(
    openfall: Run, redis_url: str
) -> None:
    assert "no metered call" in openfall("spend", "--unexpected").stderr
    row = "main tiny opus rate_limited (HTTP 429)"
    with redis.Redis.from_url(redis_url) as store:
        store.hset("of:unexpected:" + ledger_day(time.time()), mapping={f"calls {row}": 37, f"nusd {row}": 41 * 10**7})
    shown = openfall("spend", "--unexpected").stdout.split()
    assert shown[-8:] == ["tiny", "opus", "main", "rate_limited", "(HTTP", "429)", "37", "$0.41"]
    ran = openfall("spend", "--unexpected", "--saved")
    assert (ran.returncode, "give one of them" in ran.stderr) == (2, True)


def test_budgets_show_what_is_left_and_a_forecast_that_is_above_the_limit(openfall: Run, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        store.hset("of:budget-sums", "house:" + ledger_day(time.time()), pack_sums(2 * 10**9, 0, 5 * 10**8, 7, 3, 0))
        # Of the weekday before: just after midnight the pace of the day itself says nothing.
        store.hset("of:budget-sums", "house:" + ledger_day(time.time() - 7 * 86_400), pack_sums(10**9, 0, 0, 7))
    house, forever = json.loads(openfall("budgets", "--json").stdout)
    assert (house["left_nusd"], house["forecast_nusd"] >= 25 * 10**8, house["exceeds_at"] > 0) == (0, True, True)
    assert (forever["left_nusd"], forever["forecast_nusd"], forever["ends_at"]) == (5 * 10**9, None, None)
    rows = openfall("budgets").stdout
    assert " !" in rows
    assert "never" in rows


def test_a_second_raise_is_added_to_the_first_and_0_ends_both(openfall: Run) -> None:
    assert openfall("budgets", "raise", "house", "20").stderr.endswith("now it is raised by $20.00\n")
    done = json.loads(openfall("budgets", "raise", "house", "1", "--for", "1h", "--json").stdout)
    assert (done["budget"], done["by_nusd"], done["raised_nusd"]) == ("house", 10**9, 21 * 10**9)
    assert openfall("budgets", "raise", "house", "0").stderr == "budget house: its raises have ended\n"
    house, _ = json.loads(openfall("budgets", "--json").stdout)
    assert house["limit_nusd"] < 20 * 10**9


def test_budgets_show_the_windows_of_subscriptions(openfall: Run, redis_url: str, config_file: Path) -> None:
    (key,) = load(config_file).catalog.credentials("plan")
    with redis.Redis.from_url(redis_url) as store:
        opened = int((time.time() - 60) * 1000)
        store.hset(f"of:plan:key:{key}", mapping={"opened:1": opened, "calls:1": 80, "caps:1": "100 90 100"})
    shown = openfall("budgets").stdout
    (row,) = [line.split() for line in shown.splitlines() if line.strip().startswith("plan ")]
    assert row[:7] == ["plan", "1", "5", "h", "80", "100", "80%"]
    *_, plan = json.loads(openfall("budgets", "--json").stdout)
    assert (plan["backend"], plan["calls"], plan["cap"], plan["window_seconds"]) == ("plan", 80, 100, 18_000)
