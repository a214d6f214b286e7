"""OpenAI's Responses at a server that has them. The requests of callers are sent as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.jobs.response_items import is_own
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.base_url import Address
from openfall.workers.backends.call_request import SAMPLING_PARAMETERS, OnPieces, Request
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.transport import Transport

PATH = "/responses"
_NO_SUCH_PATH = frozenset({404, 405})


class ResponsesBackend(HttpBackend):
    """The Responses of one endpoint. It shares the `transport` of the chat completions there, which close it."""

    dialect = "responses"

    def __init__(self, address: Address, credentials: Mapping[str, str], transport: Transport) -> None:
        super().__init__(address, address.version + PATH, credentials, transport)

    async def complete(self, request: Request, on_pieces: OnPieces | None = None) -> Outcome:
        """A server without this path says nothing about its model: the next one may have the path."""
        outcome = await super().complete(request, on_pieces)
        is_missing = isinstance(outcome, Failure) and outcome.http_status in _NO_SUCH_PATH
        if not is_missing or not isinstance(outcome, Failure) or request.upstream in outcome.detail:
            return outcome
        detail = f"{outcome.detail}: if the server has no {PATH}, remove `responses: yes`"
        return replace(outcome, error_class=ErrorClass.UNSUPPORTED, detail=detail)

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any]:
        omitted = {"stream"} | (frozenset() if request.sampling_params else SAMPLING_PARAMETERS)
        omitted |= frozenset() if streamed else {"stream_options"}
        body = {key: value for key, value in translated.items() if key not in omitted}
        body["model"] = request.upstream
        if isinstance(items := body.get("input"), list):
            body["input"] = [item for item in items if not _is_foreign_reasoning(item)]
        if body.get("max_output_tokens") is None and request.max_tokens is not None:
            body["max_output_tokens"] = request.max_tokens
        return body | ({"stream": True} if streamed else {})


def _is_foreign_reasoning(item: Any) -> bool:
    """Whether it is the reasoning of a model elsewhere, which this provider looks up by its id and does not find."""
    return isinstance(item, Mapping) and item.get("type") == "reasoning" and is_own(item)
