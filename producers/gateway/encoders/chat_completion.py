"""The bodies and chunks of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import TextPiece


def completion_id(job_id: str) -> str:
    return f"chatcmpl-{job_id}"


def completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response: the provider's own, with an id of ours, and the model that the caller asked for, since
    clients compare it."""
    body = dict(result.body or {})
    body.update(id=completion_id(result.id), object="chat.completion", model=asked_for)
    if receipt is not None:
        body["openfall"] = receipt
    return body


def text_completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response in the form of the legacy completions."""
    body = completion(result, asked_for, receipt)
    texts: dict[int, str] = {}
    for piece in pieces_of_answer(body, "openai"):
        if isinstance(piece, TextPiece):
            texts[piece.choice] = texts.get(piece.choice, "") + piece.text
    body.update(id=f"cmpl-{result.id}", object="text_completion")
    choices = [choice for choice in body.get("choices") or () if isinstance(choice, Mapping)]
    numbers = [choice.get("index", place) for place, choice in enumerate(choices)]
    body["choices"] = [
        {"index": number, "text": texts.get(number, ""), "logprobs": None, "finish_reason": choice.get("finish_reason")}
        for number, choice in zip(numbers, choices, strict=True)
    ]
    return body
