"""`openfall preflight`: it checks everything that the configuration names, and each failure has its remedy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fakes.ollama import FakeModel, ollama_fake
from tests.producers.cli.conftest import Run
from tests.producers.cli.endpoints import beside, endpoint

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  tower: {protocol: ollama, url: "TOWER", pool: gpu, vram_gb: 16}
  api: {protocol: openai, url: "API", pool: cloud, api_key: "${API_KEY:-}"}
models:
  coder: {upstream: "qwen2.5-coder:32b", backends: [tower], vram_gb: 20}
  gpt: {upstream: gpt-5-mini, backends: [api]}
  idle: {upstream: gpt-5-nano, backends: [api]}
roles: {worker: {chain: [coder, gpt]}}
"""
TINY = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}}
backends: {rack: {protocol: openai, url: "API", pool: gpu}}
models: {tiny: {upstream: tiny-1, backends: [rack]}}
roles: {chat: {chain: [tiny]}}
"""


def configured(tmp_path: Path, text: str = CONFIG, **urls: str) -> str:
    for name, url in {"TOWER": "http://127.0.0.1:9", "API": "http://127.0.0.1:7", **urls}.items():
        text = text.replace(name, url) if name != "API" else text.replace('"API"', f'"{url}"')
    path = tmp_path / "preflight.yaml"
    path.write_text(text)
    return str(path)


def by_check(ran: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    findings = [json.loads(line) for line in ran.stdout.splitlines()]
    return {(finding["check"], finding["subject"]): finding for finding in findings}


def test_a_missing_model_has_the_nearest_name_and_the_remedy(
    openfall: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["API_KEY"] = "sk-0123456789abcdefghij"

    async def story(run: Any) -> None:
        tower = ollama_fake("http://127.0.0.1:9", [FakeModel("qwen2.5-coder:14b"), FakeModel("phi4")])
        async with tower as fake, endpoint(["gpt-5-mini-20260101"], key=environment["API_KEY"]) as api:
            config = configured(tmp_path, TOWER=fake.url, API=api)
            ran = await run("preflight", "--config", config)
        assert ran.returncode == 4
        assert (
            "✗ tower has no qwen2.5-coder:32b; it has qwen2.5-coder:14b\n    ollama pull qwen2.5-coder:32b"
            in ran.stdout
        )
        assert "! coder needs 20 GB, the card of tower has 16" in ran.stdout
        assert "✓ api has a key (sk-0123…ghij)" in ran.stdout
        assert "! api has no gpt-5-nano; it has gpt-5-mini-20260101 (no chain names it)" in ran.stdout
        assert "gpt@api" not in ran.stdout
        assert "✗ no worker of pool gpu" in ran.stdout
        assert ran.stdout.splitlines()[-1].startswith("3 of ")

    beside(story, openfall)


@pytest.mark.parametrize(
    ("listed", "upstream", "finding"),
    [
        ("Qwen/Qwen3-8B", "qwen/qwen3-8b", "warning"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek-v3.1", "warning"),
        ("glm-4.6", "zai/GLM-4.6:free", "warning"),
        ("accounts/fireworks/models/x", "accounts/fireworks/models/x#accounts/me", "ok"),
        ("qwen3-8b", "qwen3-14b", "failure"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash", "ok"),
    ],
)
def test_a_name_of_another_case_or_organization_is_a_warning(
    openfall: Run, environment: dict[str, str], tmp_path: Path, listed: str, upstream: str, finding: str
) -> None:
    async def story(run: Any) -> None:
        async with endpoint([listed], key="") as api:
            config = configured(tmp_path, TINY.replace("tiny-1", json.dumps(upstream)), API=api)
            ran = await run("preflight", "--config", config, "--json")
        state = "ok" if finding == "ok" else by_check(ran)["models", "tiny@rack"]["state"]
        assert state == finding
        if finding == "ok":
            assert by_check(ran)["models", "rack"]["state"] == "ok"
        if finding == "warning":
            message = by_check(ran)["models", "tiny@rack"]["message"]
            assert message == f"rack lists {listed}: {upstream} is the same but for its case or its organization"

    beside(story, openfall)


def test_a_key_that_is_missing_names_its_variable_and_one_that_is_refused_its_place(
    openfall: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["gpt-5-mini"], key="right") as api:
            config = configured(tmp_path, API=api)
            missing = by_check(await run("preflight", "--offline", "--json", "--config", config))
            environment["API_KEY"] = "wrong-0123456789abcdefg"
            refused = by_check(await run("preflight", "--json", "--config", config))
        assert missing[("key", "api")] == {
            "check": "key", "subject": "api", "state": "failure", "message": "api has no key",
            "remedy": "Set API_KEY, in the environment or in .env.",
        }  # fmt: skip
        assert ("endpoint", "api") not in missing
        assert refused[("endpoint", "api")]["state"] == "ok"
        assert refused[("key", "api")]["state"] == "failure"
        assert "api refuses its key" in refused[("key", "api")]["message"]
        assert "wrong-0123456789" not in json.dumps(list(refused.values()))

    beside(story, openfall)


def test_each_of_several_keys_is_checked_and_a_refused_one_is_named_by_its_number(
    openfall: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"FIRST": "right", "SECOND": "wrong-0123456789abcdefg"}

    async def story(run: Any) -> None:
        async with endpoint(["gpt-5-mini"], key="right") as api:
            keys = 'api_keys: ["${FIRST}", "${THIRD:-}", "${SECOND}"]'
            config = configured(tmp_path, CONFIG.replace('api_key: "${API_KEY:-}"', keys), API=api)
            ran = await run("preflight", "--config", config)
        assert "✓ api has 2 keys (…, wrong-0…defg)" in ran.stdout
        assert "✗ api refuses its key 2: " in ran.stdout
        assert "0123456789" not in ran.stdout

    beside(story, openfall)


def test_an_unreachable_endpoint_and_an_unreachable_redis_are_each_one_result(openfall: Run, tmp_path: Path) -> None:
    ran = openfall("doctor", "--json", "--config", configured(tmp_path), url="redis://:hush@127.0.0.1:1")
    results = by_check(ran)
    assert ran.returncode == 4
    assert results[("endpoint", "tower")]["message"].endswith("cannot connect: connection refused")
    assert results[("redis", "redis")]["state"] == "failure"
    assert "hush" not in ran.stdout


def test_a_llama_server_reports_its_context_and_answers_to_any_name(openfall: Run, tmp_path: Path) -> None:
    text = """
