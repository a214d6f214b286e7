"""Decompresses the body of a response, in bounded parts. Its first bytes say whether it is compressed at all.

openfall asks for no compression. Some gateways compress all the same, some name a compression that they have undone,
and some forget to name one. Every compressed form begins with bytes that no JSON, event or web page begins with.
"""

from __future__ import annotations

import re
import zlib
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Iterator

import aiohttp

from openfall.workers.backends.transport import read_available

PART_BYTES = 32 * 2**10
"""The most bytes that one step decompresses."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""By level. `deflate` means this form, and some servers send the bytes without it."""

_MIN_HEAD = 2
_TEXT_STARTS = frozenset(b' \t\r\n{["<:-0123456789deirntfDEIRNTF\xef\xfe\xff')
"""How JSON, events (`data:`, `id:`, `retry:`), marks of byte order and web pages begin."""

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
HEAD_BYTES = 64
"""The first bytes show whether a body is text: a compressed body has a control character among this many."""

_RAW, _ZLIB, _OF_GZIP = -zlib.MAX_WBITS, zlib.MAX_WBITS, zlib.MAX_WBITS + 16

UNREADABLE = "the answer is compressed in a way that openfall does not read; it asks for none"


class Undecodable(aiohttp.ClientPayloadError):
    """The bytes of a body cannot be decompressed. Its text says why."""


def _is_text(head: bytes) -> bool:
    if head[0] not in _TEXT_STARTS or _CONTROL.search(head[:HEAD_BYTES]):
        return False
    try:
        getincrementaldecoder("utf-8")().decode(head[:HEAD_BYTES])
    except UnicodeDecodeError:
        return False
    return True


class Decompressor:
    """The bytes of one body, decompressed as its beginning demands."""

    def __init__(self, encoding: str, *, is_inner: bool = False) -> None:
        self._encoding = encoding.strip().lower()
        self._head = b""
        self._is_begun = self._is_member_over = False
        self._bits: int | None = None
        self._inner = None if is_inner else Decompressor("", is_inner=True)
        """Decompresses what is still compressed: two servers have compressed the body, one after the other."""
        self._stream: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The next parts, each after a bounded step. A step may decompress to nothing. Raises `Undecodable`."""
        if not self._is_begun:
            self._head += chunk
            if len(self._head) < _MIN_HEAD:
                return
            chunk = self._begin()
        if self._bits is None:
            yield chunk
            return
        try:
            for start in range(0, len(chunk), PART_BYTES):
                for part in self._inflate(chunk[start : start + PART_BYTES], self._bits):
                    yield from self._inner.feed(part) if part and self._inner else [part]
        except zlib.error:
            raise Undecodable("the compressed answer is damaged") from None

    def end(self) -> Iterator[bytes]:
        """What is left at the end: a body of one byte."""
        if not self._is_begun and self._head:
            yield self._begin()
        if self._inner is not None:
            yield from self._inner.end()

    def _begin(self) -> bytes:
        head, self._head, self._is_begun = self._head, b"", True
        if head.startswith(_GZIP):
            self._bits = _OF_GZIP
        elif head.startswith(_ZSTD):
            raise Undecodable(UNREADABLE)
        elif not _is_text(head):
            names = set(re.split(r"[,\s]+", self._encoding))
            if head.startswith(_ZLIB_HEADS):
                self._bits = _ZLIB
            elif "deflate" in names:
                self._bits = _RAW
            elif names & {"br", "zstd", "compress"}:
                raise Undecodable(UNREADABLE)
        return head

    def _inflate(self, data: bytes, bits: int) -> Iterator[bytes]:
        while data and (not self._is_member_over or data[0] == _GZIP[0]):
            self._is_member_over = False
            stream = self._stream = self._stream or zlib.decompressobj(bits)
            part = stream.decompress(data, PART_BYTES)
            data = stream.unconsumed_tail
            yield part
            if stream.eof:  # a gzip may have several members; anything else behind one is ignored
                self._stream, data, self._is_member_over = None, stream.unused_data, True


async def decompressed(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body of a response as it arrives. Raises `aiohttp.ClientError`."""
    decompressor = Decompressor(response.headers.get("content-encoding", ""))
    while chunk := await read_available(response.content):
        for part in filter(None, decompressor.feed(chunk)):
            yield part
    for part in decompressor.end():
        yield part
