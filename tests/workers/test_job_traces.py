"""Spans of OpenTelemetry: one trace for a job, over hand-offs, with the trace of its caller, and without its prompt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from openfall.workers.execution import job_traces
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    job_traces.use_traces(SimpleSpanProcessor(exporter))
    yield exporter
    job_traces.start_traces(None)


def test_a_job_that_is_handed_on_is_one_trace_below_the_span_of_its_caller(
    redis_url: str, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async def main() -> None:
        overloaded = answer({"error": {"message": "no"}}, 529)
        async with open_gateway(redis_url, tmp_path, overloaded, answer(COMPLETION)) as gateway:
            gateway.http.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"
            assert (await gateway.chat()).status_code == 200

    run(main)
    failed, answered, job = exporter.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in (failed, answered, job)} == {TRACE}
    assert f"{job.parent.span_id:016x}" == SPAN
    assert failed.parent.span_id == answered.parent.span_id == job.context.span_id
    assert (failed.name, failed.kind, failed.status.status_code) == ("chat tiny-1", SpanKind.CLIENT, StatusCode.ERROR)
    assert failed.attributes["error.type"] == "overloaded"
    assert {name: answered.attributes[name] for name in sorted(answered.attributes) if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "other-1",
        "gen_ai.response.model": COMPLETION["model"],
        "gen_ai.usage.input_tokens": 41,
        "gen_ai.usage.output_tokens": 5,
    }
    assert job.attributes["openfall.outcome"] == "answered"
    assert job.attributes["openfall.fallback_used"] is True
    assert job.start_time <= failed.start_time <= failed.end_time <= answered.end_time <= job.end_time
    assert not [span for span in (failed, answered, job) if "Haruka" in span.to_json()]


def test_a_job_without_a_caller_s_trace_has_one_that_follows_from_its_id_and_a_broken_header_counts_as_none(
    redis_url: str, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            gateway.http.headers["traceparent"] = f"00-{'0' * 32}-{SPAN}-01"
            assert (await gateway.chat()).status_code == 200

    run(main)
    call, job = sorted(exporter.get_finished_spans(), key=lambda span: span.name)
    assert job.parent is None
    assert call.parent.span_id == job.context.span_id
    assert call.context.trace_id == job.context.trace_id != 0


def test_without_an_endpoint_no_tracer_and_no_exporter_is_imported() -> None:
    # redis-py imports the API and the metrics of OpenTelemetry wherever they are installed.
    code = (
        "import sys; from openfall.workers.execution import executor, job_traces; job_traces.start_traces(None);"
        "print(*[name for name in sys.modules if name.startswith('opentelemetry.sdk.trace')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_an_endpoint_without_the_extra_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(job_traces.TracesNotInstalled, match="needs OpenTelemetry") as refusal:
        job_traces.start_traces("http://127.0.0.1:4318/v1/traces")
    assert "openfall[otel]" in refusal.value.remedy
