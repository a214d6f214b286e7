"""Health checks: a test prompt whose answer must make sense, or a cheaper check where a prompt costs too much."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_names import same_model
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass, JobKind
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.stall_watch import CallWatch

PROMPT = "Reply with one word: ready."
MAX_TOKENS = 1024
"""The limit of the answer if the model's settings name none: room to think first. An answer that spends it all on
thinking is a sign of health too."""

PROMPT_TIMEOUT_S = 60.0
"""For the test prompt at a ready model: a model on a slow machine thinks for most of it before one word."""

ENDPOINT_TIMEOUT_S = 3.0
"""For a request that needs no model."""

_ERROR = re.compile(
    r"""(?i)\s*(<!doctype|<html|\{?\s*["']?error(["']?\s*:(?!\s*(null|none|false|""|\{\}))|\s\d|\W*\Z)"""
    r"""|internal server error|bad gateway|traceback \()"""
)
"""The text of an error. A model that always writes JSON may write one that names no error."""
_MIN_REPEATED = 5
"""An answer with at least this many characters must not repeat one character."""
_MAX_GARBLED_SHARE = 0.25
"""The share of an answer that may be characters of no text. Above it, it was decoded wrongly, or never was text."""

_NO_TEXT = frozenset({"Cc", "Co", "Cs"})

CheckMethod = Literal["prompted", "alive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of a model. `method`: by the test prompt, or by its endpoint alone.

    `latency` is in seconds. `loaded` is None if the endpoint does not say. `failure` is None with `ok`.
    """

    ok: bool
    method: CheckMethod
    latency: float = 0.0
    detail: str = ""
    loaded: bool | None = None
    failure: Failure | None = None


def failed_report(failure: Failure, how: str, now: float) -> dict[str, Any]:
    """The report of a failed check, in the form that `remember_health` writes down. `now` on the server's clock."""
    detail = failure.detail or str(failure.error_class)
    report = {"at": now, "ok": False, "how": how, "latency": 0.0, "detail": detail}
    return report | {"error": failure.error_class, "cause": failure.cause}


def health_prompt(spec: ModelSpec) -> Request:
    """The call of a probe: what any call of this model sends, and nothing more. A parameter that the provider refuses
    would keep a model away that answers every job."""
    return Request(
        body={"messages": [{"role": "user", "content": PROMPT}]},
        upstream=spec.upstream,
        timeout=probe_timeout(spec),
        max_tokens=spec.max_tokens or MAX_TOKENS,
        ctx=spec.context,
    )


def probe_timeout(spec: ModelSpec) -> float:
    """Seconds that a probe of this model may take: for loading it, and for the prompt."""
    return min(spec.timeout or PROMPT_TIMEOUT_S, PROMPT_TIMEOUT_S) + (spec.load_time or 0.0)


def find_flaw(answer: Completion) -> str | None:
    """The flaw of an answer to the test prompt. None: it is an answer to a job as well.

    An answer without a text has no flaw: a model may spend all of its tokens on thoughts that its provider does not
    show. Only a text that no model writes is a flaw: that of an error or of a broken card."""
    text = answer.text.strip() or _reasoning(answer.body).strip()
    if not text:
        return None
    if _ERROR.match(text):
        return "was the text of an error"
    if sum(map(_is_garbled, text)) > _MAX_GARBLED_SHARE * len(text):
        return "was not text"
    letters = "".join(text.split())
    if len(letters) >= _MIN_REPEATED and len(set(letters)) == 1:
        return "was one repeated character"
    return None


async def probe_without_load(backend: HttpBackend, spec: ModelSpec, watch: CallWatch | None = None) -> Outcome | None:
    """Probe a model and never load it. None: it is not in memory, and its endpoint answers and lists it.

    A model in memory, and one of an endpoint that does not say what is in memory, gets the test prompt.
    """
    loaded = None if spec.passed_on else await backend.list_loaded(ENDPOINT_TIMEOUT_S)
    if isinstance(loaded, Failure):
        return loaded
    if loaded is None or _find_loaded(spec, loaded) is not None:
        return await probe(backend, spec, watch)
    return await _check_listed(backend, spec)


async def _check_listed(backend: HttpBackend, spec: ModelSpec) -> Failure | None:
    names = await backend.list_models(ENDPOINT_TIMEOUT_S)
    if isinstance(names, Failure):
        return names
    if any(same_model(name, spec.upstream) for name in names):
        return None
    return Failure(error_class=ErrorClass.NOT_INSTALLED, detail="its endpoint does not list it")


async def probe(backend: HttpBackend, spec: ModelSpec, watch: CallWatch | None = None) -> Outcome:
    """Send the test prompt. An answer that makes no sense is a `Failure` that counts against the model. `watch`: gets
    what the response says of the limits of a subscription."""
    request = replace(health_prompt(spec), watch=watch)
    if spec.kind is JobKind.EMBEDDING:
        return await backend.embed(replace(request, body={"input": PROMPT}))
    outcome = await backend.complete(request)
    if isinstance(outcome, Completion) and (flaw := find_flaw(outcome)):
        detail = f"the answer to the test prompt {flaw}"
        return Failure(error_class=ErrorClass.MALFORMED, detail=detail, usage=outcome.usage)
    return outcome


async def check(backend: HttpBackend, spec: ModelSpec, *, force: bool = False, metered: bool = False) -> Health:
    """Check the health of a model by the cheapest method that is enough.

    A model in memory gets the test prompt. For a model that is not in memory only the endpoint is checked, and whether
    it lists the model: the check does not load it. If the endpoint does not say what is in memory, the model gets the
    prompt unless it is `metered` (an answer costs money). `force` sends the prompt in any case, and loads and pays as
    needed.
    """
    began = time.monotonic()
    loaded = await backend.list_loaded(ENDPOINT_TIMEOUT_S)
    if isinstance(loaded, Failure) and not force:
        return _unhealthy(loaded, "alive", began)
    entry = _find_loaded(spec, loaded)
    in_memory = None if loaded is None or isinstance(loaded, Failure) else entry is not None
    share = entry.vram_share if entry else None
    if force or in_memory or (in_memory is None and not metered):
        return await _prompt(backend, spec, in_memory, share)
    if in_memory is False:
        failure = await _check_listed(backend, spec)
    else:
        failure = await backend.check_alive(ENDPOINT_TIMEOUT_S)
    if failure:
        return _unhealthy(failure, "alive", began)
    detail = (
        "not in memory, so no prompt was sent" if in_memory is False else "answers are metered, so no prompt was sent"
    )
    return Health(ok=True, method="alive", latency=time.monotonic() - began, detail=detail, loaded=in_memory)


async def _prompt(backend: HttpBackend, spec: ModelSpec, loaded: bool | None, share: float | None) -> Health:
    began = time.monotonic()
    outcome = await probe(backend, spec)
    if isinstance(outcome, Failure):
        return _unhealthy(outcome, "prompted", began, loaded)
    detail = f"only {share:.0%} of it is on the card" if share is not None and share < 1 else ""
    latency = time.monotonic() - began
    return Health(ok=True, method="prompted", latency=latency, detail=detail, loaded=loaded)


def _unhealthy(failure: Failure, method: CheckMethod, began: float, loaded: bool | None = None) -> Health:
    latency, detail = time.monotonic() - began, failure.detail or str(failure.error_class)
    return Health(ok=False, method=method, latency=latency, detail=detail, loaded=loaded, failure=failure)


def _find_loaded(spec: ModelSpec, loaded: tuple[LoadedModel, ...] | Failure | None) -> LoadedModel | None:
    models = () if loaded is None or isinstance(loaded, Failure) else loaded
    return next((model for model in models if model.is_called(spec.upstream)), None)


def _is_garbled(character: str) -> bool:
    """Whether it is a replacement, control, private-use or surrogate character; white space is not."""
    return character == "\ufffd" or (unicodedata.category(character) in _NO_TEXT and not character.isspace())


def _reasoning(body: Mapping[str, Any]) -> str:
    """The reasoning before the answer, under the names that providers use."""
    try:
        message = body["choices"][0]["message"]
        return str(message.get("reasoning_content") or message.get("reasoning") or "")
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""
