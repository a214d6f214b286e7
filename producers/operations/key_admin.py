"""Creates and revokes keys of the HTTP gateway."""

from __future__ import annotations

from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.state import client_keys
from openfall.router_core.state.client_keys import ClientKey


async def create_key(operator: Operator, key: ClientKey) -> bool:
    """Store a key. False: another key has this name."""
    created = await client_keys.add_key(operator.link, key)
    if created:
        await operator.note("key.new", key.name, f"page: {key.page_right or 'no'}{', admin' if key.admin else ''}")
    return created


async def revoke_key(operator: Operator, name: str) -> None:
    """End a key, and every sign-in at the page with it. Raises `UnknownName`."""
    if not await client_keys.revoke_key(operator.link, name):
        known = await client_keys.fetch_keys(operator.link)
        raise UnknownName("key", name, [key.name for key in known.by_digest.values()])
    await operator.note("key.revoke", name)
