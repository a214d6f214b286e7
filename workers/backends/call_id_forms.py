"""The form that a server demands of the ids of tool calls, read from its refusal. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

_OF_AN_ID = re.compile(r"(?i)tool call id\b|\btool_calls?\b.{0,20}\bid\b|\b(tool_)?call_id\b")
_EXACT = re.compile(r"length of (\d{1,2})\b")
_AT_MOST = re.compile(r"maximum length (?:of )?(\d{1,2})\b|at most (\d{1,2}) characters")
_PLAIN = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class CallIdForm:
    """Ids have at most `length` characters (0: any number), or with `exact` that many letters and digits."""

    length: int = 0
    exact: bool = False

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body of OpenAI's dialect whose ids have this form. The same id always becomes the same."""
        messages = body.get("messages")
        if not self.length or not isinstance(messages, list):
            return body
        return {**body, "messages": [self._fit(message) for message in messages]}

    def _fit(self, message: Any) -> Any:
        if not isinstance(message, Mapping):
            return message
        fitted = dict(message)
        if isinstance(given := message.get("tool_call_id"), str):
            fitted["tool_call_id"] = self._id(given)
        if isinstance(calls := message.get("tool_calls"), list):
            fitted["tool_calls"] = [
                {**call, "id": self._id(call["id"])}
                if isinstance(call, Mapping) and isinstance(call.get("id"), str)
                else call
                for call in calls
            ]
        return fitted

    def _id(self, given: str) -> str:
        fits = len(given) == self.length and _PLAIN.fullmatch(given) if self.exact else len(given) <= self.length
        return given if fits else blake2b(given.encode("utf-8", "surrogatepass")).hexdigest()[: self.length]


ANY_FORM = CallIdForm()


def form_demanded(detail: str) -> CallIdForm:
    """The form that a refusal demands. Mistral takes nine letters and digits, OpenAI at most 40 characters."""
    if not _OF_AN_ID.search(detail):
        return ANY_FORM
    if exact := _EXACT.search(detail):
        return CallIdForm(int(exact[1]), exact=True)
    if at_most := _AT_MOST.search(detail):
        return CallIdForm(int(at_most[1] or at_most[2]))
    return ANY_FORM