backends: {box: {protocol: openai, url: "API", pool: gpu}}
models: {llama: {upstream: llama, backends: [box], context: 32k}}
roles: {chat: {chain: [llama]}}
"""

    async def story(run: Any) -> None:
        async with endpoint(["/models/llama-8b.gguf"], props={"default_generation_settings": {"n_ctx": 4096}}) as api:
            results = by_check(await run("preflight", "--json", "--config", configured(tmp_path, text, API=api)))
        assert results[("context", "llama@box")]["state"] == "warning"
        assert (
            "gives each call 4096 tokens, llama is configured with 32000"
            in results[("context", "llama@box")]["message"]
        )
        assert results[("models", "llama@box")]["state"] == "warning"

    beside(story, openfall)


def test_a_model_that_is_partly_on_the_cpu_is_a_warning(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        models = [FakeModel("qwen2.5-coder:32b", fault="on_cpu")]
        async with ollama_fake("http://127.0.0.1:9", models) as fake:
            config = configured(tmp_path, TOWER=fake.url)
            await run("models", "load", "coder", "--config", config)
            results = by_check(await run("preflight", "--json", "--config", config))
        slow = results[("memory", "coder@tower")]
        assert slow["state"] == "warning"
        assert "only 50% of coder is on the card of tower: it is slow" in slow["message"]

    beside(story, openfall)


def test_all_is_well_exits_with_0_and_counts_its_checks(openfall: Run, answering: Any, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["tiny-1"]) as api:
            ran = await run("preflight", "--config", configured(tmp_path, TINY, API=api))
        assert ran.returncode == 0, ran.stdout
        assert ran.stdout.splitlines()[-1] == "7 checks passed."

    beside(story, openfall)


def test_a_missing_degrade_worker_is_a_warning_until_a_job_waits_for_it_as_in_status(
    openfall: Run, answering: Any, redis_url: str, tmp_path: Path
) -> None:
    async def story(run: Any) -> None:
        with redis.Redis.from_url(redis_url) as store:
            store.hset("rq:worker:answering-worker", "queues", "gpu.tiny.interactive")
            async with endpoint(["tiny-1"]) as api:
                config = configured(tmp_path, TINY, API=api)
                states = []
                for falling in ([], ["job-00001"]):
                    store.lpush("rq:queue:degrade", *falling) if falling else None
                    result = by_check(await run("preflight", "--json", "--config", config))["workers", "degrade"]
                    problems = json.loads((await run("status", "--json", "--config", config)).stdout)["problems"]
                    (same,) = [each for each in problems if each["code"] == "no_degrade_worker"]
                    states.append((result["state"], same["severity"]))
        assert states == [("warning", "warning"), ("failure", "failure")]

    beside(story, openfall)


def test_jobs_in_a_queue_that_left_the_configuration_are_a_failure_that_says_what_becomes_of_them(
    openfall: Run, answering: Any, redis_url: str, tmp_path: Path
) -> None:
    async def story(run: Any) -> None:
        with redis.Redis.from_url(redis_url) as store:
            store.sadd("rq:queues", "rq:queue:gpu.former.batch")
            store.lpush("rq:queue:gpu.former.batch", "job-00001")
        async with endpoint(["tiny-1"]) as api:
            ran = await run("preflight", "--config", configured(tmp_path, TINY, API=api))
        assert ran.returncode == 4
        assert (
            "✗ The configuration has no model former, and no worker serves gpu.former.batch: 1 job waits\n"
            "    Write it back, or wait: once late, "
        ) in ran.stdout
        assert "after they were accepted, the jobs go to another model of their chain or are held." in ran.stdout

    beside(story, openfall)


def test_an_open_breaker_and_the_local_only_switch_are_warnings(openfall: Run, answering: Any, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["tiny-1"]) as api:
            config = configured(tmp_path, TINY, API=api)
            await run("breakers", "--config", config, "force-open", "rack/tiny", "--reason", "being repaired")
            await run("local-only", "on", "--reason", "metered", "--config", config)
            ran = await run("preflight", "--config", config)
            renamed = configured(tmp_path, TINY.replace("tiny: {", "small: {").replace("[tiny]", "[small]"), API=api)
            other = await run("preflight", "--config", renamed)
        assert "the breaker of rack/tiny is open" in other.stdout
        assert "A worker or gateway has another configuration than this process" in other.stdout
        assert "breakers reset" not in other.stdout  # it knows no such breaker
        assert ran.returncode == 0
        assert "! the breaker of rack/tiny is open by override until reset: being repaired" in ran.stdout
        assert "openfall breakers reset rack/tiny" in ran.stdout
        assert "! local-only is on: no job leaves the local pools (metered)" in ran.stdout

    beside(story, openfall)


def test_a_faulty_configuration_is_a_failure_with_each_of_its_faults(openfall: Run, tmp_path: Path) -> None:
    config = configured(tmp_path, CONFIG.replace("chain: [coder, gpt]", "chain: [codr, gpt]"))
    ran = openfall("preflight", "--offline", "--config", config)
    assert ran.returncode == 4
    assert '✗ preflight.yaml:11 roles.worker.chain: unknown model "codr".\n    Did you mean "coder"?' in ran.stdout


def test_an_address_that_is_none_is_blamed_on_the_variable_it_came_from(openfall: Run) -> None:
    for url in ("localhost:6379", "redis:/localhost"):
        ran = openfall("status", url=url)
        assert ran.returncode == 2
        assert "REDIS_URL (read at openfall.yaml:2 redis): must be embedded or an address" in ran.stderr
