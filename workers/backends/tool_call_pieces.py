"""Assembles the tool calls of a stream from their pieces. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from openfall.router_core.jobs.pieces_from_response import call_fields, fields_beside_function
from openfall.router_core.jobs.stream_pieces import Piece, ToolArguments, ToolStart
from openfall.workers.backends.completion_shapes import arguments_of, formed_function, with_function
from openfall.workers.backends.exact_json import dumps, loads, whole_number

_OBJECT_BEGINS = re.compile(r"\s*\{")
_MISPLACED = ("Expecting ':'", "Expecting ','", "Expecting property")
"""How `json` names a sign where another one must stand. Its other errors may be those of a text that is cut."""
_MAX_COMPARED = 64 * 2**10
"""The longest arguments of which is decided whether each piece repeats those before it: the first pieces show it."""
_OBJECT = re.compile(r'\s*\{\s*"')
"""The beginning of a JSON object that is not empty."""


class ToolCallPieces:
    """The calls of one message. A piece belongs to the open call of its index, or begins another call.

    The index alone is not enough: Gemini sends parallel calls whole, each with its own id, and all with the index 0.
    """

    def __init__(self, choice: int = 0) -> None:
        self.calls: list[dict[str, Any]] = []
        self._choice = choice
        self._open: dict[int, int] = {}
        """By index, the place of its open call."""
        self._by_id: dict[str, int] = {}
        """By id, the place of the first call that has it."""
        self._last: int | None = None
        """The place of the last call of a function."""
        self._started: set[int] = set()
        """The places of the calls whose start is known to the caller."""
        self._custom: dict[int, dict[str, Any]] = {}
        """By index, the open calls of custom tools, whose input is a text."""
        self._cumulative: set[int] = set()
        """The places of the calls of which each piece repeats the arguments before it."""

    def add(self, pieces: Any) -> list[Piece]:
        """Add the pieces of an event. Returns what they add to the calls of functions."""
        added = pieces if isinstance(pieces, list) else []
        return [typed for piece in added if isinstance(piece, dict) for typed in self._add(piece)]

    def _add(self, piece: dict[str, Any]) -> Iterator[Piece]:
        if isinstance(custom := piece.get("custom"), dict):
            self._add_custom(piece, custom)
            return
        piece = with_function(piece)
        piece = piece | ({} if (index := whole_number(piece.get("index"))) is None else {"index": index})
        function, place = piece.get("function"), self._find(piece)
        if place is None:
            place = self._last = len(self.calls)
            self.calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = self.calls[place]
        if index is not None:
            self._open[index] = place
        self._add_fields(place, piece)
        if isinstance(function, dict):
            known_text = call["function"]["arguments"]
            text = self._next_arguments(place, known_text, arguments_text(arguments_of(function)))
            if text == known_text and is_complete(text):
                text = ""  # some servers repeat the whole arguments
            is_first = known_text.strip() == "{}" and text.lstrip().startswith("{") and place not in self._started
            whole = text if is_first else known_text + text
            more = {"arguments": whole, "name": _joined(call["function"], function)}
            call["function"] |= {key: value for key, value in function.items() if value} | more
            yield from self._typed(place, call, text)
        if more_fields := fields_beside_function(piece):  # the signature of a thought of Gemini's
            if place not in self._started and call["function"]["name"]:
                yield from self._whole(place)
            yield call_fields(self._choice, place, more_fields)

    def _next_arguments(self, place: int, known: str, text: str) -> str:
        """What a piece adds to the arguments. Some servers write the arguments so far in each piece. That is certain
        only where the two texts together begin no JSON object: an object may have another one that begins alike."""
        if not known or len(text) < len(known) or not text.startswith(known):
            return text
        if place not in self._cumulative:
            if not _OBJECT_BEGINS.match(known) or _is_broken(known) or not _is_broken(known + text):
                return text
            self._cumulative.add(place)
        return text[len(known) :]

    def _add_fields(self, place: int, piece: dict[str, Any]) -> None:
        call = self.calls[place]
        known = {"index", "function"} | ({"id"} if call["id"] else set())
        call |= {key: value for key, value in piece.items() if key not in known and value}
        if call["id"]:
            self._by_id.setdefault(str(call["id"]), place)

    def _add_custom(self, piece: dict[str, Any], custom: dict[str, Any]) -> None:
        """Add a piece of the call of a custom tool. No typed piece says it: its caller gets the event as it is."""
        index = whole_number(piece.get("index")) or 0
        call = self._custom.get(index)
        if call is None or (piece.get("id") and piece["id"] != call["id"]):
            call = self._custom[index] = {"id": piece.get("id"), "type": "custom", "custom": {"name": "", "input": ""}}
            self.calls.append(call)
        known = call["custom"]
        texts = {name: text for name in known if isinstance(text := custom.get(name), str)}
        known |= {"name": known["name"] or texts.get("name", ""), "input": known["input"] + texts.get("input", "")}

    def _typed(self, place: int, call: dict[str, Any], text: str) -> Iterator[Piece]:
        """The start of a call once its arguments begin, since its name may arrive in pieces; and its next arguments.

        Arguments that do not begin as a JSON object wait for the end of the message, which puts them into their form.
        """
        if place not in self._started:
            text = call["function"]["arguments"]
            if not call["function"]["name"] or not _OBJECT.match(text):
                return
            yield self._start(place)
        if text:
            yield ToolArguments(self._choice, place, text)

    def end(self) -> list[Piece]:
        """The calls that have not begun by the end of the message."""
        pieces: list[Piece] = []
        for place, call in self._functions():
            if call["function"]["name"] and place not in self._started:
                call["function"] = formed_function(call["function"])
                pieces += self._whole(place)
        return pieces

    def _whole(self, place: int) -> list[Piece]:
        start, text = self._start(place), self.calls[place]["function"]["arguments"]
        return [start, ToolArguments(self._choice, place, text)] if text else [start]

    def _start(self, place: int) -> ToolStart:
        self._started.add(place)
        call_id, name = self.calls[place]["id"], self.calls[place]["function"]["name"]
        return ToolStart(self._choice, place, call_id if isinstance(call_id, str) else "", name)

    def _find(self, piece: dict[str, Any]) -> int | None:
        """The place of the call that a piece extends; None: it begins one. Without an index it extends the call of its
        id, or the last one."""
        index, call_id = piece.get("index"), piece.get("id")
        if isinstance(index, int) and index >= 0:
            place = self._open.get(index)
            if place is None and not call_id and not _named(piece):
                place = self._last  # the rest of a call that began under another index
        elif call_id:
            place = self._by_id.get(str(call_id))
        else:
            place = self._last
        return None if place is None or _begins_another(self.calls[place], piece) else place

    def _functions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The calls of functions, each with its place."""
        return ((place, call) for place, call in enumerate(self.calls) if "custom" not in call)


