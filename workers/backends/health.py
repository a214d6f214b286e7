"""Whether a model is well: a test prompt whose answer must make sense, or a cheaper question where that is too dear."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from openfall.router_core.catalog.entries import ModelSpec
from openfall.router_core.jobs.outcome import (
    Completion,
    Failure,
    Outcome,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)
from openfall.workers.backends.base import (
    CompletionBackend,
    LoadedModel,
    Request,
    same_model,
)

PROMPT = "Reply with one word: ready."
MAX_TOKENS = 16
"""Of the answer. A reasoning model may spend them all on thinking, which is a sign of health too."""

PROMPT_TIMEOUT_S = 30.0
"""Seconds for the test prompt at a model that is ready: a slow machine reads and writes some 40 tokens in them."""

ENDPOINT_TIMEOUT_S = 3.0
"""Seconds for a question that needs no model."""

ENDED_WELL = frozenset({"stop", "length"})
"""The finish reasons, in the OpenAI dialect in which the test prompt is asked, that a plain short answer may have."""

_ERROR = re.compile(r"""(?i)\s*(<!doctype|<html|\{?\s*["']?error\b|internal server error|bad gateway|traceback \()""")
_REPEATED = 4
"""An answer of at least so many characters must not be one of them over and over."""
_GARBLED = 0.25
"""At most this share of an answer may be characters that no text has: it was decoded wrongly, or never was text."""

_NO_TEXT = frozenset({"Cc", "Co", "Cs"})

How = Literal["asked", "alive", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a model is. `how`: it was asked the test prompt, only its endpoint was looked at, or nothing was done.

    `latency` is in seconds. `loaded` and `vram_share` (the part of the model on the card) are None when the endpoint
    does not say. `failure` is what was wrong; None with `ok`.
    """

    ok: bool
    how: How
    latency: float = 0.0
    detail: str = ""
    loaded: bool | None = None
    vram_share: float | None = None
    failure: Failure | None = None


def health_prompt(spec: ModelSpec) -> Request:
    """The call that a probe makes: short, the same every time, and given the time to load the model."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}]}
    if spec.sampling_params:
        body["temperature"] = 0
    return Request(
        body=body,
        upstream=spec.upstream,
        timeout=probe_timeout(spec),
        max_tokens=MAX_TOKENS,
        sampling_params=spec.sampling_params,
        ctx=spec.context,
    )


def probe_timeout(spec: ModelSpec) -> float:
    """Seconds that a probe of this model may take: those for the prompt, and those for loading it first."""
    return min(spec.timeout, PROMPT_TIMEOUT_S) + (spec.load_time or 0.0)


def find_flaw(answer: Completion) -> str | None:
    """What is wrong with an answer to the test prompt; None: it makes sense. It need not be right."""
    if answer.finish_reason not in ENDED_WELL:
        return "ended in a way that is none for a plain answer"
    text = answer.text.strip() or _thought(answer.body).strip()
    if not text:
        return None if _thinking_tokens(answer.body) else "was empty"
    if _ERROR.match(text):
        return "was the text of an error"
    if sum(map(_is_garbled, text)) > _GARBLED * len(text):
        return "was no text"
    if not any(character.isalnum() for character in text):
        return "had neither letters nor digits"
    letters = "".join(text.split())
    if len(letters) >= _REPEATED and len(set(letters)) == 1:
        return "was one character over and over"
    return None


async def probe(backend: CompletionBackend, spec: ModelSpec) -> Outcome:
    """Ask the test prompt. An answer that makes no sense is a `Failure`, of a kind that counts against the model."""
    outcome = await backend.complete(health_prompt(spec))
    if isinstance(outcome, Completion) and (wrong := find_flaw(outcome)):
        return Failure(error_class=ErrorClass.MALFORMED, detail=f"the answer to the test prompt {wrong}")
    return outcome


async def check(
    backend: CompletionBackend, spec: ModelSpec, *, force: bool = False, metered: bool = False, busy: bool = False
) -> Health:
    """How the model is, at the least price that tells.

    It is asked when it is in memory. One that is not is not loaded for this: its endpoint is looked at. Where an
    endpoint does not say what is in memory, it is asked unless it is `metered` (an answer costs money). With `force` it
    is asked in any case, loading and paying as need be. `busy` (every slot is taken) skips it: the calls that are under
    way tell more, and a test prompt would wait behind them.
    """
    if busy and not force:
        return Health(ok=True, how="skipped", detail="every slot is taken: the calls under way tell how it is")
    began = time.monotonic()
    loaded = await backend.list_loaded(ENDPOINT_TIMEOUT_S)
    if isinstance(loaded, Failure) and not force:
        return _ill(loaded, "alive", began)
    here = _entry(spec, loaded)
    in_memory = None if loaded is None or isinstance(loaded, Failure) else here is not None
    share = here.vram_share if here else None
    if force or in_memory or (in_memory is None and not metered):
        return await _asked(backend, spec, in_memory, share)
    failure = None if in_memory is False else await backend.check_alive(ENDPOINT_TIMEOUT_S)
    if failure:
        return _ill(failure, "alive", began)
    detail = "not in memory, so not asked" if in_memory is False else "answers are metered, so not asked"
    return Health(ok=True, how="alive", latency=time.monotonic() - began, detail=detail, loaded=in_memory)


async def _asked(backend: CompletionBackend, spec: ModelSpec, loaded: bool | None, share: float | None) -> Health:
    began = time.monotonic()
    outcome = await probe(backend, spec)
    if isinstance(outcome, Failure):
        return _ill(outcome, "asked", began, loaded)
    detail = f"only {share:.0%} of it is on the card" if share is not None and share < 1 else ""
    latency = time.monotonic() - began
    return Health(ok=True, how="asked", latency=latency, detail=detail, loaded=loaded, vram_share=share)


def _ill(failure: Failure, how: How, began: float, loaded: bool | None = None) -> Health:
    latency, detail = time.monotonic() - began, failure.detail or str(failure.error_class)
    return Health(ok=False, how=how, latency=latency, detail=detail, loaded=loaded, failure=failure)


def _entry(spec: ModelSpec, loaded: tuple[LoadedModel, ...] | Failure | None) -> LoadedModel | None:
    models = () if loaded is None or isinstance(loaded, Failure) else loaded
    return next((one for one in models if same_model(one.upstream, spec.upstream)), None)


def _is_garbled(character: str) -> bool:
    """A replacement character, or one that controls, is private, or is half of a pair; not white space."""
    return character == "\ufffd" or (unicodedata.category(character) in _NO_TEXT and not character.isspace())


def _thought(body: Mapping[str, Any]) -> str:
    """What a reasoning model wrote before its answer, under the names that providers have for it."""
    try:
        message = body["choices"][0]["message"]
        return str(message.get("reasoning_content") or message.get("reasoning") or "")
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""


def _thinking_tokens(body: Mapping[str, Any]) -> bool:
    """Whether it thought without showing it, as OpenAI's reasoning models do."""
    try:
        return bool(body["usage"]["completion_tokens_details"]["reasoning_tokens"])
    except (KeyError, TypeError):
        return False
