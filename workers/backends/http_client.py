"""One call over HTTP in any dialect: bounded in time and size. Everything that can go wrong becomes a `Failure`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp
from multidict import CIMultiDict

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.answer_bounds import AnswerTooLarge
from openfall.workers.backends.base_url import Address
from openfall.workers.backends.call_request import FIELDS_OF_ANSWERS, Request
from openfall.workers.backends.decompression import Undecodable
from openfall.workers.backends.error_response import UNKNOWN_PATH, shorten
from openfall.workers.backends.exact_json import dumps
from openfall.workers.backends.loop_share import LoopShare
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.response_reader import AnswerReader, read_json, read_liveness, read_success
from openfall.workers.backends.shortage_errors import describe_shortage
from openfall.workers.backends.stall_watch import CallWatch
from openfall.workers.backends.transport import Transport, explain_fault

MAX_ECHO_LENGTH = 15
"""An error's message that shares more characters in a row than this with the prompt repeats it, and is omitted."""

_LABELS = re.compile(
    rf'"(?:{"|".join(FIELDS_OF_ANSWERS)}|thought_signature)":|"(?:(?:tool_call_)?id|name)":"[\w-]{{0,80}}"'
)
"""Names and ids in a prompt, which are no words of a person. A refusal that names one is learned from."""

_NO_SUCH_PATH = frozenset({404, 405})
_MODEL = re.compile(r"(?i)model|deployment|endpoint")
"""What the refusal of a model names, and that of a path does not."""

T = TypeVar("T")
Reader = Callable[[aiohttp.ClientResponse], Awaitable[T]]


