"""The section `redis`: one address, or a mapping of keys."""

from __future__ import annotations

from typing import Any

import yaml

from openfall.config.fields import build, keys_of, model_shape, write_entry
from openfall.config.redis_formats import EMBEDDED
from openfall.config.scalars import FieldType
from openfall.config.yaml_document import TEXT, Document, Node
from openfall.router_core.catalog.redis_server import RedisServer, contradictions

DEFAULT_REDIS = "${REDIS_URL:-embedded}"


def read_redis(node: Node) -> RedisServer:
    """The server of a section. A mapping that names none has that of $REDIS_URL."""
    if node.is_list:
        node.report("must be an address or a mapping of keys", "See the section `redis` in docs/configuration.md.")
        return RedisServer()
    if not node.is_mapping:
        return RedisServer(url=_url(node))
    server = build(RedisServer, node)
    if server.is_embedded and not {"url", "sentinels"} & node.entries().keys():
        server = server.model_copy(update={"url": default_redis(node.document, node.line).url})
    for key, message, remedy in contradictions(server):
        node.find(key).report(message, remedy)
    return server


def default_redis(document: Document, line: int = 0) -> RedisServer:
    """The server of a file that names none: `line` is that of its section, if it has one."""
    return RedisServer(url=_url(Node(document, "redis", line, yaml.ScalarNode(TEXT, DEFAULT_REDIS))))


def _url(node: Node) -> str | None:
    url: str | None = keys_of(RedisServer)["url"].type.read(node)
    return url


def _write(server: RedisServer) -> Any:
    """One address if there is no more to write, else the mapping without its defaults."""
    default = RedisServer()
    changed = {name for name in RedisServer.model_fields if getattr(server, name) != getattr(default, name)}
    if not changed:
        return EMBEDDED
    written = write_entry(server)
    if changed == {"url"}:
        return written["url"]
    return {name: value for name, value in written.items() if name in changed}


_SHAPE = model_shape(RedisServer)

redis_section: FieldType[RedisServer] = FieldType(read_redis, {**_SHAPE, "type": ["string", *_SHAPE["type"]]}, _write)
