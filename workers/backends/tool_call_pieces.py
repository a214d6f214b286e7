"""Assembles the tool calls of a stream from their pieces. Pure."""

from __future__ import annotations

from typing import Any

from openfall.workers.backends.exact_json import dumps, loads


class ToolCallPieces:
    """The calls of one message. A piece belongs to the open call of its index, or begins another call.

    The index alone is not enough: Gemini sends parallel calls whole, each with its own id, and all with the index 0.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._open: dict[int, dict[str, Any]] = {}

    def add(self, pieces: Any) -> None:
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                self._add(piece)

    def _add(self, piece: dict[str, Any]) -> None:
        index, function = piece.get("index"), piece.get("function")
        call = self._find(piece)
        if call is None:
            call = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
            self.calls.append(call)
        if isinstance(index, int):
            self._open[index] = call
        known = {"index", "function"} | ({"id"} if call["id"] else set())
        call |= {key: value for key, value in piece.items() if key not in known and value}
        if isinstance(function, dict):
            arguments = call["function"]["arguments"] + arguments_text(function.get("arguments"))
            call["function"] |= {key: value for key, value in function.items() if value} | {"arguments": arguments}

    def _find(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        """The call that a piece extends; None: it begins one. Without an index it extends the call of its id, or the
        last one."""
        index, call_id = piece.get("index"), piece.get("id")
        if isinstance(index, int) and index >= 0:
            call = self._open.get(index)
        elif call_id:
            call = next((call for call in self.calls if call["id"] == call_id), None)
        else:
            call = self.calls[-1] if self.calls else None
        return None if call is None or _begins_another(call, piece) else call


def _begins_another(call: dict[str, Any], piece: dict[str, Any]) -> bool:
    """Whether a piece under the index of a call is another call: it names a function, and has another id; or it has no
    id, while the arguments of the call are complete.

    Some servers invent an id for each piece of one call. Such a piece names no function.
    """
    value = piece.get("function")
    function = value if isinstance(value, dict) else {}
    if not function.get("name"):
        return False
    if piece.get("id") and call["id"]:
        return bool(piece["id"] != call["id"])
    return bool(function.get("arguments")) and is_complete(call["function"]["arguments"])


def is_complete(arguments: str) -> bool:
    """Whether the text of the arguments is a whole JSON object."""
    try:
        return isinstance(loads(arguments), dict)
    except ValueError:
        return False


def arguments_text(value: Any) -> str:
    """The text of the arguments. Some servers send the object itself."""
    if isinstance(value, str):
        return value
    return dumps(value).decode() if isinstance(value, dict) else ""
