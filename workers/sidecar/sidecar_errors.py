"""What a sidecar refuses. The shapes are those of the HTTP gateway."""

from __future__ import annotations

from typing import Any

_STATUSES = {
    "bad_request": (400, "invalid_request_error"),
    "invalid_api_key": (401, "invalid_request_error"),
    "not_allowed": (403, "invalid_request_error"),
    "model_not_found": (404, "invalid_request_error"),
    "request_too_large": (413, "invalid_request_error"),
    "switching": (409, "invalid_request_error"),
    "stale_epoch": (409, "invalid_request_error"),
    "queue_full": (429, "rate_limit_error"),
    "connection": (502, "server_error"),
    "no_vram": (503, "server_error"),
    "not_loaded": (503, "server_error"),
    "load_failed": (503, "server_error"),
    "timeout": (504, "server_error"),
}
"""Status and type of each code."""

_RETRY_AFTER_SECONDS = {"switching": 5, "queue_full": 5, "not_loaded": 1, "load_failed": 30}
"""For codes with which the same request may succeed later."""


class SidecarError(Exception):
    """A refusal of the sidecar: its code, and a message with the remedy."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        return _STATUSES[self.code][0]

    @property
    def headers(self) -> dict[str, str]:
        seconds = _RETRY_AFTER_SECONDS.get(self.code)
        return {} if seconds is None else {"retry-after": str(seconds)}

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's form."""
        return {"error": {"message": str(self), "type": _STATUSES[self.code][1], "code": self.code, "param": None}}
