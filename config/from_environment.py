"""The configuration from a provider's usual environment variables, for users without a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from openfall.config.errors import ConfigProblem
from openfall.config.paths import ENVIRONMENT
from openfall.config.scalars import is_name

PROVIDERS = ("openai", "anthropic")
"""In the order of the chain."""

ROLE = "chat"
DISCORD = "DISCORD_WEBHOOK"
"""The variable with the Discord webhook that receives notices."""

_OLLAMA_KEY = "ollama"
"""A dummy key, for servers that need none."""

_CREDENTIALS = {
    "openai": {"api_key": "API_KEY"},
    "anthropic": {"api_key": "API_KEY", "auth_token": "AUTH_TOKEN"},
}
"""By provider, the keys of a backend and the ends of their variables."""

_LIMITS = {
    "openai": "context: 1M",
    "anthropic": "context: 1M, max_tokens: 4096",  # this protocol requires a limit
}
"""The real limits of a model are unknown: the backend enforces them."""


def is_complete(environ: Mapping[str, str]) -> bool:
    """Whether the variables name a model, and how to reach it."""
    return bool(_configured(environ))


def generate(environ: Mapping[str, str]) -> str:
    """The text of the configuration file. It contains no value of a variable except a model's alias."""
    aliases = dict(_aliases(environ))
    lines = ["backends:"]
    lines += [f"  {name}: {_backend(name, environ)}" for name in aliases]
    lines += ["models:"]
    lines += [
        f"  {alias}: {{upstream: '${{{_variable(name, 'MODEL')}}}', backends: [{name}], {_LIMITS[name]}}}"
        for name, alias in aliases.items()
    ]
    lines += [f"roles: {{{ROLE}: {{chain: [{', '.join(repr(alias) for alias in aliases.values())}]}}}}"]
    lines += ['gateway: {listen: ["127.0.0.1:${OPENFALL_PORT:-8309}"]}']
    lines += [f"open_fall: {{notify: {{discord: '${{{DISCORD}:-}}'}}}}"]
    return "\n".join(lines) + "\n"


def name_variable(problem: ConfigProblem) -> ConfigProblem:
    """The problem with the name of the wrong variable instead of a position in the generated text."""
    section, _, rest = problem.path.partition(".")
    name, _, key = rest.partition(".")
    if problem.path == "open_fall.notify.discord":
        return replace(problem, line=0, path=DISCORD, variables=())
    words = {"url": "BASE_URL", "api_key": "API_KEY", "auth_token": "AUTH_TOKEN"}
    variable = _variable(name, words[key]) if section == "backends" and key in words else problem.path
    return replace(problem, line=0, path=variable, variables=())


def _configured(environ: Mapping[str, str]) -> tuple[str, ...]:
    def is_set(name: str, key: str) -> bool:
        return bool(environ.get(_variable(name, key)))

    return tuple(
        name
        for name in PROVIDERS
        if is_set(name, "MODEL") and any(is_set(name, key) for key in (*_CREDENTIALS[name].values(), "BASE_URL"))
    )


def incomplete(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """For each provider of which a variable is set, and another is missing: the missing one, and one that is set."""
    for name in PROVIDERS:
        model = _variable(name, "MODEL")
        keys = [_variable(name, key) for key in (*_CREDENTIALS[name].values(), "BASE_URL")]
        present = [key for key in keys if environ.get(key)]
        if present and not environ.get(model):
            yield model, present[0]
        elif environ.get(model) and not present:
            yield keys[0], model


def misnamed(environ: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """The variables that other programs read as the address of a provider, where openfall's own is not set. The user
    means a server of the house, and the prompts would go to the provider."""
    for name in _configured(environ):
        own = _variable(name, "BASE_URL")
        for other in (_variable(name, "API_BASE"), _variable(name, "API_BASE_URL")):
            if environ.get(other) and not environ.get(own):
                message = f"a variable of this name is not read, and calls would go to the address of {name} itself"
                yield ConfigProblem(ENVIRONMENT, 0, other, message, f"Set {own} to the address that you mean.")


def _variable(name: str, key: str) -> str:
    return f"{name.upper()}_{key}"


def _aliases(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each provider with an alias for its model: the model's own name, as far as aliases allow."""
    used = {ROLE}
    for name in _configured(environ):
        upstream = environ[_variable(name, "MODEL")].rpartition("/")[2].lower()
        alias = re.sub(r"[^a-z0-9_-]+", "-", upstream).strip("-_")[:48]
        if not is_name(alias) or alias in used:
            alias = f"{name}-{alias}".rstrip("-")
        used.add(alias)
        yield name, alias


def _backend(name: str, environ: Mapping[str, str]) -> str:
    url = _variable(name, "BASE_URL")
    credentials = {key: _variable(name, word) for key, word in _CREDENTIALS[name].items()}
    keys = [f"protocol: {name}", "pool: cloud", *(f"{key}: '${{{word}:-}}'" for key, word in credentials.items())]
    if environ.get(url):
        keys.append(f"url: '${{{url}}}'")
    if _OLLAMA_KEY in map(environ.get, credentials.values()) or _is_private(environ.get(url, "")):
        keys.append("billing: flat")
    return f"{{{', '.join(keys)}}}"


def _is_private(url: str) -> bool:
    """Whether an address is on this machine or in a private network, where calls are not metered."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False
