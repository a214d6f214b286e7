"""The form of `/try`: a question, which model may answer it, and the limits of its job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from openfall.producers.arguments import RESOLVE_OPTIONS, check_options
from openfall.producers.errors import BadRequest
from openfall.producers.gateway.submission import Terms
from openfall.producers.job_request import parse_duration, parse_urgency
from openfall.producers.runtime_model import ResolveOptions, route_request
from openfall.producers.shell_command import shell_command, shell_word
from openfall.router_core.jobs.request_body import user_texts
from openfall.router_core.routing.chain_selection import AUTO, RouteRequest
from openfall.router_core.routing.requirements import requirements_for
from openfall.router_core.routing.route import Route
from openfall.router_core.state.client_keys import ClientKey
from openfall.router_core.vocabulary import JobKind, Urgency

MAX_QUESTION = 20_000
MORE_OPTIONS = ("group", "local_only", "expires_in", "max_tokens", "temperature", "exclude", "prompt_tokens")
"""Those that few questions need."""
_MAX_NUMBER = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionForm:
    """What was typed. Its fields are the options of `openfall ask` and `openfall resolve`; `exclude` and
    `prompt_tokens` only decide which model is shown, as there."""

    question: str
    target: str = AUTO
    urgency: Urgency | None = None
    group: str | None = None
    local_only: bool = False
    expires_in: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    exclude: tuple[str, ...] = ()
    prompt_tokens: int = 0

    @classmethod
    def read(cls, form: Mapping[str, str]) -> QuestionForm:
        """The fields of a form; an empty one is not set. Raises `BadRequest`, `UnknownName`."""
        typed = {name: text.strip() for name, text in form.items() if text.strip()}
        expires_in = typed.get("expires_in")
        if expires_in is not None:
            parse_duration(expires_in, "expires_in")
        return cls(
            question=typed.get("question", ""),
            target=typed.get("target", AUTO),
            urgency=parse_urgency(typed.get("urgency")),
            group=typed.get("group"),
            local_only="local_only" in typed,
            expires_in=expires_in,
            max_tokens=_whole("Maximum tokens", typed["max_tokens"], 1) if "max_tokens" in typed else None,
            temperature=_number("Temperature", typed["temperature"]) if "temperature" in typed else None,
            exclude=tuple(filter(None, (name.strip() for name in typed.get("exclude", "").split(",")))),
            prompt_tokens=_whole("Tokens of the prompt", typed.get("prompt_tokens", "0"), 0),
        )

    @property
    def body(self) -> dict[str, Any]:
        """The request that the gateway reads."""
        limits = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {
            "model": self.target,
            "messages": [{"role": "user", "content": self.question}],
            "stream": True,
            **{name: value for name, value in limits.items() if value is not None},
        }

    @property
    def terms(self) -> Terms:
        terms = Terms(stays=True, local_only=self.local_only)
        if self.urgency is not None:
            terms["urgency"] = self.urgency
        if self.group is not None:
            terms["group"] = self.group
        if self.expires_in is not None:
            terms["expires_in"] = self.expires_in
        return terms

    def route_request(self, target: str, caller: ClientKey) -> RouteRequest:
        """What decides about its model. `target`: the name that its own means. Raises `BadRequest`."""
        options = ResolveOptions(
            target=target, group=self.group or caller.group, urgency=self.urgency or caller.urgency,
            local_only=self.local_only, exclude=self.exclude, prompt_tokens=self.prompt_tokens,
        )  # fmt: skip
        check_options(options, RESOLVE_OPTIONS)
        request, needs = route_request(None, options), requirements_for(self.body, "openai", JobKind.COMPLETION)
        return replace(
            request,
            default_urgency=Urgency.INTERACTIVE,
            needs=replace(needs, tokens_at_least=max(needs.tokens_at_least, self.prompt_tokens)),
            texts=tuple(user_texts(self.body)),
            producer=caller.name,
        )

    def resolve_command(self, route: Route, caller: ClientKey) -> str:
        """The command that resolves the same. It has no question: its words chose a task."""
        group = self.group or caller.group
        words = ["--explain"]
        words += ["-t", route.task] if self.target == AUTO and route.task else []
        words += ["-u", route.urgency]
        words += ["-g", group] if group else []
        words += ["--local-only"] if self.local_only else []
        words += ["--tokens", str(self.prompt_tokens)] if self.prompt_tokens else []
        for name in self.exclude:
            words += ["--exclude", name]
        target = [] if self.target == AUTO and route.task else [self.target]
        return shell_command(" ".join(["openfall resolve", *map(shell_word, words)]), *target)


def _whole(label: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and least <= int(text[:12]) < _MAX_NUMBER):
        raise BadRequest(f"{label}: {text[:20]!r} is no whole number from {least} on")
    return int(text)


def _number(label: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < _MAX_NUMBER:
        raise BadRequest(f"{label}: {text[:20]!r} is no number from 0 on: write 0.7")
    return number
