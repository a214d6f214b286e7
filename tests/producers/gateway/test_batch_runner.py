"""The runner of a batch: lost leases, full disks and queues, and what other programs do to its keys."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from openfall.producers import submit_retries
from openfall.producers.gateway.batches import batch_execution
from openfall.producers.gateway.batches.batch_input import batch_folder
from openfall.producers.gateway.batches.batch_journal import BatchJournal
from openfall.producers.gateway.batches.result_rows import Line, RowWriter
from openfall.producers.gateway.file_cleanup import examine_folders
from openfall.router_core.batch_rules.line_job_ids import job_id_of
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.batch_claims import BatchClaim, claim_batches
from openfall.router_core.state.jobs import end_job
from tests.faults import COMPLETION, answer, stall
from tests.full_disk import full_disk
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import openai_client
from tests.producers.gateway.test_batches import chats, create, ended, line, rows


class Gate:
    """An upstream that answers once it is open."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        await self.is_open.wait()
        await answer(COMPLETION)(writer)


async def submitted(client: Any, batch_id: str, count: int) -> None:
    while (await client.batches.retrieve(batch_id)).openfall["submitted"] < count:
        await asyncio.sleep(0.01)


async def steal(gateway: RunningGateway, batch_id: str) -> BatchClaim:
    """Claim a batch as another runner does when the lease has ended."""
    directory = gateway.instance.directory.id
    await gateway.link.command("ZADD", keys.OPEN_BATCHES + directory, 0, batch_id)
    claims = await claim_batches(gateway.link, directory, "another", 8)
    assert [claim.batch_id for claim in claims] == [batch_id]
    return claims[0]


def test_a_runner_goes_on_where_one_was_killed_between_its_disk_and_its_acknowledgement(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        gate = Gate()
        async with open_gateway(redis_url, tmp_path, gate) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(4))).id
            await submitted(client, batch_id, 4)
            claim = await steal(gateway, batch_id)
            journal = BatchJournal(batch_folder(gateway.instance.directory.path, batch_id), claim.number, 4)
            journal.open()
            gate.is_open.set()
            while await gateway.link.command("XLEN", f"{keys.INBOX}batch.{batch_id}") < 4:
                await asyncio.sleep(0.01)
            written = Line(2, "line-2", job_id_of(batch_id, 2), {})
            journal.add([RowWriter("openai").answered(written, {"kept": True})])
            journal.close()
            assert (await claim.renew(lease_seconds=0)).held
            batch = await ended(client, batch_id)
            output = await rows(client, batch.output_file_id)
            bought = len(gateway.upstream.calls_received)
        assert sorted(output) == [f"line-{number}" for number in range(4)]
        assert output["line-2"]["response"]["body"] == {"kept": True}
        assert bought == 4

    run(main)


def test_a_runner_that_has_lost_its_batch_writes_nothing_more(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(2))).id
            await submitted(client, batch_id, 2)
            first = BatchClaim(gateway.link, batch_id, gateway.instance.directory.id, 1)
            assert (await first.renew()).held
            await steal(gateway, batch_id)
            reply = await first.renew(values={"succeeded": 9})
            assert not reply.held
            assert not await first.end(batch_execution.BatchStatus.COMPLETED, values={})
            batch = await client.batches.retrieve(batch_id)
            assert (batch.status, batch.request_counts.completed) == ("in_progress", 0)
            await client.batches.cancel(batch_id)

    run(main)


def test_a_full_disk_stops_a_batch_says_so_and_loses_nothing(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_execution, "DISK_PAUSE_SECONDS", 0.05)

    async def main() -> None:
        gate = Gate()
        async with open_gateway(redis_url, tmp_path, gate) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(30))).id
            await submitted(client, batch_id, 30)
            with full_disk(2048):
                gate.is_open.set()
                while "cannot be written" not in str((await client.batches.retrieve(batch_id)).openfall["why"]):
                    await asyncio.sleep(0.01)
            batch = await ended(client, batch_id)
            output = await rows(client, batch.output_file_id)
        assert (len(output), batch.openfall["why"]) == (30, None)

    run(main)


