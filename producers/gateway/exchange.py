"""One request to the gateway: its caller, its body, and the options that its headers and its path give."""

from __future__ import annotations

import asyncio
import secrets
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request

from openfall.producers.arguments import GROUP, check
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.http_connection import EXTENSION, HttpConnection
from openfall.producers.gateway.job_headers import PREFIX
from openfall.producers.gateway.request_path import RequestPath
from openfall.producers.gateway.surface import Surface
from openfall.router_core.jobs.json_bounds import MAX_DEPTH, JsonTooLarge, check_depth, check_parts, check_values
from openfall.router_core.jobs.request_json import loads_request
from openfall.router_core.json_fault_text import describe_json_fault
from openfall.router_core.state.client_keys import ClientKey
from openfall.router_core.state.jobs import LARGE_BODY_BYTES

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.config.gateway_settings import GatewaySection
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.gateway.gateway import Gateway
    from openfall.router_core.catalog.catalog import Catalog
    from openfall.router_core.state.redis_connection import RedisConnection

_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_EXAMPLE = 'a JSON object, such as {"model": "auto", ...}'
_PLAIN = ("", "identity", "utf-8", "utf8")
"""The values of Content-Encoding for a body that is not compressed. Some programs name the character set there."""
BODY_SECONDS = 30.0
BODY_BYTES_A_SECOND = 128 * 1024
"""How long a body may take to arrive: these seconds, and its size divided by this rate."""


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


class CallerLeft(Exception):
    """The caller has closed the connection."""


@dataclass(slots=True)
class Exchange:
    """A request and what is known of it. `request` is read once."""

    gateway: Gateway
    request: Request
    path: RequestPath
    surface: Surface
    caller: ClientKey
    request_id: str = field(default_factory=new_request_id)
    job_id: str | None = None
    """For the access log and the headers of the response."""
    refused: str = ""
    """The cause for which it was refused (see error_table.py). Empty: it was not."""
    is_replayed: bool = False
    """An earlier request with the same `Idempotency-Key` has created what this response is about."""
    client: AsyncOpenfall = field(init=False, repr=False)
    """That of the gateway when the request arrived: the request keeps its configuration to its end."""
    config: LoadedConfig = field(init=False, repr=False)
    _body_bytes: int = 0

    def __post_init__(self) -> None:
        self.client = self.gateway.client
        self.config = self.client.config

    @property
    def link(self) -> RedisConnection:
        return self.client.store.connection

    @property
    def settings(self) -> GatewaySection:
        return self.config.settings.gateway

    @property
    def base_url(self) -> str:
        """The address at which the caller reaches this gateway, without a slash at its end."""
        return f"{self.request.base_url}".rstrip("/") + self.settings.root_path

    @property
    def catalog(self) -> Catalog:
        return self.config.catalog

    async def body(self) -> dict[str, Any]:
        """The JSON object of the body. Raises `Refusal`."""
        packed = await self.read_bytes()
        if len(packed) <= LARGE_BODY_BYTES:
            return _parse(packed)
        async with self.gateway.body_memory.turn:
            return await asyncio.to_thread(_parse, packed)

    def release_body(self) -> None:
        """The body is not held any more: its job is in the queue, or it was refused."""
        self.gateway.body_memory.give_back(self._body_bytes)
        self._body_bytes = 0

    async def check_caller(self) -> None:
        """Raise `CallerLeft` if the caller has closed the connection. The body has been read before.

        A request that waited for the start of a gateway may be here when its caller has left long ago.
        """
        connection = self._connection
        # Starlette cancels a task to find it out, which costs a fifth of a submit.
        if await self.request.is_disconnected() if connection is None else connection.has_hung_up():
            raise CallerLeft

    def watch_response(self, job_id: str) -> None:
        """The response is sent next, whole. If its caller ends before it has read it, a repeat joins the job."""
        if self._connection is not None:
            self._connection.watch_response(partial(self.gateway.callers.take_back, job_id))

    @property
    def _connection(self) -> HttpConnection | None:
        connection: HttpConnection | None = self.request.scope.get("extensions", {}).get(EXTENSION)
        return connection

    async def read_bytes(self) -> bytes:
        """The body as it is. Raises `Refusal`."""
        if (coding := self.request.headers.get("content-encoding", "").strip().lower()) not in _PLAIN:
            raise Refusal("encoded", f"the body is compressed ({coding[:20]!r}): send it without Content-Encoding")
        limit = self.settings.max_body
        declared = self.request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise self._too_large(int(declared))
        chunks: list[bytes] = []
        size = 0
        expected = int(declared) if declared.isdigit() else limit
        try:
            async with asyncio.timeout(BODY_SECONDS + expected / BODY_BYTES_A_SECOND):
                async for chunk in self.request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise self._too_large(size)
                    self.gateway.body_memory.take(len(chunk), size)
                    self._body_bytes += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise Refusal("body_timeout", f"only {size:,} bytes of the body have arrived") from None
        except ClientDisconnect:
            raise Refusal("cancelled", "the caller left before its body had arrived") from None
        return b"".join(chunks)

    def _too_large(self, size: int) -> Refusal:
        limit = self.settings.max_body
        return Refusal(
            "too_large",
            f"the body has {size:,} bytes or more, over the {limit:,} allowed: raise `gateway: {{max_body: ...}}`",
        )

    def header(self, name: str) -> str | None:
        """The value of `X-Openfall-NAME`; None: it is absent or empty."""
        return self.request.headers.get(f"{PREFIX}{name}", "").strip() or None

    def group(self) -> str | None:
        """The group of the request: that of its header, its path or its key. Raises `BadRequest`."""
        group = self.header("group") or self.path.group or self.caller.group
        check("group", group, GROUP)
        return group

    def local_only(self) -> bool:
        """Whether `X-Openfall-Local-Only` says yes. Raises `Refusal` for another word than yes and no."""
        text = self.header("local-only")
        if text is None:
            return False
        if text.lower() not in _FLAGS:
            raise Refusal("bad_request", f"X-Openfall-Local-Only must be yes or no, not {text[:40]!r}")
        return _FLAGS[text.lower()]


