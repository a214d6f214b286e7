"""A body is read by its bytes, whatever compression its head names."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.decompression import PART_BYTES, Decompressor, Undecodable
from tests.faults import COMPLETION, raw
from tests.workers.backends.openai_calls import ask

WHOLE = orjson.dumps(COMPLETION)
TEXT = COMPLETION["choices"][0]["message"]["content"]
RAW_DEFLATE = zlib.compressobj(wbits=-15)
DEFLATED = RAW_DEFLATE.compress(WHOLE) + RAW_DEFLATE.flush()
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def decompressed(encoding: str, *chunks: bytes) -> bytes:
    stream = Decompressor(encoding)
    return b"".join([*(part for chunk in chunks for part in stream.feed(chunk)), *stream.end()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "utf-8", "none", "identity", ""])
def test_a_plain_body_is_read_whatever_compression_its_head_names(encoding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
    outcome = ask(raw(head.encode() + b"Connection: close\r\n\r\n" + WHOLE))
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == TEXT
    assert decompressed(encoding, EVENTS) == EVENTS
    assert decompressed(encoding, b"", b"{", b"}") == b"{}"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(WHOLE)),
        ("", gzip.compress(WHOLE)),
        ("br", gzip.compress(WHOLE)),
        ("gzip", gzip.compress(WHOLE[:9]) + gzip.compress(WHOLE[9:]) + b"\0\0"),
        ("gzip, gzip", gzip.compress(gzip.compress(WHOLE))),
        ("gzip", gzip.compress(gzip.compress(WHOLE))),
        ("deflate", zlib.compress(WHOLE)),
        ("deflate", DEFLATED),
        ("gzip, deflate", DEFLATED),
        ("", zlib.compress(WHOLE)),
        ("gzip", zlib.compress(WHOLE)),
    ],
)
def test_a_compressed_body_is_decompressed_wherever_it_is_cut(encoding: str, body: bytes) -> None:
    for step in (1, 2, 7, len(body)):
        chunks = [body[start : start + step] for start in range(0, len(body), step)]
        assert decompressed(encoding, *chunks) == WHOLE


def test_a_body_that_was_compressed_three_times_is_not_decompressed_to_its_end() -> None:
    twice = gzip.compress(gzip.compress(WHOLE))
    assert decompressed("gzip", gzip.compress(twice)) == gzip.compress(WHOLE)
    assert decompressed("gzip", gzip.compress(b"{")) == b"{"


def test_a_bomb_is_decompressed_in_small_parts() -> None:
    bomb = gzip.compress(bytes(2**22))
    for body in (bomb, gzip.compress(bomb)):
        assert max(map(len, Decompressor("gzip").feed(body))) <= PART_BYTES


def test_a_body_of_many_empty_files_leaves_the_loop_to_others_after_each() -> None:
    assert len(list(Decompressor("gzip").feed(gzip.compress(b"") * 5_000))) >= 5_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"\x8b\x05\x80Hi\x03"),
        ("gzip, br", b"\x8b\x05\x80Hi\x03"),
        ("", b"\x28\xb5\x2f\xfd\x04\x58"),
        ("gzip", b"\x1f\x8bbroken bytes"),
        ("deflate", b"\x07\xff"),
    ],
)
def test_bytes_that_no_form_explains_are_malformed_with_the_reason(encoding: str, body: bytes) -> None:
    with pytest.raises(Undecodable):
        decompressed(encoding, body)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    outcome = ask(raw(head.encode() + body))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.MALFORMED
    assert "compressed" in outcome.detail
