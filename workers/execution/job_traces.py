"""Spans of OpenTelemetry: one trace for a job, over hand-offs and replays, whichever workers call its models.

A job without a trace of its caller has one whose id follows from its own id, so nothing has to be carried. No span has
a prompt or an answer. Without `traces: {endpoint: ...}` nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.errors import OpenfallError
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Outcome
from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import JobKind

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

PROVIDERS = {"anthropic": "anthropic", "ollama": "ollama", "openai": "openai"}
"""The provider of a protocol, as the conventions name it."""
OPERATIONS = {JobKind.COMPLETION: "chat", JobKind.EMBEDDING: "embeddings"}


class TracesNotInstalled(OpenfallError):
    """`traces:` is set, and OpenTelemetry is not installed."""

    remedy = "install the extra `otel`: pip install 'openfall[otel]'"


@dataclass(frozen=True, slots=True)
class JobTraces:
    """Writes spans to a provider, whose `ids` it sets."""

    provider: TracerProvider
    ids: Any

    def write_call(self, job: CompletionJob, catalog: Catalog, attempt: Attempt, answer: Outcome | None) -> None:
        """The span of one call of a model."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        operation, spec = OPERATIONS[job.kind], catalog.models.get(attempt.model)
        upstream = attempt.model if spec is None else spec.upstream
        span = self._tracer().start_span(
            f"{operation} {upstream}",
            context=_within(_trace_id(job), _number(job.id, 8)),
            kind=SpanKind.CLIENT,
            start_time=_nanoseconds(attempt.started_at),
            attributes=_known({
                "gen_ai.operation.name": operation,
                "gen_ai.request.model": upstream,
                "gen_ai.response.model": _response_model(answer),
                "gen_ai.usage.input_tokens": attempt.input_tokens,
                "gen_ai.usage.output_tokens": attempt.output_tokens,
                "error.type": attempt.error,
                "openfall.model": attempt.model,
                "openfall.backend": attempt.backend,
                **_place(catalog, attempt.backend),
                **_labels(job),
            }),
        )  # fmt: skip
        if attempt.error is not None:
            span.set_status(Status(StatusCode.ERROR, attempt.cause))
        span.end(_nanoseconds(attempt.ended_at))

    def write_end(self, job: CompletionJob, result: Result) -> None:
        """The span of the whole job. The spans of its calls are below it."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        self.ids.next_trace, self.ids.next_span = _trace_id(job), _number(job.id, 8)
        span = self._tracer().start_span(
            f"job {job.role or job.task or job.chain[0]}",
            context=_within(*_parent(job)),
            kind=SpanKind.CONSUMER,
            start_time=_nanoseconds(job.accepted_at),
            attributes=_known({
                "openfall.outcome": result.status,
                "openfall.model": result.model,
                "openfall.fallback_used": result.fallback_used,
                "openfall.calls": len(result.attempts),
                "error.type": result.error,
                **_labels(job),
            }),
        )  # fmt: skip
        self.ids.next_trace = self.ids.next_span = None
        if not result.answered:
            span.set_status(Status(StatusCode.ERROR, str(result.error or result.status)))
        # `took` is rounded: without the calls' own ends, a job could end some microseconds before its last call.
        ends = [job.accepted_at + result.took, *(attempt.ended_at for attempt in result.attempts)]
        span.end(_nanoseconds(max(ends)))

    def _tracer(self) -> Any:
        return self.provider.get_tracer("openfall")


_active: list[JobTraces] = []
"""The traces of this process; empty: it writes none."""


def start_traces(endpoint: str | None) -> None:
    """Send spans to an endpoint of OTLP over HTTP from now on. None: send none. Raises `TracesNotInstalled`."""
    _active.clear()
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracesNotInstalled(f"`traces` needs OpenTelemetry: {error}") from None
    use_traces(BatchSpanProcessor(OTLPSpanExporter(endpoint)))


def use_traces(processor: Any) -> JobTraces:
    """Give the spans of this process to a processor of OpenTelemetry."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    ids = _job_ids()
    provider = TracerProvider(resource=Resource.create({"service.name": "openfall"}), id_generator=ids)
    provider.add_span_processor(processor)
    traces = JobTraces(provider, ids)
    _active[:] = [traces]
    return traces


def trace_call(job: CompletionJob, catalog: Catalog, attempt: Attempt, answer: Outcome | None) -> None:
    """Write the span of a call, if this process writes spans."""
    for traces in _active:
        traces.write_call(job, catalog, attempt, answer)


def trace_end(job: CompletionJob, step: object) -> None:
    """Write the span of a job that a step ends, if this process writes spans."""
    if isinstance(step, Result) and step.final:
        for traces in _active:
            traces.write_end(job, step)


def _job_ids() -> RandomIdGenerator:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class JobIds(RandomIdGenerator):
        """Random ids, except those that are set before a span starts."""

        next_trace: int | None = None
        next_span: int | None = None

        def generate_trace_id(self) -> int:
            return super().generate_trace_id() if self.next_trace is None else self.next_trace

        def generate_span_id(self) -> int:
            return super().generate_span_id() if self.next_span is None else self.next_span

    return JobIds()


def _within(trace_id: int, span_id: int | None) -> Any:
    """The context of a span that another process has begun; an empty one without it."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if span_id is None:
        return Context()
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _parent(job: CompletionJob) -> tuple[int, int | None]:
    """The trace of the caller and its span; a trace of the job's own without one."""
    if job.traceparent is None:
        return _number(job.id, 16), None
    _, trace, span, _ = job.traceparent.split("-")
    return int(trace, 16), int(span, 16)


def _trace_id(job: CompletionJob) -> int:
    return _parent(job)[0]


def _number(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size, person=b"openfall").digest()) or 1


def _nanoseconds(moment: float) -> int:
    return round(moment * 1e9)


def _response_model(answer: Outcome | None) -> str | None:
    model = answer.body.get("model") if isinstance(answer, Completion) else None
    return model if isinstance(model, str) else None


def _place(catalog: Catalog, backend: str) -> dict[str, Any]:
    if (spec := catalog.backends.get(backend)) is None:
        return {}
    url = urlsplit(spec.url)
    provider = PROVIDERS.get(spec.protocol, spec.protocol)
    return {"gen_ai.provider.name": provider, "server.address": url.hostname, "server.port": url.port}


def _labels(job: CompletionJob) -> dict[str, Any]:
    return {
        "openfall.job": job.id, "openfall.role": job.role, "openfall.task": job.task, "openfall.group": job.group,
        "openfall.urgency": job.urgency,
    }  # fmt: skip


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    known = ((name, value) for name, value in attributes.items() if value is not None)
    return {name: str(value) if isinstance(value, str) else value for name, value in known}
