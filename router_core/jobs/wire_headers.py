"""The headers of a caller's own request that a provider of the same dialect must get too. Pure.

They switch on fields of the body: without them the provider refuses the fields (`Extra inputs are not permitted`).
"""

from __future__ import annotations

from collections.abc import Mapping

from openfall.router_core.vocabulary import Dialect

MAX_HEADER_CHARACTERS = 2048

WIRE_HEADERS: Mapping[Dialect, frozenset[str]] = {
    "openai": frozenset({"openai-beta"}),
    "anthropic": frozenset({"anthropic-version", "anthropic-beta"}),
    "ollama": frozenset(),
    "responses": frozenset({"openai-beta"}),
}
"""By dialect. No other header of a caller reaches a provider: it may be a key, a cookie or a name."""


def pick_wire_headers(headers: Mapping[str, str], dialect: Dialect) -> dict[str, str]:
    """Those of a request's headers, under names in lower case, that are kept with its job. One that no provider would
    read is left out."""
    return {name: headers[name] for name in sorted(WIRE_HEADERS[dialect]) if is_sendable(headers.get(name, ""))}


def is_sendable(value: str) -> bool:
    """Whether a value can be sent in a header: printable ASCII of a bounded length."""
    return 0 < len(value) <= MAX_HEADER_CHARACTERS and value.isascii() and value.isprintable()
