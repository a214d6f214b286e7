"""The reading of the lines of a long batch shows its progress."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.batch_run import SLICE, BatchRun
from openfall.producers.local_batches.output_journal import read_journal
from tests.producers.cli.batch_files import line

CONFIG = """
redis: {redis}
pools: {{gpu: {{local: yes}}}}
backends: {{box: {{url: "http://127.0.0.1:9", pool: gpu}}}}
models: {{tiny: {{upstream: tiny-1, backends: [box]}}}}
roles: {{chat: {{chain: [tiny]}}}}
"""


def test_the_lines_that_are_read_are_counted(redis_url: str, tmp_path: Path) -> None:
    lines, config = tmp_path / "in.jsonl", tmp_path / "openfall.yaml"
    config.write_text(CONFIG.format(redis=redis_url))
    lines.write_text("".join(f"{line(str(number), 'dusk')}\n" for number in range(2 * SLICE + 1)))
    read: list[int] = []

    async def main() -> dict[str, str | None]:
        async with AsyncOpenfall(config=load(config)) as llm:
            run = BatchRun(llm, BatchPlan(name="dusk", source=lines, role="chat"), read_journal(tmp_path / "out.jsonl"))
            run.on_read = read.append
            return await run.job_states()

    states = asyncio.run(main())
    assert read == [SLICE, 2 * SLICE]
    assert len(states) == 2 * SLICE + 1
    assert set(states.values()) == {None}
