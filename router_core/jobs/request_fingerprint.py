"""When two requests count as the same: a fingerprint of what decides the answer. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from openfall.router_core.jobs.job import CompletionJob

_IRRELEVANT = frozenset({
    "stream_options", "metadata", "user", "service_tier", "safety_identifier", "prompt_cache_key", "encoding_format",
})  # fmt: skip


def digest(job: CompletionJob) -> str:
    """A fingerprint of the request: the same body for the same role, task or models, by the same group. Two jobs with
    one idempotency key must share it. The state of the fleet does not affect it: neither the order of the chain nor
    excluded models."""
    models = {*job.chain, *(considered.model for considered in job.considered)}
    target = [job.role, job.task, [] if job.role or job.task else sorted(models), *([job.group] if job.group else [])]
    headers = [job.wire_headers] if job.wire_headers else []
    request = to_json([job.dialect, target, sorted_deep(job.body), *map(sorted_deep, headers)])
    return blake2b(request, digest_size=12).hexdigest()


def repeat_digest(job: CompletionJob, whole: str) -> str:
    """A fingerprint of a request as a program sends it again after its connection broke: the digest of the job without
    the fields that do not change the answer. `whole`: the digest of the job."""
    if _IRRELEVANT.isdisjoint(job.body):
        return whole
    body = {name: value for name, value in job.body.items() if name not in _IRRELEVANT}
    return digest(job.model_copy(update={"body": body}))


def request_key(job: CompletionJob) -> str:
    """The key of the last answer: equal for equal requests of one group."""
    return f"{job.group or '-'}:{digest(job)}"


def sorted_deep(value: Any) -> Any:
    """The same JSON value with every object's keys in order, so that equal requests have equal bytes."""
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_deep(item) for item in value]
    return value
