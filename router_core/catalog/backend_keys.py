"""Checks of the keys of a backend. No message repeats one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog_errors import CatalogProblem

_QUOTES = ("'", '"')
_VARIABLE = re.compile(
    r"\$(env:)?[A-Za-z_]\w*|%[A-Za-z_]\w*%|(os\.environ/|env:|ENV:|env\.|process\.env\.)[A-Za-z_]\w*|\{\{?.*\}\}?|<.*>"
)
"""How other programs name a variable, or what a page writes in the place of a key."""

_PLACEHOLDERS = re.compile(
    r"""
    .*\byour\b.* | .*[-_]your[-_].* | your.*(key|token|secret).*   # sk-your-key-here, YOUR_API_KEY, yourkey
    | .*(change|replace)[-_]?(me|this).* | .*placeholder.* | .*(insert|paste|put|enter)[-_].*key.*
    | .*(key|token|secret)[-_]?(goes[-_]?)?here | (my[-_])?(api[-_]?)?(key|token|secret) | todo | tbd | none | null
    | .*<.*>.* | .*\.\.\. | ([a-z0-9]{2,5}[-_])*(?P<filler>[x*0._-])(?P=filler){2,}     # sk-<key>, sk-ant-..., sk-xxxx
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What examples write in the place of a key."""


def is_placeholder(key: str) -> bool:
    """Whether a key is a text that stands for one."""
    return _PLACEHOLDERS.fullmatch(key.strip()) is not None


def validate_keys(name: str, backend: Backend) -> Iterator[CatalogProblem]:
    """Problems of the keys of one backend."""
    path = f"backends.{name}.api_keys"
    yield from _unsendable(name, backend)
    if not backend.api_keys:
        return
    if backend.api_key.get_secret_value():
        yield CatalogProblem(path, "there is an api_key too: write all keys in api_keys")
    if backend.has_auth_token:
        yield CatalogProblem(path, "there is an auth_token too, which would be sent in place of every key: remove one")
    elif not backend.secrets:
        yield CatalogProblem(path, "none of its keys has a value: set their variables, or remove api_keys")
    if len(set(backend.secrets)) < len(backend.secrets):
        yield CatalogProblem(path, "it lists a key twice: two variables may have the same value")


def _unsendable(name: str, backend: Backend) -> Iterator[CatalogProblem]:
    """Keys that were not copied as their provider shows them. Blanks and line ends around a key do no harm."""
    field = "auth_token" if backend.has_auth_token else "api_keys" if backend.api_keys else "api_key"
    keys = [secret.strip() for secret in backend.secrets]
    if any(key.lower().startswith("bearer ") for key in keys):
        message = 'it begins with "Bearer", which openfall writes itself: remove that word'
        yield CatalogProblem(f"backends.{name}.{field}", message)
    elif any(_VARIABLE.fullmatch(key) for key in keys):
        message = "it is the name of a variable, or a placeholder: write the variable as ${NAME}, in quotes"
        yield CatalogProblem(f"backends.{name}.{field}", message)
    elif not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        yield CatalogProblem(f"backends.{name}.{field}", "it has characters that no key has: copy it again")
    elif any(key[:1] in _QUOTES and key[:1] == key[-1:] for key in keys if key):
        message = "it has quotes around it: remove them where its value stands (`docker --env-file` keeps quotes)"
        yield CatalogProblem(f"backends.{name}.{field}", message)
