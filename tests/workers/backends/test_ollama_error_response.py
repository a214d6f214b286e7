"""The error classes of Ollama's messages, which are from its source and from reports."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.ollama_answer import ChatAssembler, parse_chat

_OVERFLOW = {
    "code": 400,
    "message": "request (62 tokens) exceeds the available context size (32 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 62,
    "n_ctx": 32,
}
UPGRADE = "https://ollama.com/upgrade"

REFUSALS: dict[str, tuple[int, str, E]] = {
    # server/routes.go
    "not here (chat)": (404, "model 'llama9' not found", E.NOT_INSTALLED),
    "not here (schedule)": (404, 'model "llama9" not found, try pulling it first', E.NOT_INSTALLED),
    "no tools": (400, "registry.ollama.ai/library/gemma:2b does not support tools", E.UNSUPPORTED),
    "no thinking": (400, '"gemma:2b" does not support thinking', E.UNSUPPORTED),
    "no chat": (400, '"nomic-embed-text" does not support chat', E.UNSUPPORTED),
    "no name": (400, "model is required", E.BAD_REQUEST),
    "no Go": (400, "json: cannot unmarshal string into Go struct field ChatRequest.messages", E.BAD_REQUEST),
    # server/sched.go
    "full": (503, "server busy, please try again.  maximum pending requests exceeded", E.OVERLOADED),
    # llm/llama_server.go; older releases
    "too long (engine)": (400, orjson.dumps({"error": _OVERFLOW}).decode(), E.CONTEXT_OVERFLOW),
    "too long (no shift)": (
        400,
        "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
        "context length in settings, or use a model with a longer context length",
        E.CONTEXT_OVERFLOW,
    ),
    "too long (older)": (400, "the input length exceeds the context length", E.CONTEXT_OVERFLOW),
    "too long (older still)": (500, "input length exceeds maximum context length", E.CONTEXT_OVERFLOW),
    "no picture": (
        500,
        orjson.dumps({"error": {"code": 500, "message": "image input is not supported - hint: if this is unexpected, "
                                "you may need to provide the mmproj", "type": "server_error"}}).decode(),
        E.UNSUPPORTED,
    ),
    "crash": (
        500,
        "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check "
        "ollama server logs for details",
        E.OVERLOADED,
    ),
    # llm/status.go
    "memory (CUDA)": (500, "llama-server process has terminated: cudaMalloc failed: out of memory", E.NO_VRAM),
    "memory (HIP)": (500, "hipMalloc failed", E.NO_VRAM),
    "memory (Vulkan)": (500, "vk::Device::allocateMemory: ErrorOutOfDeviceMemory", E.NO_VRAM),
    "memory (Vulkan's name)": (500, "VK_ERROR_OUT_OF_DEVICE_MEMORY", E.NO_VRAM),
    "memory (driver)": (500, "ErrorOutOfMemory", E.NO_VRAM),
    "memory (Metal)": (500, "insufficient memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", E.NO_VRAM),
    "memory (buffer)": (500, "error loading model: unable to allocate: failed to allocate buffer of size 1", E.NO_VRAM),
    "memory (system)": (500, "model requires more system memory (5.6 GiB) than is available (3.9 GiB)", E.NO_VRAM),
    # the cloud: internal/cloud, and what users report
    "cloud is off": (403, "ollama cloud is disabled: remote model is unavailable", E.NOT_INSTALLED),
    "cloud is away": (502, "dial tcp: lookup ollama.com: no such host", E.CONNECTION),
    "not paid for": (403, f"this model requires a subscription, upgrade for access: {UPGRADE}", E.NOT_INSTALLED),
    "a session's limit": (
        429, f"you (haruka) have reached your session usage limit, upgrade for higher limits: {UPGRADE}",
        E.OUT_OF_CREDITS,
    ),
    "a week's limit": (
        429, f"you (haruka) have reached your weekly usage limit, upgrade for higher limits: {UPGRADE}",
        E.OUT_OF_CREDITS,
    ),
    "too many": (429, "too many requests", E.RATE_LIMITED),
    "a wrong key": (401, "unauthorized", E.AUTH),
}  # fmt: skip


@pytest.mark.parametrize(("status", "text", "meant"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_means(status: int, text: str, meant: E) -> None:
    assert classify(status, CIMultiDict(), orjson.dumps({"error": text})).error_class is meant


def test_a_required_login_concerns_one_model_and_a_refused_key_all_models() -> None:
    body: dict[str, Any] = {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=a&key=b"}
    failure = classify(401, CIMultiDict(), orjson.dumps(body))
    assert failure.error_class is E.NOT_INSTALLED
    assert "key=b" not in failure.detail


WITHIN: dict[str, E] = {
    "an error was encountered while running the model: EOF": E.OVERLOADED,
    "llama-server chat error: slot unavailable": E.OVERLOADED,
    "CUDA error: out of memory": E.NO_VRAM,
    "error parsing tool call: raw='{', err=unexpected end of JSON input": E.INVALID_OUTPUT,
}


@pytest.mark.parametrize(("text", "meant"), WITHIN.items())
def test_an_error_within_an_answer_means(text: str, meant: E) -> None:
    line = orjson.dumps({"error": text})
    stream = ChatAssembler()
    assert stream.add(line) == []
    assert stream.ended
    for outcome in (stream.outcome(), parse_chat(line, {})):
        assert getattr(outcome, "error_class", None) is meant