def test_a_full_queue_only_slows_a_batch(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_retries, "MAX_BACKPRESSURE_PAUSE_SECONDS", 0.1)

    async def main() -> None:
        more = "urgency: {batch: {max_queued: 5}}"
        async with (
            open_gateway(redis_url, tmp_path, answer(COMPLETION), more=more, slots=2) as gateway,
            openai_client(gateway) as client,
        ):
            batch = await ended(client, (await create(client, chats(12))).id)
        assert batch.request_counts.completed == 12

    run(main)


def test_results_that_another_program_took_out_of_the_inbox_are_in_the_output(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_execution, "RECONCILE_SECONDS", 0.2)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(3))).id
            await submitted(client, batch_id, 3)
            inbox = f"{keys.INBOX}batch.{batch_id}"
            await gateway.link.command("SET", inbox, "garbage")
            await gateway.instance.client.cancel(job_id_of(batch_id, 0))
            lost = job_id_of(batch_id, 1)
            for losses in range(2):
                await gateway.link.command("DEL", keys.RECORD + lost, keys.PROMPT + lost)
                if losses == 0:
                    await gateway.link.command("DEL", inbox)
                    while not await gateway.link.command("EXISTS", keys.RECORD + lost):  # it is submitted again, once
                        await asyncio.sleep(0.05)
            await gateway.instance.client.cancel(job_id_of(batch_id, 2))
            batch = await ended(client, batch_id)
            errors = await rows(client, batch.error_file_id)
        assert sorted(errors) == ["line-0", "line-1", "line-2"]
        assert batch.status == "completed"
        assert errors["line-0"]["response"]["status_code"] == 499
        assert "no longer known" in errors["line-1"]["response"]["body"]["error"]["message"]

    run(main)


def test_a_batch_that_the_list_of_open_ones_has_lost_gets_a_runner_again(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(1))).id
            await submitted(client, batch_id, 1)
            folder = gateway.instance.directory
            await gateway.link.command("SET", keys.OPEN_BATCHES + folder.id, "garbage")
            await gateway.instance.batch_runner.release()
            assert await claim_batches(gateway.link, folder.id, "another", 8) == []
            await examine_folders(gateway.link, folder, time.time())
            assert (await client.batches.cancel(batch_id)).status == "cancelling"
            batch = await ended(client, batch_id)
            assert (batch.status, batch.request_counts.failed) == ("cancelled", 1)
            unknown = batch_folder(folder.path, "batch_0")
            unknown.mkdir()
            await examine_folders(gateway.link, folder, time.time())
            assert unknown.is_dir()
            await examine_folders(gateway.link, folder, time.time() + 41 * 86400)
            assert not unknown.is_dir()

    run(main)


def test_an_input_that_is_gone_fails_its_batch(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(1))).id
            await submitted(client, batch_id, 1)
            (batch_folder(gateway.instance.directory.path, batch_id) / "input.jsonl").unlink()
            await gateway.instance.batch_runner.release()
            batch = await ended(client, batch_id)
        assert [each.code for each in batch.errors.data] == ["input_missing"]

    run(main)


def test_an_unexpected_error_of_one_line_is_in_its_row_and_stops_no_other(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            lines = [line("odd", "/v1/completions", prompt="x"), line("fine", "/v1/completions", prompt="y")]
            batch_id = (await create(client, lines, "/v1/completions")).id
            await submitted(client, batch_id, 2)
            for index, choices in enumerate((7, [{"message": {"content": "z"}}])):
                body = {"choices": choices}
                result = Result(id=job_id_of(batch_id, index), status=Status.ANSWERED, body=body)
                await end_job(gateway.link, result, rq_status="finished")
            batch = await ended(client, batch_id)
            output, errors = await rows(client, batch.output_file_id), await rows(client, batch.error_file_id)
        assert (list(output), list(errors)) == (["fine"], ["odd"])
        assert errors["odd"]["response"]["status_code"] == 500
        assert "line 'odd': an unexpected error" in caplog.text

    run(main)
