"""Creates and revokes keys of the HTTP gateway."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError

from openfall.producers.callbacks import callback_options
from openfall.producers.errors import BadRequest
from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state import client_keys
from openfall.router_core.state.client_keys import RESERVED_NAMES, ClientKey, digest_of, new_secret


async def create_key(operator: Operator, name: str, **rights: Any) -> tuple[str, ClientKey]:
    """Create a key: its secret, which is kept nowhere, and what it may do. Raises `BadRequest`, `UnknownName`."""
    secret = new_secret()
    try:
        key = ClientKey(name=name, digest=digest_of(secret), created_at=time.time(), **rights)
    except ValidationError:
        raise BadRequest("the name of a key has 1 to 64 letters, digits, `_`, `.`, `@` or `-`") from None
    if name in RESERVED_NAMES:
        raise BadRequest(f"{name!r} is the producer of callers without a key: choose another name")
    _check_names(operator, key)
    callback_options({"webhook": key.webhook}, operator.llm.config.settings)
    if not await client_keys.add_key(operator.link, key):
        raise BadRequest(f"there is a key {name!r} already: revoke it first, or choose another name")
    await operator.note("key.new", key.name, f"page: {key.page_right or 'no'}{', admin' if key.admin else ''}")
    return secret, key


def _check_names(operator: Operator, key: ClientKey) -> None:
    """Raises `UnknownName` for one that the configuration does not know."""
    catalog = operator.catalog
    known = [*catalog.roles, *catalog.tasks, *catalog.models, "auto"]
    for name in key.names:
        if name not in known:
            raise UnknownName("role, task or model", name, known)


async def revoke_key(operator: Operator, name: str) -> None:
    """End a key, and every sign-in at the page with it. Raises `UnknownName`."""
    if not await client_keys.revoke_key(operator.link, name):
        known = await client_keys.fetch_keys(operator.link)
        raise UnknownName("key", name, [*(key.name for key in known.by_digest.values()), *known.unreadable])
    await operator.note("key.revoke", name)
