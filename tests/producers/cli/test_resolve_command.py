"""`openfall resolve`: which model would answer, and why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.producers.cli.conftest import Run

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu, slots: 64}
  away: {protocol: openai, url: "http://127.0.0.1:9", pool: cloud, api_key: sk-0123456789abcdefghij}
models:
  tiny: {upstream: tiny-1, backends: [rack], context: 2k}
  other: {upstream: other-1, backends: [rack], context: 8k}
  gpt: {upstream: gpt-1, backends: [away], context: 100k, usd_per_mtok: {in: 2, out: 8}}
roles:
  worker: {chain: [tiny, other, gpt]}
tasks:
  code: {chain: [gpt, other], words: [implement, function]}
groups: [{name: main, match: ["whatsapp:*"], chain: [gpt]}]
"""


@pytest.fixture
def config_text() -> str:
    return CONFIG


@pytest.mark.usefixtures("answering")
def test_one_line_has_the_model_and_the_reason(openfall: Run) -> None:
    ran = openfall("resolve", "worker")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "tiny@rack  1st in role worker\n", "")


def test_without_redis_the_configuration_alone_decides_and_a_line_states_that(openfall: Run) -> None:
    ran = openfall("resolve", "worker", url="redis://127.0.0.1:1")
    assert (ran.returncode, ran.stdout) == (0, "tiny@rack  1st in role worker\n")
    assert "the state of the fleet is unknown" in ran.stderr
    assert openfall("resolve", "worker", url="").returncode == 0


@pytest.mark.usefixtures("answering")
def test_an_open_breaker_moves_a_model_back_and_explain_lists_every_candidate(openfall: Run) -> None:
    openfall("breakers", "force-open", "rack/tiny", "--for", "10m", "--reason", "its fan is loud")
    assert openfall("resolve", "worker", "-u", "interactive").stdout.startswith("other@rack")
    ran = openfall("resolve", "worker", "-u", "interactive", "--explain")
    assert ran.stdout.startswith("other@rack would answer: role worker: other first of 3")
    assert "its breaker is kept open by an operator (its fan is loud), 10m more" in ran.stdout
    assert "no live worker serves its queue" in ran.stdout
    assert "2+8" in ran.stdout


@pytest.mark.usefixtures("answering")
def test_as_json_each_candidate_has_its_state(openfall: Run) -> None:
    resolution = json.loads(openfall("resolve", "worker", "--json", "--exclude", "other").stdout)
    assert (resolution["model"], resolution["backend"], resolution["upstream"], resolution["live"]) == (
        "tiny",
        "rack",
        "tiny-1",
        True,
    )
    assert resolution["queue"] == "gpu.tiny.background"
    by_name = {candidate["model"]: candidate for candidate in resolution["candidates"]}
    assert (by_name["tiny"]["chosen"], by_name["other"]["chosen"]) == (True, False)
    assert by_name["other"]["reason"] == "left out: excluded by the request"
    assert by_name["tiny"]["at"][0]["free"] == 64
    assert by_name["gpt"]["usd_per_mtok"]["in"] == 2
    assert "sk-0123" not in json.dumps(resolution)


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("args", "model"),
    [
        (("--exclude", "rack"), "gpt@away"),
        (("worker", "--tokens", "3000"), "other@rack"),
        (("--group", "whatsapp:mum"), "gpt@away"),
        (("--task", "code", "--local-only"), "other@rack"),
        (("--classify", "implement a function"), "other@rack"),
        (("--model", "other"), "other@rack"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_option_of_a_job_counts(openfall: Run, args: tuple[str, ...], model: str) -> None:
    ran = openfall("resolve", *args)
    assert (ran.returncode, ran.stdout.split("  ")[0]) == (0, model)


def test_when_no_model_would_do_each_has_its_reason_and_the_exit_code_is_1(openfall: Run) -> None:
    ran = openfall("resolve", "worker", "--tokens", "9000", "--local-only")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "tiny: its context is 2000 tokens" in ran.stderr
    assert "gpt: the job is local-only" in ran.stderr
    assert openfall("resolve", "worker", "--exclude", "rack", "--exclude", "away").returncode == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("wrker",), "unknown role, task or model 'wrker'. Did you mean 'worker'?"),
        (("worker", "--exclude", "tny"), "unknown model or backend 'tny'. Did you mean 'tiny'?"),
        (("worker", "-u", "urgent"), "unknown urgency 'urgent'"),
    ],
)
def test_an_unknown_name_gives_the_nearest_one(openfall: Run, args: tuple[str, ...], words: str) -> None:
    ran = openfall("resolve", *args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr


def test_with_json_an_error_is_json_too_and_the_exit_code_the_same(openfall: Run) -> None:
    for args, code, kind in (
        (("resolve", "wrker", "--json"), 2, "UnknownName"),
        (("resolve", "worker", "--tokens", "200000", "--json"), 1, "NoModel"),
        (("job", "show", "8f2", "--json"), 2, "BadParameter"),
    ):
        ran = openfall(*args)
        error: dict[str, Any] = json.loads(ran.stdout)
        assert (ran.returncode, error["exit_code"], error["kind"]) == (code, code, kind)
        assert error["error"] in ran.stderr
