"""Claims of batches: one process of a gateway at a time runs a batch. One that lost its claim writes nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.router_core.batch_rules.batch_status import BatchStatus
from openfall.router_core.state.batches import KEEP_SECONDS
from openfall.router_core.state.decoding import read_moment, read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.stored_files import StoredFile, file_arguments
from openfall.router_core.unknown_words import carry_word

LEASE_SECONDS = 10.0
"""A batch whose runner has not renewed its lease for this long is taken over."""


@dataclass(frozen=True, slots=True)
class RenewalReply:
    """The reply to a renewal. Not `held`: another runner has claimed the batch, and nothing was written."""

    held: bool
    status: BatchStatus
    now: float


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """The right to run a batch. `number` is the fence: a later claim has a higher one."""

    link: RedisConnection
    batch_id: str
    directory: str
    number: int

    async def renew(
        self,
        *,
        values: Mapping[str, Any] | None = None,
        status: tuple[BatchStatus, Iterable[BatchStatus]] | None = None,
        handled: Sequence[str] = (),
        lease_seconds: float = LEASE_SECONDS,
    ) -> RenewalReply:
        """Renew the lease, and write what was done. `status`: the next one, and those that it may follow. `handled`:
        entries of the inbox and their jobs, in turn. Without a lease the next runner may claim the batch at once."""
        arguments = {
            **self._arguments,
            "lease_ms": int(lease_seconds * 1000),
            "set": dict(values) if values else None,
            "status": status[0] if status else None,
            "from": list(status[1]) if status else None,
            "entries": list(handled) or None,
        }
        held, word, now = await self.link.script("batch_renew", arguments)
        return RenewalReply(bool(held), carry_word(BatchStatus, read_text(word)), read_moment(now))

    async def end(
        self,
        status: BatchStatus,
        *,
        values: Mapping[str, Any],
        files: Sequence[StoredFile] = (),
        webhook: bool = False,
    ) -> bool:
        """Write the end of the batch, with its files. False: another runner has claimed it."""
        arguments = {
            **self._arguments,
            "status": status,
            "set": dict(values) or None,
            "keep_s": KEEP_SECONDS,
            "files": [file_arguments(file) for file in files],
            "webhook": webhook or None,
        }
        reply = await self.link.script("batch_end", arguments, *(file.model_dump_json() for file in files))
        return bool(reply[0])

    @property
    def _arguments(self) -> dict[str, Any]:
        inbox = f"batch.{self.batch_id}"
        return {"id": self.batch_id, "directory": self.directory, "claim": self.number, "inbox": inbox}


async def claim_batches(link: RedisConnection, directory: str, runner: str, limit: int) -> list[BatchClaim]:
    """Claim batches of a directory that have no runner."""
    lease_ms = int(LEASE_SECONDS * 1000)
    arguments = {"directory": directory, "runner": runner, "lease_ms": lease_ms, "limit": limit}
    reply = [read_text(each) for each in await link.script("batch_claim", arguments)]
    return [BatchClaim(link, id_, directory, int(number)) for id_, number in zip(reply[::2], reply[1::2], strict=True)]
