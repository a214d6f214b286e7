"""Checks that take long: a signal interrupts them on the event loop, and the system ends their process."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.answer_checks import Validates
from openfall.router_core.jobs.envelope import pack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.claims import Delivery
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends.registry import open_clients
from openfall.workers.execution.bounded_check import SlowCheck, UnfinishedCheck, check_at_length, check_briefly
from openfall.workers.execution.executor import JobExecutor
from openfall.workers.execution.json_schema import import_library
from tests.cpu_time import least_cpu_seconds
from tests.faults import Script, answer, fault_server
from tests.worker_harness import running_fleet


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    """The import takes longer than a check may. A worker does it at its start."""
    import_library()


BRANCHING = {f"a{level}": {"anyOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(40)}
ENDLESS: dict[str, tuple[Any, Any]] = {
    "nested quantifiers": ({"pattern": "^(a+)+$"}, "a" * 40 + "!"),
    "alternatives that overlap": ({"pattern": "(a|aa)+$"}, "a" * 80 + "!"),
    "the names of fields": ({"patternProperties": {"^(a+)+$": True}}, {"a" * 40 + "!": 1}),
    "no further names": ({"patternProperties": {"^(a+)+$": True}, "additionalProperties": False}, {"a" * 40 + "!": 1}),
    "references that branch": ({"$defs": {**BRANCHING, "a40": {"type": "string"}}, "$ref": "#/$defs/a0"}, 1),
    "a schema that is hard to check": (
        {"$schema": "http://json-schema.org/draft-04/schema#", "enum": [{"a": number} for number in range(9_000)]}, 1
    ),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), ENDLESS.values(), ids=ENDLESS)
def test_a_check_without_end_leaves_the_event_loop(schema: Any, value: Any) -> None:
    def check() -> None:
        with pytest.raises(SlowCheck):
            check_briefly(lambda validates: validates(schema, value))

    assert least_cpu_seconds(check, 0.25) < 0.25  # a bound of 0.05 s, in ticks of 4 ms


def test_after_a_check_that_was_interrupted_no_signal_arrives() -> None:
    with pytest.raises(SlowCheck):
        check_briefly(lambda validates: validates(*ENDLESS["nested quantifiers"]))
    began = time.process_time()
    while time.process_time() - began < 0.15:
        pass
    assert check_briefly(lambda validates: validates({"pattern": r"^\d{4}-\d\d$"}, "2026-12")) is None


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_waits_for_the_end_of_a_check(collects: bool) -> None:
    """Python prints what is raised in a callback of the collector, or in a finalizer, and the check would go on."""
    phases: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        phases.append(phase)

    def check(validates: Validates) -> None:
        phases.clear()
        try:
            validates(*ENDLESS["references that branch"])
        finally:
            during.extend(phases)

    during: list[str] = []
    threshold = gc.get_threshold()
    gc.callbacks.append(note)
    try:
        gc.set_threshold(10)
        (gc.enable if collects else gc.disable)()
        with pytest.raises(SlowCheck):
            check_briefly(check)
        assert gc.isenabled() is collects
    finally:
        gc.enable()
        gc.set_threshold(*threshold)
        gc.callbacks.remove(note)
    assert during == []


PEOPLE = {"items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}


def test_a_process_ends_a_check_without_end() -> None:
    with pytest.raises(UnfinishedCheck, match="takes more than 1 s or 1 GB"):
        check_at_length(lambda validates: validates(*ENDLESS["nested quantifiers"]), seconds=1)


def test_one_process_validates_all_schemas_of_a_long_check() -> None:
    def check(validates: Validates) -> list[str | None]:
        lists = [[{"name": "Haruka 🎀"}] * 5_000, [{"name": "Haruka"}] * 5_000 + [{}]]
        return [validates(PEOPLE, people) for people in lists] + [validates(True, 1) for _ in range(1_000)]

    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert check_at_length(check) == [None, "required fails at /5000"] + [None] * 1_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5  # a process for each takes 120 s


def test_a_process_that_cannot_start_is_named() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(UnfinishedCheck, match="cannot start on this machine: Too many open files"):
            check_at_length(lambda validates: validates(True, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_signals_that_stop_a_worker_and_all_its_processes_do_not_stop_a_check() -> None:
    command = [sys.executable, "-P", "-m", "openfall.workers.execution.bounded_check", "5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            process.stdin.write("[true, 1]\n")
            assert process.stdout.readline() == "null\n"
            process.send_signal(number)
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_process_whose_owner_has_a_lower_limit_keeps_it() -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (60, 60)); sys.argv = ['', '99'];"
        "from openfall.workers.execution.bounded_check import main; main();"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[1])"
    )
    ran = subprocess.run([sys.executable, "-c", program], input="[true, 1]", capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["null", "60"]


def test_an_answer_whose_check_takes_long_is_checked_to_the_end(redis_url: str, tmp_path: Path) -> None:
    def say(text: str) -> Script:
        return answer({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})

    async def main() -> Result | None:
        async with fault_server(say("a" * 12_000), say("a" * 12_000 + "!")) as upstream:
            names = ("first", "second")
            catalog = Catalog(
                backends={"box": Backend(url=upstream.url, pool="gpu")},
                models={name: ModelSpec(upstream=name, backends=("box",), timeout=5) for name in names},
                roles={"loud": Role(chain=names, pattern="a+b|!$")},  # quadratic: 0.3 s
                retry=RetryPolicy(max_retries=0),
            )
            async with running_fleet(redis_url, tmp_path, catalog, "gpu") as fleet:
                job_id = await fleet.accept("job-00000001", names, Urgency.INTERACTIVE, role="loud")
                return (await fleet.until(job_id, "done")).result

    result = asyncio.run(main())
    assert result is not None
    assert [(attempt.model, attempt.error) for attempt in result.attempts] == [
        ("first", "invalid_output"), ("second", None),
    ]  # fmt: skip


def test_an_answer_whose_check_has_no_process_is_refused_in_words() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def open_no_more(*_: str) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

    async def main() -> Attempt:
        text = {"role": "assistant", "content": "a" * 40 + "!"}
        async with fault_server(answer({"choices": [{"message": text, "finish_reason": "stop"}]})) as upstream:
            catalog = Catalog(
                backends={"box": Backend(url=upstream.url, pool="gpu")},
                models={"first": ModelSpec(upstream="first", backends=("box",), timeout=5)},
                roles={"loud": Role(chain=("first",), pattern="^(a+)+$")},
            )
            clients = open_clients(catalog, ["box"])
            body = {"messages": [{"role": "user", "content": "Haruka"}]}
            job = CompletionJob(id="job-00000001", producer="test", chain=("first",), role="loud", body=body)
            now = time.time()
            delivery = Delivery(
                id=job.id, token="1", queue="gpu.first.background", backend="box", envelope=pack_job(job),
                deadline=now + 60, attempts=b"", deliveries=1, crashes=0, streamed=False, accepted_at=now, epoch="",
                credential="", credential_epoch="", charged_tokens=None, answers=(), server_now=now,
            )  # fmt: skip
            try:
                executor = JobExecutor(catalog, clients, on_answer=open_no_more)
                outcome = await executor.execute(delivery, time.time, lambda pieces: None, None)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for client in clients.values():
                    await client.close()
            assert outcome.call is not None
            return outcome.call.attempt

    attempt = asyncio.run(main())
    assert attempt.error == "invalid_output"
    assert "the process of the check cannot start on this machine: Too many open files" in attempt.detail


def test_many_short_checks_of_one_answer_have_one_bound() -> None:
    people = {"items": {"type": "object", "required": ["name"]}}

    def check() -> None:
        with pytest.raises(SlowCheck):
            check_briefly(lambda validates: [validates(people, [{"name": 1}] * 300) for _ in range(200)])

    assert least_cpu_seconds(check, 0.25) < 0.25
