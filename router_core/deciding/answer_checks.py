"""The checks that an answer must pass by its role. Pure: the caller passes the schema validator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from openfall.router_core.catalog.answer_policy import CheckKind
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.job_role import get_role
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.json_bounds import JsonTooLarge
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.reasoning import without_reasoning
from openfall.router_core.jobs.request_body import (
    calls_of,
    get_schema,
    has_tool_call,
    parse_json,
    tool_schemas,
)
from openfall.router_core.vocabulary import ErrorClass, JobKind

Validates = Callable[[Any, Any], str | None]
"""(schema, value) -> None if the value matches the schema, else the problem in a few words."""

_BY_SCHEMA = frozenset({CheckKind.JSON_SCHEMA, CheckKind.TOOL_CALLS})

_NOT_JSON = "the answer is not JSON"
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_HTML = re.compile(r"<(?:!doctype\s+html|[a-z][a-z0-9-]*(?:\s[^<>]*)?/?)>", re.IGNORECASE)
_DIAGRAMS = (
    "architecture-beta", "block", "block-beta", "C4Component", "C4Container", "C4Context", "C4Deployment", "C4Dynamic",
    "classDiagram", "classDiagram-v2", "erDiagram", "flowchart", "gantt", "gitGraph", "graph", "journey", "kanban",
    "mindmap", "packet", "packet-beta", "pie", "quadrantChart", "radar-beta", "requirementDiagram", "sankey",
    "sankey-beta", "sequenceDiagram", "stateDiagram", "stateDiagram-v2", "timeline", "treemap-beta", "xychart",
    "xychart-beta", "zenuml",
)  # fmt: skip
_DIAGRAM = re.compile(r"(?:" + "|".join(sorted(map(re.escape, _DIAGRAMS), key=len, reverse=True)) + r")(?=[\s:{;]|\Z)")
_FRONT_MATTER = re.compile(r"(?:\s*---\n.*?\n---[ \t]*\n|\s*%%[^\n]*(?:\n|\Z))*\s*", re.DOTALL)


def uses_schemas(role: Role) -> bool:
    """Whether the checks of a role call the schema validator."""
    return role.pattern is not None or not _BY_SCHEMA.isdisjoint(role.checks)


def check_answer(outcome: Outcome, job: CompletionJob, catalog: Catalog, validates: Validates) -> Outcome:
    """The outcome after the checks of the job's role: an answer that fails one becomes a failure, `invalid_output`."""
    role = get_role(job, catalog)
    if isinstance(outcome, Failure) or role is None or job.kind is JobKind.EMBEDDING:
        return outcome
    failed = failed_check(role, outcome, job, validates)
    return outcome if failed is None else Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=failed)


def failed_check(role: Role, answer: Completion, job: CompletionJob, validates: Validates) -> str | None:
    """The first of a role's checks that an answer fails, in words for people without a quote of it; None: it passes.

    An answer that calls a tool is an intermediate turn: only its calls are checked.
    """
    if not role.checks and role.pattern is None:
        return None
    if has_tool_call(answer.body):
        return _calls_fail(answer, job, validates) if CheckKind.TOOL_CALLS in role.checks else None
    text = without_reasoning(answer.text)
    for kind in role.checks:
        if kind is CheckKind.JSON_SCHEMA:
            failed = _schema_fails(text, get_schema(job.body), validates)
        elif kind is CheckKind.TOOL_CALLS:
            failed = None  # it has none
        else:
            passes, message = _FORMS[kind]
            failed = None if passes(text) else message
        if failed:
            return failed
    if role.pattern is not None and validates({"pattern": role.pattern}, text):
        return f"the pattern {role.pattern!r} is not found in the answer"
    return None


def _calls_fail(answer: Completion, job: CompletionJob, validates: Validates) -> str | None:
    """The first fault of a tool call: arguments that are not JSON, or do not match the schema, or an unknown tool."""
    schemas = tool_schemas(job.body)
    for number, (name, arguments) in enumerate(calls_of(answer.body), start=1):
        if not isinstance(name, str) or name not in schemas:
            return f"tool call {number} names a tool that the request does not have"
        if arguments is None:
            return f"the arguments of tool call {number} are not a JSON object"
        schema = schemas[name]
        if schema is not None and (broken := validates(schema, arguments)):
            return f"the arguments of tool call {number} do not match the schema of the tool: {broken}"
    return None


def _schema_fails(text: str, schema: Any, validates: Validates) -> str | None:
    value, failed = _json(text)
    if failed or schema is None:
        return failed
    broken = validates(schema, value)
    return f"the answer does not match the schema of its request: {broken}" if broken else None


def _json(text: str) -> tuple[Any, str | None]:
    """The value that a text is; a text that is one fenced block is read inside the fence."""
    blocks = list(_blocks(text))
    if len(blocks) == 1 and text.startswith(("```", "~~~")) and text.endswith(("```", "~~~")):
        text = blocks[0][1]
    try:
        return parse_json(text), None
    except JsonTooLarge as error:
        return None, f"the answer {error}"
    except ValueError:
        return None, _NOT_JSON


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The closed fenced blocks of a Markdown text, as (language, content)."""
    fence, language, lines = "", "", list[str]()
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if not fence and mark:
            fence, language, lines = mark[1], mark[2].strip().lower(), []
        elif fence and mark and not mark[2].strip() and mark[1].startswith(fence):
            yield language, "\n".join(lines)
            fence = ""
        else:
            lines.append(line)


def _is_json(text: str) -> bool:
    return _json(text)[1] is None


def _has_block(text: str) -> bool:
    return any(content.strip() for _, content in _blocks(text))


def _has_diagram(text: str) -> bool:
    fenced = any(language == "mermaid" and content.strip() for language, content in _blocks(text))
    front_matter = _FRONT_MATTER.match(text)
    return fenced or _DIAGRAM.match(text, front_matter.end() if front_matter else 0) is not None


_FORMS: Mapping[CheckKind, tuple[Callable[[str], object], str]] = {
    CheckKind.NOT_EMPTY: (bool, "the answer is empty"),
    CheckKind.JSON: (_is_json, _NOT_JSON),
    CheckKind.CODE_BLOCK: (_has_block, "no closed code block is in the answer"),
    CheckKind.MERMAID: (
        _has_diagram, "no Mermaid diagram is in the answer: neither a mermaid block nor a text that begins as one"
    ),
    CheckKind.HTML: (_HTML.search, "no HTML is in the answer"),
}  # fmt: skip
"""Each check, and the problem of a text that fails it."""
