"""What an answer may cost this process in memory, whatever an upstream sends.

The reasons and the figures are in docs/decisions.md.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from sys import getsizeof
from types import BuiltinFunctionType, FunctionType, ModuleType

from openfall.router_core.jobs.json_bounds import count_values
from openfall.workers.backends.grown_list import GrownList

MAX_ANSWER_BYTES = 16 * 2**20
"""Of a whole answer, decompressed. The longest texts are under 1 MiB, the largest pictures under 12."""

MAX_STREAM_BYTES = 256 * 2**20
"""Of a streamed answer. Its events repeat names and ids: 300 bytes for each token."""

MAX_STREAM_MEMORY = 64 * 2**20
"""What the assembly of a streamed answer may keep, by `event_memory`: 6,000 tokens with 20 alternatives each."""

MAX_PROCESS_MEMORY = 96 * 2**20
"""What all answers that one process reads may keep together."""

MIN_ANSWER_BYTES = 2**20
"""An answer may be as long as this, however many are read at once."""

ORDINARY_EVENT_BYTES = 512
"""An event of a stream up to this length has a token and its wrapping. Only its text is kept."""

VALUE_BYTES = 64
"""The memory of a value of JSON beside its text: the least that an object of Python takes."""


MEASURED_BYTES = 2**18
"""After this many bytes of events the assembly of a stream is measured: until then 87,000 empty objects may arrive."""

MEASURED_SHARE = 64
"""The larger the assembly, the more bytes arrive until it is measured again: this share of what was measured."""

_LONGEST_NAME_BYTES = 128
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, re.Pattern)


class AnswerTooLarge(Exception):
    """An answer is larger than its bound."""


def event_memory(event: bytes) -> int:
    """About what the assembly of a stream keeps of an event, beside the text of its token."""
    if len(event) <= ORDINARY_EVENT_BYTES:
        return 0
    return len(event) - ORDINARY_EVENT_BYTES + VALUE_BYTES * max(0, count_values(event) - VALUE_BYTES)


def kept_memory(*parts: object) -> Iterator[int]:
    """The memory of what some objects keep, part by part. Of a text only the beginning counts: its characters count as
    they arrive."""
    pending, visited = list(parts), set[int]()
    while pending:
        item = pending.pop()
        if isinstance(item, str | bytes):
            yield min(getsizeof(item), _LONGEST_NAME_BYTES)
        elif id(item) not in visited:
            visited.add(id(item))
            if isinstance(item, GrownList):
                yield from _grown_memory(item)
                continue
            yield getsizeof(item)
            pending += [each for each in gc.get_referents(item) if not isinstance(each, _SHARED)]


def _grown_memory(grown: GrownList) -> Iterator[int]:
    """The memory of a list whose parts do not change: each part is measured once, however often the list is. The
    lists of logprobs are the largest that an answer keeps."""
    for part in islice(grown, grown.measured_parts, None):
        for size in kept_memory(part):
            grown.measured_bytes += size
            yield 0
        grown.measured_parts += 1
    yield getsizeof(grown) + grown.measured_bytes


class AnswerMemory:
    """The memory of the answers that this process reads. The more it reads at once, the less each may be.

    One answer may keep at most as much as is still free, so no answer leaves nothing for the others.
    """

    def __init__(self, total: int = MAX_PROCESS_MEMORY) -> None:
        self.free = total

    @contextmanager
    def reading(self) -> Iterator[KeptBytes]:
        """The memory of one answer, while it is read."""
        kept = KeptBytes(self)
        try:
            yield kept
        finally:
            self.free += kept.size


class KeptBytes:
    """What one answer keeps."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.size = 0

    def take(self, size: int, limit: int) -> None:
        """Keep more. `limit`: the most that it may keep. Raises `AnswerTooLarge`."""
        allowed = min(limit, max(MIN_ANSWER_BYTES, self._memory.free))
        if size and self.size + size > allowed:
            raise AnswerTooLarge(f"the answer is longer than {allowed / 2**20:.3g} MiB")
        self._memory.free -= size
        self.size += size


ANSWER_MEMORY = AnswerMemory()
