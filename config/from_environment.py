"""The configuration that a provider's usual variables make by themselves, where there is no file of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from openfall.config.errors import ConfigProblem
from openfall.config.scalars import is_name

PROVIDERS = ("openai", "anthropic")
"""In the order in which they are asked."""

ROLE = "chat"
DISCORD = "DISCORD_WEBHOOK"
"""Where people want to be told when nothing can serve a job."""

_OLLAMA_KEY = "ollama"
"""What people write as a key where none is wanted."""

_LIMITS = {
    "openai": "context: 1M",
    "anthropic": "context: 1M, max_tokens: 4096",  # this protocol wants to be told
}
"""How much each model takes is not known here: the backend decides."""


def is_complete(environ: Mapping[str, str]) -> bool:
    """Whether the variables name a model, and how to reach it."""
    return bool(_named(environ))


def generate(environ: Mapping[str, str]) -> str:
    """The configuration as a file would have it. No value of a variable stands in it but a model's alias."""
    aliases = dict(_aliases(environ))
    lines = ["backends:"]
    lines += [f"  {name}: {_backend(name, environ)}" for name in aliases]
    lines += ["models:"]
    lines += [
        f"  {alias}: {{upstream: '${{{_variable(name, 'MODEL')}}}', backends: [{name}], {_LIMITS[name]}}}"
        for name, alias in aliases.items()
    ]
    lines += [f"roles: {{{ROLE}: {{chain: [{', '.join(repr(alias) for alias in aliases.values())}]}}}}"]
    lines += [f"open_fall: {{notify: {{discord: '${{{DISCORD}:-}}'}}}}"]
    return "\n".join(lines) + "\n"


def name_variable(problem: ConfigProblem) -> ConfigProblem:
    """A problem as whoever set the variables can understand it: it names the one that is wrong."""
    section, _, rest = problem.path.partition(".")
    name, _, key = rest.partition(".")
    if problem.path == "open_fall.notify.discord":
        return replace(problem, line=0, path=DISCORD, variables=())
    words = {"url": "BASE_URL", "api_key": "API_KEY", "upstream": "MODEL"}
    variable = _variable(name, words[key]) if section == "backends" and key in words else problem.path
    return replace(problem, line=0, path=variable, variables=())


def _named(environ: Mapping[str, str]) -> tuple[str, ...]:
    def told(name: str, key: str) -> bool:
        return bool(environ.get(_variable(name, key)))

    return tuple(
        name for name in PROVIDERS if told(name, "MODEL") and (told(name, "API_KEY") or told(name, "BASE_URL"))
    )


def _variable(name: str, key: str) -> str:
    return f"{name.upper()}_{key}"


def _aliases(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each provider with a name for its model: the model's own, as far as names go."""
    taken = {ROLE}
    for name in _named(environ):
        upstream = environ[_variable(name, "MODEL")].rpartition("/")[2].lower()
        alias = re.sub(r"[^a-z0-9_-]+", "-", upstream).strip("-_")[:48]
        if not is_name(alias) or alias in taken:
            alias = f"{name}-{alias}".rstrip("-")
        taken.add(alias)
        yield name, alias


def _backend(name: str, environ: Mapping[str, str]) -> str:
    url, key = _variable(name, "BASE_URL"), _variable(name, "API_KEY")
    told = [f"protocol: {name}", "pool: cloud", f"api_key: '${{{key}:-}}'"]
    if environ.get(url):
        told.append(f"url: '${{{url}}}'")
    if environ.get(key) == _OLLAMA_KEY or _is_near(environ.get(url, "")):
        told.append("billing: flat")
    return f"{{{', '.join(told)}}}"


def _is_near(url: str) -> bool:
    """Whether an address is on this machine or in this network: nobody is paid there by the token."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False
