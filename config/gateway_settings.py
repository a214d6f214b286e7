"""The section `gateway`: the addresses of the HTTP gateway, and what its callers may do."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.config.fields import list_of, mapping_of
from openfall.config.paths import resolve
from openfall.config.scalars import FieldType, escape, pattern_shape, read_text, size_in_bytes, text_reader
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.field_types import BackendName, CatalogEntry, Count, Seconds
from openfall.router_core.catalog.prices import Usd

DEFAULT_ADDRESS = "127.0.0.1:8309"

GATEWAY_WORDS = frozenset({
    "api", "audit", "batch", "batches", "breaker", "cards", "chat", "completions", "config", "cost", "docs",
    "embeddings", "files", "for", "health", "in", "inbox", "inboxes", "job", "jobs", "keys", "messages",
    "metrics", "model", "models", "openapi.json", "outbox", "page", "preflight", "responses", "rq", "runbook",
    "statistics", "try", "v1",
})  # fmt: skip
"""The first words of the paths of the gateway. A root path that begins with one could not be taken off a path."""

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.*-]+):(?P<port>\d{1,5})")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|\*")


def _parse_address(text: str) -> str | None:
    match = _ADDRESS.fullmatch(text)
    return text if match and int(match["port"]) < 65536 else None


def _parse_origin(text: str) -> str | None:
    return text.lower() if _ORIGIN.fullmatch(text) else None


def _parse_path(text: str) -> str | None:
    return text if _PATH.fullmatch(text) and not {".", ".."} & set(text.split("/")) else None


def _parse_root_path(text: str) -> str | None:
    path = text.rstrip("/")
    return path if not path or (_parse_path(path) and path.split("/")[1] not in GATEWAY_WORDS) else None


def _read_directory(node: Node) -> str | None:
    text = read_text(node)
    return str(resolve(text, node.document.base, node.document.environ)) if text else None


address: FieldType[str] = FieldType(
    text_reader(_parse_address, "HOST:PORT", f"For example {DEFAULT_ADDRESS}, or 0.0.0.0:8309."),
    pattern_shape(r":\d{1,5}$|\$\{"),
)
_origin: FieldType[str] = FieldType(
    text_reader(_parse_origin, "an origin", "Write scheme and host: https://app.example.com"),
    pattern_shape(rf"^({_ORIGIN.pattern})$|\$\{{"),
)
_path: FieldType[str] = FieldType(
    text_reader(_parse_path, "a path", "Write it whole, without a query: /v1/rerank"),
    pattern_shape(rf"^({_PATH.pattern})$|\$\{{"),
)
_root_path: FieldType[str] = FieldType(
    text_reader(
        _parse_root_path,
        "a path before that of the gateway",
        "For example /openfall. Not /v1, /api or another of its own.",
    ),
    pattern_shape(rf"^({_PATH.pattern})?/?$|\$\{{"),
)
_directory: FieldType[str] = FieldType(_read_directory, {"type": "string"}, escape)
_names: FieldType[dict[str, str]] = mapping_of(FieldType(read_text, {"type": "string", "minLength": 1}))


class PageKind(StrEnum):
    """What the operator's page is for."""

    ACT = "act"
    READ = "read"
    NONE = "none"


class PassthroughSection(CatalogEntry):
    """Requests that reach a backend as they are, beside the queue."""

    backend: BackendName = Field(description="The backend that answers them, with its first key.")
    usd_per_request: Usd | None = Field(
        None,
        description="What each request costs, for the ledger and for budgets. With a budget that counts the backend it "
        "must be set: 0 if these paths cost nothing.",
    )
    paths: Annotated[tuple[str, ...], list_of(_path)] = Field(
        (),
        description="The paths, below the root of the backend's address. A path that the gateway serves stays its own.",
    )


class GatewaySection(CatalogEntry):
    """The HTTP gateway, `openfall serve`."""

    listen: Annotated[tuple[str, ...], list_of(address)] = Field(
        (DEFAULT_ADDRESS,),
        description="Its addresses. One that other machines reach needs a key (`openfall keys new`), or `open`. "
        "`[]`: `openfall up` starts no gateway.",
    )
    open: bool = Field(
        False, description="Serve other machines without keys: any program that reaches an address may ask."
    )
    aliases: Annotated[dict[str, str], _names] = Field(
        {},
        description="Names that programs have wired in, as shell patterns, and the role, task or model that each "
        'means: `"gpt-*": auto`.',
    )
    root_path: Annotated[str, _root_path] = Field(
        "",
        description="The path at which a reverse proxy serves it, such as `/openfall`: every link of the page begins "
        "with it. The proxy may remove it from requests, or not. Without it: none.",
    )
    cors: Annotated[tuple[str, ...], list_of(_origin)] = Field(
        (), description="Origins whose web pages may call it. Without it: none."
    )
    wait_at_most: Seconds = Field(
        600.0, description="The longest time that a request without a stream is held open for its answer."
    )
    max_body: Annotated[int, Field(ge=1024), size_in_bytes] = Field(
        32 * 2**20, description="Maximum size of the body of a request, in bytes."
    )
    files: Annotated[str, _directory] | None = Field(
        None,
        description="The directory of uploaded files and of batches. Without it: `files` in the data directory. "
        "The gateways of several hosts serve each other's files only if they share it.",
    )
    max_file: Annotated[int, Field(ge=1024), size_in_bytes] = Field(
        512 * 2**20, description="Maximum size of an uploaded file, in bytes."
    )
    max_batch_file: Annotated[int, Field(ge=1024), size_in_bytes] = Field(
        200 * 10**6, description="Maximum size of the file of a batch, in bytes."
    )
    max_batch_requests: Count = Field(50_000, description="Maximum requests of a batch.")
    passthrough: PassthroughSection | None = Field(
        None,
        description="`{backend, paths}`: requests to these paths reach this backend as they are. They do not wait in "
        "the queue, use no slot and have no fallback. Without it: none.",
    )
    page: PageKind = Field(
        PageKind.ACT,
        description="The operator's page at `/`. `act`: a visitor who may act can; `read`: for reading only; "
        "`none`: no page.",
    )
    processes: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Processes that share its addresses.")
