"""A digest of what decides where a job goes, so that members of a fleet notice that they read different files."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from openfall.router_core.catalog.catalog import Catalog

DIGEST_LENGTH = 12

_SECRETS = {"api_key", "api_keys", "auth_token"}
_SHOWN_ONLY = {"quantization"}


def catalog_digest(catalog: Catalog) -> str:
    """The digest of a catalog, without its keys: equal for equal files, whatever the order of their keys.

    Two versions of openfall may have different defaults, and then different digests.
    """
    content: dict[str, Any] = catalog.model_dump(
        mode="json",
        exclude={
            "backends": {"__all__": _SECRETS},
            "models": {"__all__": _SHOWN_ONLY},
        },
    )
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
