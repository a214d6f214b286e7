"""A weak model's bad tool call goes to the next model: real workers, real HTTP, every dialect and protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.answer_policy import CheckKind
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import SubmitTerms
from openfall.router_core.vocabulary import Dialect, Urgency
from tests.faults import answer, fault_server
from tests.router_core.deciding.test_tool_checks import request
from tests.worker_harness import running_fleet

USAGE = {"prompt_tokens": 1, "completion_tokens": 1}


def response(protocol: Dialect, name: str, arguments: Any) -> dict[str, Any]:
    """A whole response with one call, as servers of this protocol send it."""
    if protocol == "anthropic":
        block = {"type": "tool_use", "id": "t", "name": name, "input": arguments}
        usage = {"input_tokens": 1, "output_tokens": 1}
        return {"id": "m", "type": "message", "content": [block], "stop_reason": "tool_use", "usage": usage}
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}
    if protocol == "ollama":
        return {"model": "m", "message": message, "done": True, "done_reason": "stop"}
    return {"id": "c", "choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE}


BAD = [
    *((protocol, name, arguments) for protocol in ("openai", "anthropic", "ollama") for name, arguments in [
        ("look", {"at": 3}), ("lok", {"at": "sky"}),
    ]),
    ("openai", "look", '{"at": "sk'),
]  # fmt: skip


async def run_job(redis_url: str, home: Path, caller: Dialect, protocol: Any, *call: Any) -> Result:
    weak, strong = answer(response(protocol, *call)), answer(response("openai", "look", '{"at": "sky"}'))
    async with fault_server(weak) as first, fault_server(strong) as second:
        catalog = Catalog(
            backends={
                "weak": Backend(url=first.url, pool="gpu", protocol=protocol),
                "strong": Backend(url=second.url, pool="gpu"),
            },
            models={name: ModelSpec(upstream=name, backends=(name,), timeout=5) for name in ("weak", "strong")},
            roles={"agent": Role(chain=("weak", "strong"), checks=(CheckKind.TOOL_CALLS,))},
            retry=RetryPolicy(max_retries=0),
        )
        async with running_fleet(redis_url, home, catalog, "gpu") as fleet:
            body = {"messages": [{"role": "user", "content": "Look."}], "max_tokens": 9}
            body["tools"] = request(caller)["tools"][:1]
            job = CompletionJob(
                id="job-00000001", producer="test", chain=("weak", "strong"), role="agent", dialect=caller,
                urgency=Urgency.INTERACTIVE, body=body,
            )  # fmt: skip
            terms = SubmitTerms(queue="gpu.weak.interactive", expires_after_seconds=60, keep_seconds=600)
            await fleet.store.accept(job, terms)
            async with asyncio.timeout(60):
                while (result := await fleet.store.result(job.id)) is None:
                    await asyncio.sleep(0.01)
            return result


@pytest.mark.parametrize("caller", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize(("protocol", "name", "arguments"), BAD)
def test_a_bad_tool_call_of_a_weak_model_is_caught_and_the_next_model_answers(
    redis_url: str, tmp_path: Path, caller: Dialect, protocol: str, name: str, arguments: Any
) -> None:
    result = asyncio.run(run_job(redis_url, tmp_path, caller, protocol, name, arguments))
    assert [(attempt.model, attempt.error) for attempt in result.attempts] == [
        ("weak", "invalid_output"), ("strong", None),
    ]  # fmt: skip
    assert result.answered
