"""A Redis 6.2 at the level of its protocol. Its answers are those of redis-server 6.2.14.

With OPENFALL_TEST_OLD_SERVER, the path of a redis-server older than 7.0, the tests use that one.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INFO = (
    "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n\r\n# Memory\r\nused_memory:874040\r\nmaxmemory:0\r\n"
    "maxmemory_policy:noeviction\r\n\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\r\n"
    "# Replication\r\nrole:master\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n"
)
_CONFIG = {
    "append*": ("appendonly", "yes", "appendfsync", "everysec"),
    "maxmemory*": ("maxmemory", "0", "maxmemory-policy", "noeviction"),
}


def _bulk(text: str) -> str:
    return f"${len(text)}\r\n{text}\r\n"


def _array(texts: tuple[str, ...]) -> str:
    return f"*{len(texts)}\r\n" + "".join(map(_bulk, texts))


REPLIES = {
    "INFO": _bulk(INFO),
    "EVAL": "*1\r\n$-1\r\n",  # of a script that finds no `redis.acl_check_cmd`: `{false}`
    "TIME": _array(("1800000000", "0")),
    "PING": "+PONG\r\n",
    "FCALL": "-ERR unknown command `FCALL`, with args beginning with: \r\n",
    "FUNCTION": "-ERR unknown command `FUNCTION`, with args beginning with: \r\n",
    "ZCARD": ":0\r\n",
    "EXISTS": ":0\r\n",
    "GET": "$-1\r\n",
    "HGET": "$-1\r\n",
}
"""Any other command is answered with an empty list."""


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            self.wfile.write(self._reply(words[0].upper(), words[1:]).encode())

    def _word(self) -> str:
        text = self.rfile.read(int(self.rfile.readline()[1:]) + 2)
        return text[:-2].decode()

    def _reply(self, command: str, arguments: list[str]) -> str:
        if command == "CONFIG":
            return _array(_CONFIG[arguments[1]])
        return REPLIES.get(command, "*0\r\n")


@contextmanager
def old_redis(path: Path) -> Iterator[None]:
    """A server on a unix socket at `path`."""
    with socketserver.ThreadingUnixStreamServer(str(path), _Connection) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="old-redis")
        thread.start()
        yield
        server.shutdown()
        thread.join()
