"""One line in the log for each delivery: who answered a job, or why its model did not, and what follows.

A line has model names, causes and numbers. It never has a prompt, an answer, a key or the path of a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.degrading.degrade import DefaultFallback
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, total_cost
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.workers import log_output
from openfall.workers.log_format import LogLine

log = logging.getLogger("openfall.jobs")

_Move = Handoff | Later | Fall


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """Writes the lines of one worker."""

    catalog: Catalog
    _origins: dict[tuple[str, str], str] = field(default_factory=dict, init=False)

    def write(self, job: CompletionJob, attempts: Sequence[Attempt], outcome: DeliveryOutcome) -> None:
        """Log one delivery. `attempts` are all calls of the job, that of this delivery included."""
        step = outcome.next_step
        if isinstance(step, Result):
            self.write_end(job, step, outcome.substitution)
        elif isinstance(step, Handoff | Later | Fall):
            last = attempts[-1] if outcome.call is not None else None
            log_output.info(log, self._describe_move, job, step, last, len(attempts))

    def write_end(self, job: CompletionJob, result: Result, substitution: Substitution | None) -> None:
        """Log the end of a job."""
        log_output.info(log, self._describe_end, job, result, substitution)

    def _describe_end(self, job: CompletionJob, result: Result, substitution: Substitution | None) -> LogLine:
        model, backend, detail = result.model, result.backend, {}
        if model is not None and backend is not None and result.answered:
            status = "degraded, answered" if result.degraded else "answered"
            message = f"{status} by {model}@{backend}: {self._origin(model, backend)}"
        else:
            message, detail = f"{result.status}: {result.error}", {"detail": result.detail}
        fields = {
            "job": job.id, "role": job.role, "task": job.task, "group": job.group, "urgency": str(job.urgency),
            "chain": job.as_configured, "fallback": substitution is not None,
            "left_home": substitution is not None and substitution.left_home,
            "calls": len(result.attempts), "models": result.models_tried, "seconds": round(result.took, 3),
            **_amounts(result.attempts), "model": model, "backend": backend, "status": str(result.status), **detail,
        }  # fmt: skip
        return LogLine(message, fields)

    def _describe_move(self, job: CompletionJob, step: _Move, last: Attempt | None, calls: int) -> LogLine:
        then = describe_step(self.catalog, step)
        if last is None:
            why = step.detail if isinstance(step, Fall) else step.why
            return LogLine(then, {"job": job.id, "role": job.role, "calls": calls, "why": why})
        head = f"fails: {last.cause}" if last.error else "answers, one of several"
        fields = {
            "job": job.id, "role": job.role, "model": last.model, "backend": last.backend, "call": calls,
            "seconds": round(last.ended_at - last.started_at, 3), "detail": last.detail,
        }  # fmt: skip
        return LogLine(f"{last.model}@{last.backend} {head}; {then}", fields)

    def _origin(self, model: str, backend: str) -> str:
        """`claude-sonnet-4-5-20250929 via https://api.anthropic.com (cloud)`."""
        key = (model, backend)
        if key not in self._origins:
            if model not in self.catalog.models or backend not in self.catalog.backends:
                return "not in the configuration"
            url = urlsplit(self.catalog.backends[backend].url)
            host = url.netloc.rpartition("@")[2]
            served_by = "local" if self.catalog.is_local(model) else "cloud"
            upstream = self.catalog.models[model].upstream
            self._origins[key] = f"{upstream} via {url.scheme}://{host} ({served_by})"
        return self._origins[key]


def describe_step(catalog: Catalog, step: Handoff | Later | Fall | DefaultFallback) -> str:
    """What follows, in a few words: `attempting fallback haiku@anthropic`."""
    match step:
        case Handoff(kind=None):
            return f"next {_place(catalog, step.model)}"
        case Handoff() | DefaultFallback():
            return f"attempting fallback {_place(catalog, step.model)}"
        case Later():
            return f"retrying {_place(catalog, step.model)} in {step.delay:.1f} s"
        case Fall():
            return f"falling ({step.reason})"


def _place(catalog: Catalog, model: str) -> str:
    """A model at the backends that may serve it."""
    spec = catalog.models.get(model)
    return f"{model}@{','.join(spec.backends)}" if spec is not None else model


def _amounts(attempts: Sequence[Attempt]) -> dict[str, int | float | None]:
    """The tokens and the cost of all calls; None: unknown."""
    read = written = None
    for attempt in attempts:
        if attempt.input_tokens is not None:
            read = (read or 0) + attempt.input_tokens
        if attempt.output_tokens is not None:
            written = (written or 0) + attempt.output_tokens
    return {"tokens_in": read, "tokens_out": written, "cost_usd": total_cost(attempts)}
