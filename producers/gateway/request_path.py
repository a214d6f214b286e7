"""The paths of the gateway as people write them: with and without `/v1`, with a group or an urgency in front. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_UNVERSIONED = frozenset(
    {"chat", "completions", "models", "messages", "responses", "embeddings", "files", "batches", "jobs", "inboxes"}
)
"""The first words of the paths that have `/v1` in front: the SDKs of Anthropic add it, those of OpenAI do not."""
_OWN = frozenset({"/models/status", "/models/switch"})
"""Paths of our own without `/v1`, beside `/v1/models`."""


@dataclass(frozen=True, slots=True)
class RequestPath:
    """A path in the form of the route table, with what its base URL says of the caller."""

    path: str
    group: str | None = None
    urgency: str | None = None


def normalize_path(path: str, root_path: str = "") -> RequestPath:
    """The root path of the gateway is taken off where it stands: some reverse proxies take it off themselves.
    `/for/GROUP` and `/in/URGENCY` in front are taken off. `/v1` is added where it is missing, and is never twice."""
    words = [word for word in path.split("/") if word]
    root = root_path.split("/")[1:]
    if root and words[: len(root)] == root:
        words = words[len(root) :]
    options: dict[str, str] = {}
    while len(words) > 1 and words[0] in ("for", "in"):
        options[{"for": "group", "in": "urgency"}[words[0]]] = words[1]
        words = words[2:]
    while words[:2] == ["v1", "v1"]:
        words = words[1:]
    if words and words[0] in _UNVERSIONED and "/" + "/".join(words) not in _OWN:
        words = ["v1", *words]
    return RequestPath("/" + "/".join(words), options.get("group"), options.get("urgency"))