def read_flag(body: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """A field that is true or false. Raises `Refusal` for anything else: `"false"` is no such value."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refusal("bad_request", f"`{name}` must be true or false, not {_kind(value)}", name)
    return default if value is None else value


def _parse(packed: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises `Refusal`."""
    packed = packed.removeprefix(BOM_UTF8)  # some editors of Windows write it into a file
    try:
        check_values(packed)
        check_parts(packed)
        body = loads_request(packed, allow_inf_nan=False)
        check_depth(packed, body)
    except JsonTooLarge as error:
        raise Refusal("bad_request", f"the body {error}: send it in parts, or as text") from None
    except ValueError as error:
        raise Refusal("bad_request", f"the body {_wrong_json(packed, error)}") from None
    if not isinstance(body, dict):
        raise Refusal("bad_request", f"the body must be {_EXAMPLE}: it is {_kind(body)}")
    return body


def _wrong_json(packed: bytes, error: ValueError) -> str:
    """What is wrong with a body that is no JSON."""
    if not packed.strip():
        return f"is empty: send {_EXAMPLE}"
    if "recursion limit" in str(error):
        return f"is nested more than {MAX_DEPTH} levels deep: send it in parts, or as text"
    try:
        packed.decode()
    except UnicodeDecodeError:
        return "is not JSON, as it is not UTF-8: send JSON in UTF-8"
    return f"is not JSON: {describe_json_fault(error)}. Send {_EXAMPLE}"


def _kind(body: object) -> str:
    kinds = {list: "a list", str: "text", dict: "an object"}
    return next((words for kind, words in kinds.items() if isinstance(body, kind)), "a number or a word")
