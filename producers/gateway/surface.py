"""The APIs that the gateway speaks. Errors, names of headers and keepalives follow the API of the path."""

from __future__ import annotations

from enum import StrEnum


class Surface(StrEnum):
    """An API, by its inventor."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"
    ECHO = "echo"  # /api/echo/resilient
    OPENFALL = "openfall"  # the jobs, and the page


def surface_of(path: str) -> Surface:
    """The API to which a path belongs, also one that does not exist: its error must have a shape too."""
    if path.startswith("/v1/messages") or path.endswith(("/messages", "/messages/count_tokens")):
        return Surface.ANTHROPIC
    if path.startswith("/api/echo/"):
        return Surface.ECHO
    if path.startswith("/v1/api/"):  # a client of Ollama with the base URL of another
        return Surface.OLLAMA
    if (
        path.startswith("/api/")
        and not path.startswith("/api/v1/")
        and not path.endswith(("/completions", "/responses"))
    ):
        return Surface.OLLAMA
    if path.startswith(("/v1/jobs", "/v1/inboxes")):
        return Surface.OPENFALL
    return Surface.OPENAI