class HttpClient:
    """Calls one endpoint, by paths below its root. Raises only `asyncio.CancelledError`, and then hangs up."""

    def __init__(self, address: Address, headers: Mapping[str, str], transport: Transport) -> None:
        self._address = address
        self._version = address.version
        """The version in the paths of the server: that of the address until a response shows another one."""
        self._transport = transport
        # accept-encoding: a compressed stream would arrive late
        self._headers = CIMultiDict({"accept-encoding": "identity", **headers})
        self._json_headers = CIMultiDict({**self._headers, "content-type": "application/json"})

    async def complete(
        self, path: str, body: Mapping[str, Any], request: Request, reader: AnswerReader, headers: Mapping[str, str]
    ) -> Outcome:
        """Post the body of a request, with some more headers or others. The caller limits the time. No failure's detail
        repeats the prompt."""
        try:
            payload = dumps(body)
        except TypeError as error:
            return Failure(error_class=ErrorClass.BAD_REQUEST, detail=shorten(f"the body is not JSON: {error}"))
        outcome: Outcome = await self._send_and_read(path, payload, reader.read, headers)
        return await _without_echo(outcome, request.prompt) if isinstance(outcome, Failure) else outcome

    async def pass_on(
        self, method: str, path: str, headers: Mapping[str, str], payload: bytes
    ) -> aiohttp.ClientResponse | Failure:
        """The response to a request that is sent as it is, with some more headers or others. Its reader closes it."""
        whole = self._headers.copy()
        whole.update(headers)
        try:
            return await self._transport.send(method, self._address.at(path), whole, payload or None)
        except (aiohttp.ClientError, MemoryError, RuntimeError) as error:
            return _unsent(error)

    async def fetch_json(self, path: str, timeout_s: float, body: Mapping[str, Any] | None = None) -> Any | Failure:
        """The JSON of the response to a GET, or to a POST of a body. Any status but 200 is a failure."""
        return await self._call(path, None if body is None else dumps(body), timeout_s, read_json)

    async def order(self, path: str, timeout_s: float, body: Mapping[str, Any] | None = None) -> Failure | None:
        """None once a GET, or a POST of a body, has had a response of success."""
        return await self._call(path, None if body is None else dumps(body), timeout_s, read_success)

    async def check_alive(self, path: str, timeout_s: float) -> Failure | None:
        """None unless the GET fails or the response is a server error: a 404 or a 401 is a sign of life too."""
        return await self._call(path, None, timeout_s, read_liveness)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def _call(self, path: str, payload: bytes | None, timeout_s: float, read: Reader[T]) -> T | Failure:
        watch = CallWatch(timeout_s)
        try:
            async with watch.running():
                return await self._send_and_read(path, payload, read)
        except TimeoutError:
            return watch.failure()

    async def _send_and_read(
        self, path: str, payload: bytes | None, read: Reader[T], headers: Mapping[str, str] | None = None
    ) -> T | Failure:
        """What the server returns for a path. If it does not know the path, what it returns for the path with the other
        version: Open WebUI and others have no version in their paths, Cloudflare has two."""
        version, other, rest = self._versions_of(path)
        status, first = await self._exchange(version + rest, payload, read, headers)
        if other is None or not _lacks_path(status, first):
            return first
        status, second = await self._exchange(other + rest, payload, read, headers)
        if not status or _lacks_path(status, second):
            return first
        self._version = other
        return second

    def _versions_of(self, path: str) -> tuple[str, str | None, str]:
        """The version in a path, the other one that it may have (None: the address leaves none open), and the rest."""
        own, other = self._address.version, self._address.other_version
        if other is None or not path.startswith(f"{own}/"):
            return "", None, path
        return self._version, other if self._version == own else own, path.removeprefix(own)

    async def _exchange(
        self, path: str, payload: bytes | None, read: Reader[T], headers: Mapping[str, str] | None
    ) -> tuple[int, T | Failure]:
        """The status of the response, and what `read` makes of it. Status 0: there is no response."""
        try:
            response = await self._send_to(path, payload, headers)
        except (aiohttp.ClientError, MemoryError, RuntimeError) as error:
            return 0, _unsent(error)
        try:
            return response.status, await self._read(response, read)
        finally:
            response.close()

    async def _read(self, response: aiohttp.ClientResponse, read: Reader[T]) -> T | Failure:
        try:
            return await read(response)
        except Undecodable as error:
            return malformed(str(error))
        except aiohttp.ClientError as error:
            if describe_shortage(error):
                return _unsent(error)
            return malformed("the connection broke off within the answer")
        except AnswerTooLarge as error:
            return malformed(str(error))
        except MemoryError as error:
            return _unsent(error)

    async def _send_to(
        self, path: str, payload: bytes | None, more: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        method, headers = ("GET", self._headers) if payload is None else ("POST", self._json_headers)
        if more:
            headers = headers.copy()
            headers.update(more)
        return await self._transport.send(method, self._address.at(path), headers, payload)


def _lacks_path(status: int, outcome: object) -> bool:
    """Whether a server does not know the path of a request. A refusal that names a model comes from a known path."""
    if isinstance(outcome, Failure) and outcome.error_class is ErrorClass.NOT_INSTALLED:
        is_of_path = UNKNOWN_PATH in outcome.detail or _MODEL.search(outcome.detail) is None
        return status in _NO_SUCH_PATH and is_of_path
    return status in _NO_SUCH_PATH


def _unsent(error: Exception) -> Failure:
    """The failure of a call without a response. An error that is no upstream's and no shortage is raised again."""
    if shortage := describe_shortage(error):
        return Failure(error_class=ErrorClass.WORKER_LIMIT, detail=shortage)
    if not isinstance(error, aiohttp.ClientError):
        raise error
    fault = explain_fault(error)
    return Failure(
        error_class=ErrorClass.CONNECTION,
        detail=shorten(str(fault)),
        connection_fault=shorten(fault.reason),
        never_sent=fault.never_sent,
    )


async def _without_echo(failure: Failure, prompt: Any) -> Failure:
    """The same failure, without its message if the message repeats the prompt, as some servers' errors do."""
    if not await _repeats(failure.detail, _LABELS.sub("", dumps(prompt).decode())):
        return failure
    head = failure.detail.partition(": ")[0] if failure.detail.startswith("HTTP ") else str(failure.error_class)
    return replace(failure, detail=head)


async def _repeats(detail: str, sent: str) -> bool:
    """Whether a detail shares more than `MAX_ECHO_LENGTH` characters in a row with what was sent. One pass through a
    prompt of 8 MB takes 3 ms, and there are up to 285, so other calls get the event loop in between."""
    loop_share, length = LoopShare(), MAX_ECHO_LENGTH + 1
    for start in range(len(detail) - length + 1):
        if detail[start : start + length] in sent:
            return True
        if loop_share.is_over():
            await loop_share.rest()
    return False