def _joined(known: dict[str, Any], piece: dict[str, Any]) -> str:
    """The name of a function with its next piece. Some servers repeat the whole name in each piece, or what there is of
    it so far."""
    name, more = known["name"], piece.get("name")
    if not isinstance(more, str) or not more:
        return str(name)
    if more.startswith(name):
        return more
    return str(name) if known["arguments"] else f"{name}{more}"


def _begins_another(call: dict[str, Any], piece: dict[str, Any]) -> bool:
    """Whether a piece under the index of a call is another call: it names a function, and has another id; or it has no
    id or the same one, while the arguments of the call are complete.

    Some servers invent an id for each piece of one call. Such a piece names no function.
    """
    value = piece.get("function")
    function = value if isinstance(value, dict) else {}
    if not _named(piece):
        return False
    known, more = call["function"], arguments_text(arguments_of(function))
    if not known["name"] and not more:
        return False  # the name arrives behind the arguments
    if has_ids := bool(piece.get("id") and call["id"]):
        if piece["id"] != call["id"]:
            return True
        if more == known["arguments"] or known["arguments"].strip() == "{}":
            return False  # some servers repeat the whole call
    is_other = bool(more) or (not has_ids and function["name"] != known["name"])
    return is_other and is_complete(known["arguments"])


def _named(piece: dict[str, Any]) -> bool:
    """Whether a piece names its function."""
    function = piece.get("function")
    return bool(isinstance(function, dict) and function.get("name"))


def is_complete(arguments: str) -> bool:
    """Whether the text of the arguments is a whole JSON object."""
    try:
        return isinstance(loads(arguments), dict)
    except ValueError:
        return False


def _is_broken(text: str) -> bool:
    """Whether no JSON text begins with this one. False: it may be the beginning of one, or is too long to be read."""
    if len(text) > _MAX_COMPARED:
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        sign = text[error.pos : error.pos + 1].strip()  # empty: the text ends where something is missing
        return bool(sign) and error.msg.startswith(_MISPLACED) and sign not in ".eE"  # of a number that is cut
    except RecursionError:
        return False
    return False


def arguments_text(value: Any) -> str:
    """The text of the arguments. Some servers send the object itself."""
    if isinstance(value, str):
        return value
    return dumps(value).decode() if isinstance(value, dict) else ""
