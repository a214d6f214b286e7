"""The writer of pieces: the first at once, the next together, the end without a wait, and nothing lost or doubled."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.jobs.stream_pieces import TextPiece
from openfall.router_core.state.errors import StoreUnreachable
from openfall.workers.execution import piece_writer
from openfall.workers.execution.piece_writer import PieceWriter


class Store:
    """Takes batches of events. `answers` says what it does with the first ones: True, False, an error, or the
    number of the last batch that it has."""

    def __init__(self, *answers: bool | int | Exception) -> None:
        self.batches: list[tuple[int, list[bytes]]] = []
        self.written = asyncio.Event()
        self._answers = list(answers)

    async def emit(self, events: list[bytes], batch: int) -> int | None:
        self.batches.append((batch, events))
        self.written.set()
        verdict = self._answers.pop(0) if self._answers else True
        if isinstance(verdict, Exception):
            raise verdict
        if isinstance(verdict, bool):
            return batch if verdict else None
        return verdict


def delta(text: str) -> bytes:
    return b'{"event":"delta","text":"%s"}' % text.encode()


@pytest.fixture
def _endless_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_writer, "GATHER_SECONDS", 3600.0)


@pytest.mark.usefixtures("_endless_gathering")
def test_the_first_piece_is_written_at_once_the_next_are_gathered_and_the_end_does_not_wait() -> None:
    async def story() -> None:
        store = Store()
        writer = PieceWriter(store.emit, lambda: None)
        writer.add([TextPiece(0, "Lan")])
        await store.written.wait()
        for text in ("tern ", "festi", "val"):
            writer.add([TextPiece(0, text)])
        await asyncio.sleep(0)
        assert store.batches == [(1, [delta("Lan")])]
        await writer.finish()
        assert store.batches == [(1, [delta("Lan")]), (2, [delta("tern festival")])]

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_batch_that_redis_may_have_taken_is_sent_again_under_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_writer, "GATHER_SECONDS", 0.0)

    async def story() -> None:
        store = Store(StoreUnreachable("away"), StoreUnreachable("away"), True)
        writer = PieceWriter(store.emit, lambda: None)
        writer.add([TextPiece(0, "Lan")])
        while len(store.batches) < 2:
            await asyncio.sleep(0)
        writer.add([TextPiece(0, "tern")])
        while len(store.batches) < 4:
            await asyncio.sleep(0)
        await writer.finish()
        assert store.batches == [(1, [delta("Lan")])] * 3 + [(2, [delta("tern")])]

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.usefixtures("_endless_gathering")
def test_the_end_is_tried_once_while_redis_does_not_answer() -> None:
    async def story() -> None:
        store = Store(True, StoreUnreachable("away"))
        writer = PieceWriter(store.emit, lambda: None)
        writer.add([TextPiece(0, "Lan")])
        await store.written.wait()
        writer.add([TextPiece(0, "tern")])
        await writer.finish()
        assert [batch for batch, _ in store.batches] == [1, 2]

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_lost_lease_ends_the_writing() -> None:
    async def story() -> None:
        store, lost = Store(False), asyncio.Event()
        writer = PieceWriter(store.emit, lost.set)
        writer.add([TextPiece(0, "Lan")])
        await lost.wait()
        await writer.finish()
        assert [batch for batch, _ in store.batches] == [1]

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.parametrize("known", [0, 1, 2])
def test_what_a_failover_has_lost_is_written_again_in_order(monkeypatch: pytest.MonkeyPatch, known: int) -> None:
    monkeypatch.setattr(piece_writer, "GATHER_SECONDS", 0.0)
    words = [delta("a"), delta("b"), delta("c"), delta("d")]

    async def story() -> None:
        store = Store(True, True, True, known)
        writer = PieceWriter(store.emit, lambda: None)
        for number, text in enumerate("abcd", 1):
            writer.add([TextPiece(0, text)])
            while len(store.batches) < number:
                await asyncio.sleep(0)
        await writer.finish()
        numbers = [1, 2, 3, 4, *range(known + 1, 5)]
        assert store.batches == [(number, [words[number - 1]]) for number in numbers]

    asyncio.run(asyncio.wait_for(story(), 60))
