"""A process-local TLS terminator before a Valkey that has no TLS, and certificates made by openssl."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path


class Authority:
    """A certificate authority in a directory. `issue` gives the files of a certificate and its key."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self.file, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        options = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        self._openssl(
            "req", "-x509", "-subj", f"/CN={name}", "-out", str(self.file), *self._new_key(self._key), *options
        )

    def issue(self, name: str, host: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        file, key, request = (self._directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extension = self._directory / f"{name}.ext"
        extension.write_text(f"subjectAltName={host}\n")
        self._openssl("req", "-subj", f"/CN={name}", "-out", str(request), *self._new_key(key))
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey", str(self._key), "-CAcreateserial",
            "-days", str(days), "-extfile", str(extension), "-out", str(file),
        )  # fmt: skip
        return file, key

    def _new_key(self, key: Path) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key))

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextlib.asynccontextmanager
async def tls_before(socket: Path, certificate: tuple[Path, Path], clients: Path | None = None) -> AsyncIterator[int]:
    """The port of a TLS terminator before a server's socket. `clients`: the authority of those that may connect."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)

    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(str(socket))
        pumps = pump(reader, back_writer), pump(back_reader, writer)
        tasks.update(map(asyncio.ensure_future, pumps))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports end in the next turn of the loop
