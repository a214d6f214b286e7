"""The lines of one batch: what each asks for, its job, and the row of its end. It blocks: call it in a thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from openfall.config import LoadedConfig
from openfall.producers.errors import ProducerError
from openfall.producers.gateway.access import check_allowed
from openfall.producers.gateway.batches.batch_input import InputLines
from openfall.producers.gateway.batches.line_endpoints import line_endpoint
from openfall.producers.gateway.batches.result_rows import Line, RowWriter, end_of
from openfall.producers.gateway.error_table import Refusal, refusal_of_error, refusal_of_result
from openfall.producers.gateway.requested_name import resolve_name
from openfall.producers.job_request import FleetView, JobRequest, PreparedJob, SubmitOptions, prepare
from openfall.router_core.batch_rules.batch_line_format import LineProblem, ParsedLine
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd
from openfall.router_core.batch_rules.line_job_ids import job_id_of
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.request_json import loads_request
from openfall.router_core.jobs.result import Result
from openfall.router_core.routing.chain_selection import AUTO
from openfall.router_core.state.batches import BatchTerms
from openfall.router_core.state.client_keys import ClientKey

log = logging.getLogger("openfall.gateway")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchLines:
    """`input` has the lines; the jobs follow `terms`."""

    config: LoadedConfig
    terms: BatchTerms
    input: InputLines

    def prepare(self, indexes: Sequence[int], fleet: FleetView) -> tuple[dict[int, PreparedJob], list[JournalRow]]:
        """The jobs of these lines, and the ends of those that no model can take."""
        jobs: dict[int, PreparedJob] = {}
        refused: list[JournalRow] = []
        for line in self.lines(indexes):
            prepared = self._guarded(line, partial(self._prepare, line, fleet))
            if isinstance(prepared, JournalRow):
                refused.append(prepared)
            else:
                jobs[line.index] = prepared
        return jobs, refused

    def ended(self, results: Sequence[tuple[int, Result]], *, is_cancelled: bool) -> list[JournalRow]:
        """The rows of results, by the indexes of their lines."""
        lines = self.lines([index for index, _ in results])
        pairs = zip(lines, results, strict=True)
        return [self._guarded(line, partial(self._row, line, result, is_cancelled)) for line, (_, result) in pairs]

    def _guarded(self, line: Line, step: Callable[[], T]) -> T | JournalRow:
        """A step of one line, or the row of its error. One that is not foreseen is logged, and stops no other line."""
        try:
            return step()
        except (Refusal, ProducerError, UnknownName) as error:
            refusal = refusal_of_error(error)
        except Exception:
            log.exception("batch %s, line %r: an unexpected error", self.terms.id, line.custom_id)
            refusal = None
        unexpected = Refusal("other", "an unexpected error: the log of the gateway has it", job_id=line.job_id)
        return self._rows.refused(line, refusal or unexpected)

    def unanswered(self, indexes: Iterable[int], end: LineEnd) -> list[JournalRow]:
        return [self._rows.unanswered(line, end) for line in self.lines(list(indexes))]

    def refused(self, index: int, refusal: Refusal) -> JournalRow:
        return self._rows.refused(self.lines([index])[0], refusal)

    def lines(self, indexes: Sequence[int]) -> list[Line]:
        return [self._line(index, row) for index, row in zip(indexes, self.input.read(indexes), strict=True)]

    def _line(self, index: int, row: bytes) -> Line:
        fields = loads_request(row)
        return Line(index, fields["custom_id"], job_id_of(self.terms.id, index), fields["body"])

    def _prepare(self, line: Line, fleet: FleetView) -> PreparedJob:
        """Raises `Refusal`, `ProducerError`, `UnknownName`."""
        terms, gateway = self.terms, self.config.settings.gateway
        endpoint = line_endpoint(terms.endpoint)
        target = resolve_name(self.config.catalog, gateway.aliases, asked_for(line.body))
        options: dict[str, Any] = {
            "urgency": "batch",
            **terms.options,
            "dialect": endpoint.dialect,
            "kind": endpoint.kind,
            "id": line.job_id,
            "inbox": terms.inbox,
            "deadline": float(terms.deadline),
        }
        body = {**endpoint.job_body(line.body), "model": target}
        request = JobRequest(body, cast("SubmitOptions", options), max_bytes=gateway.max_body)
        return prepare(self.config, terms.producer, request, fleet)

    def _row(self, line: Line, result: Result, is_cancelled: bool) -> JournalRow:
        end = end_of(result, is_cancelled=is_cancelled)
        if end is LineEnd.SUCCEEDED:
            name = asked_for(line.body) or AUTO
            return self._rows.answered(line, line_endpoint(self.terms.endpoint).answer(result, name, line.body))
        if end is LineEnd.ERRORED:
            return self._rows.refused(line, refusal_of_result(result))
        return self._rows.unanswered(line, end)

    @property
    def _rows(self) -> RowWriter:
        return RowWriter(self.terms.form)


class LineCheck:
    """Whether the models that lines ask for exist, and whether the key of the batch may ask for them."""

    def __init__(self, config: LoadedConfig, terms: BatchTerms) -> None:
        self._config = config
        self._key = ClientKey(name="batch", digest="", names=terms.names)
        self._known: set[str] = set()

    def __call__(self, line: ParsedLine) -> LineProblem | None:
        name = line.body.get("model") or ""
        if not isinstance(name, str):
            return LineProblem("invalid_value", "model must be text: a role, a task or a model", "body.model")
        if name in self._known:
            return None
        try:
            target = resolve_name(self._config.catalog, self._config.settings.gateway.aliases, name)
            check_allowed(self._key, target)
        except (UnknownName, Refusal) as error:
            text = error.message if isinstance(error, Refusal) else str(error)
            return LineProblem("model_not_found", text, "body.model")
        self._known.add(name)
        return None


def asked_for(body: Any) -> str:
    """The name that a line asks for; empty: any."""
    name = body.get("model")
    return name if isinstance(name, str) else ""
