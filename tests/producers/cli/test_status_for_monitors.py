"""`openfall status` as a monitor runs it: exit codes, and JSON with fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.cli.conftest import Run
from tests.producers.cli.test_safe_terminal import run_on_a_terminal


def test_status_exits_with_4_when_no_worker_lives_and_a_job_waits(openfall: Run) -> None:
    assert openfall("enqueue", "-", stdin="one").returncode == 0
    ran = openfall("status", "--json")
    status = json.loads(ran.stdout)
    assert (ran.returncode, status["health"], status["exit_code"]) == (4, "failure", 4)
    assert [(problem["code"], problem["count"]) for problem in status["problems"]] == [("no_worker", 1)]
    assert (status["waiting"], status["workers_alive"]) == (1, 0)
    assert openfall("status").returncode == 4


def test_status_exits_with_8_when_no_worker_lives_and_nothing_waits(openfall: Run) -> None:
    assert openfall("status").returncode == 8


@pytest.mark.usefixtures("answering")
def test_status_exits_with_0_for_a_healthy_fleet_and_with_8_for_an_open_breaker(openfall: Run) -> None:
    ran = openfall("status", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["health"]) == (0, "ok")
    assert openfall("breakers", "force-open", "rack/tiny").returncode == 0
    ran = openfall("status", "--json")
    assert ran.returncode == 8
    assert json.loads(ran.stdout)["problems"][0]["code"] == "breaker_open"
    assert json.loads(ran.stdout)["problems"][0]["subject"] == "tiny@rack"


def test_status_exits_with_3_when_redis_does_not_answer_and_says_so_as_json(openfall: Run) -> None:
    ran = openfall("status", "--json", url="redis://127.0.0.1:1")
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["kind"] == "StoreUnreachable"


@pytest.mark.usefixtures("answering")
def test_a_job_that_waits_longer_than_max_wait_is_a_failure(openfall: Run, store: Any) -> None:
    openfall("queues", "pause", "gpu.tiny.background")
    job = json.loads(openfall("enqueue", "-", "-m", "tiny", "-u", "background", "--json", stdin="one").stdout)["id"]
    store.zadd("of:jobs", {job: 1})
    assert openfall("status").returncode == 8
    assert openfall("status", "--max-wait", "10m").returncode == 4
    assert openfall("status", "--max-wait", "soon").returncode == 2


@pytest.mark.usefixtures("answering")
def test_what_only_a_line_of_the_page_says_is_a_problem_with_a_code_too(openfall: Run, store: Any) -> None:
    openfall("queues", "pause", "gpu.tiny.background")
    job = json.loads(openfall("enqueue", "-", "-m", "tiny", "-u", "background", "--json", stdin="one").stdout)["id"]
    store.zadd("of:jobs", {job: 1})
    ran = openfall("status", "--json")
    problems = [(each["code"], each["severity"], each["runbook"]) for each in json.loads(ran.stdout)["problems"]]
    assert ran.returncode == 8
    assert problems == [("paused", "warning", "A queue is paused"), ("late", "warning", "Jobs are late")]


@pytest.mark.usefixtures("answering")
def test_status_and_preflight_name_a_gateway_that_is_away_once_callers_have_keys(openfall: Run) -> None:
    assert openfall("keys", "new", "bots").returncode == 0
    ran = openfall("status", "--json")
    assert [problem["code"] for problem in json.loads(ran.stdout)["problems"]] == ["no_gateway"]
    assert ran.returncode == 8
    assert "no gateway is alive" in openfall("preflight").stdout


def test_a_changed_pause_and_the_configuration_are_fields_of_json(openfall: Run) -> None:
    paused = json.loads(openfall("queues", "pause", "gpu.tiny.*", "--json").stdout)
    assert {"queue": "gpu.tiny.batch", "changed": True} in paused
    checked = json.loads(openfall("config", "check", "--json").stdout)
    assert checked["valid"] is True
    assert json.loads(openfall("config", "show", "--json").stdout)["configuration"]["backends"]["rack"]["slots"] == 64
    ran = openfall("config", "check", "--json", "--config", "no.yaml")
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["problems"][0]["message"] == "there is no such file"


@pytest.mark.usefixtures("answering")
def test_status_exits_with_4_when_each_queue_is_paused_and_a_job_waits(openfall: Run) -> None:
    openfall("queues", "pause", "*")
    assert openfall("status").returncode == 8
    openfall("enqueue", "-", stdin="one")
    ran = openfall("status", "--json")
    status = json.loads(ran.stdout)
    assert status["summary"].startswith("No caller gets an answer.")
    assert (ran.returncode, status["health"], status["exit_code"]) == (4, "failure", 4)


def test_a_narrow_terminal_wraps_its_lines_between_words(environment: dict[str, str], redis_url: str) -> None:
    _, shown = run_on_a_terminal({**environment, "REDIS_URL": redis_url, "COLUMNS": "40"}, "status")
    lines = shown.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
