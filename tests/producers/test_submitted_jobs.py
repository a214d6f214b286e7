"""The ids of the jobs of a batch are kept while its lines wait, and derived where they are not kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.output_journal import Journal, JournalState
from openfall.producers.local_batches.saved_plans import jobs_path
from openfall.producers.local_batches.submitted_jobs import SubmittedJobs
from tests.producers.cli.batch_files import line

IDS = ["0" * 31 + str(number) for number in range(3)]


def test_ids_are_read_as_they_were_added_and_the_later_of_two_counts(tmp_path: Path) -> None:
    path = tmp_path / "batches" / "n.jobs"
    SubmittedJobs(path, "terms").add([("a", IDS[0]), ('b "\n日', IDS[1])])
    SubmittedJobs(path, "terms").add([("a", IDS[2])])
    assert SubmittedJobs(path, "terms").read() == {"a": IDS[2], 'b "\n日': IDS[1]}
    assert SubmittedJobs(path, "other terms").read() == {}
    SubmittedJobs(path, "other terms").add([("a", IDS[1])])
    assert SubmittedJobs(path, "terms").read() == {}
    assert SubmittedJobs(path, "other terms").read() == {"a": IDS[1]}
    SubmittedJobs(path, "other terms").remove()
    assert not path.exists()


@pytest.mark.parametrize("damage", [b"", b"garbage", b"terms\n" + IDS[0].encode() + b' "a', b'terms\nx "a"\n\xff\n'])
def test_a_file_that_is_damaged_has_no_id_and_one_that_cannot_be_written_is_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "n.jobs"
    path.write_bytes(damage)
    assert SubmittedJobs(path, "terms").read() == {}
    SubmittedJobs(path / "below", "terms").add([("a", IDS[0])])
    assert SubmittedJobs(path / "below", "terms").read() == {}


def test_a_batch_whose_lines_wait_has_the_same_jobs_with_the_file_and_without(
    config_file: Path, redis_url: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f"{line(f'line-{number}', 'x')}\n" for number in range(5)))
    loaded = load(config_file, environ={"REDIS_URL": redis_url})
    plan, path = BatchPlan(name="n", source=source), jobs_path(loaded.settings.data_dir, "n")

    async def main() -> None:
        async with AsyncOpenfall(config=loaded) as llm:
            run = BatchRun(llm, plan, JournalState())
            with Journal(out) as journal:
                running = asyncio.create_task(run.run(journal))
                while run.in_queue < 5:
                    await asyncio.sleep(0.01)
                running.cancel()
                await asyncio.wait([running])
            states = await BatchRun(llm, plan, JournalState()).job_states()
            assert (len(states), set(states.values())) == (5, {"queued"})
            kept = path.read_bytes()
            path.unlink()
            assert await BatchRun(llm, plan, JournalState()).job_states() == states
            job_id = next(iter(states))
            path.write_bytes(kept.replace(job_id.encode(), b"0" * 24 + job_id[24:].encode()))
            assert list((await BatchRun(llm, plan, JournalState()).job_states()).values()).count(None) == 1, (
                "it is read"
            )
            source.write_text(source.read_text().replace('"x"', '"edited"'))
            assert set((await BatchRun(llm, plan, JournalState()).job_states()).values()) == {None}

    asyncio.run(main())
