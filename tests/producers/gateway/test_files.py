"""Files of the gateway: uploaded with OpenAI's SDK, kept on the disk, seen by their own key only."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from openfall.producers.gateway import file_expiry
from openfall.producers.gateway.file_cleanup import remove_dead_data
from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from openfall.router_core.state.stored_files import fetch_file, store_file
from tests.full_disk import full_disk
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import openai_client

LINES = b'{"custom_id": "1"}\n{"custom_id": "2"}\n'


def small_gateway(redis_url: str, home: Path, more: str = "") -> Any:
    return open_gateway(redis_url, home, more=f"gateway: {{listen: [], max_file: 1KiB{more}}}", pools=())


def post(gateway: RunningGateway, data: bytes = LINES, **fields: str) -> Any:
    return gateway.http.post("/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": "batch", **fields})


def kept(home: Path) -> list[str]:
    """The files in the directory of the gateway, without the one that names it."""
    folder = home / ".openfall" / "files"
    return sorted(path.name for path in folder.iterdir() if path.name != "directory-id") if folder.is_dir() else []


def test_a_file_goes_through_the_whole_cycle_of_the_openai_sdk(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            file = await client.files.create(
                file=("in.jsonl", LINES), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
            )
            assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(LINES), "in.jsonl", "batch")
            assert file.expires_at == file.created_at + 3600
            assert (await client.files.retrieve(file.id)).model_dump() == file.model_dump()
            assert (await client.files.content(file.id)).content == LINES
            assert [each.id async for each in client.files.list()] == [file.id]
            assert (await client.files.delete(file.id)).deleted
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve(file.id)
            assert kept(tmp_path) == []

    run(main)


def test_a_file_and_its_directory_are_readable_by_their_owner_only(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            file_id = (await post(gateway)).json()["id"]
        path = tmp_path / ".openfall" / "files" / file_id
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    run(main)


def test_lists_are_paged_in_both_orders_and_filtered_by_purpose(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            ids = []
            for number, purpose in enumerate(["batch", "user_data", "batch", "batch"]):
                file_id = (await post(gateway, purpose=purpose)).json()["id"]
                file = await fetch_file(gateway.link, file_id)
                assert file is not None
                await store_file(gateway.link, file.model_copy(update={"created_at": 1000 + number}))
                ids.append(file_id)
            newest = [file.id async for file in client.files.list(limit=1)]
            oldest = [file.id async for file in client.files.list(limit=3, order="asc", purpose="batch")]
            unknown = await gateway.http.get("/v1/files?after=file-0")
        assert newest == ids[::-1]
        assert oldest == [ids[0], ids[2], ids[3]]
        assert unknown.status_code == 400

    run(main)


def test_a_field_that_is_repeated_without_end_is_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            form = {"purpose": ["batch"] * 33}
            refused = await gateway.http.post("/v1/files", files={"file": ("in.jsonl", LINES)}, data=form)
            assert refused.status_code == 400
            assert "more than 32 fields" in refused.text

    run(main)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"purpose": "assistants"}, "purpose", id="a purpose that is not served"),
        pytest.param({"expires_after[seconds]": "7200"}, "expires_after", id="an expiry without its anchor"),
        pytest.param(
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}, "expires_after[seconds]", id="n"
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(redis_url: str, tmp_path: Path, fields: Any, param: str) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            refused = await post(gateway, **fields)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        assert kept(tmp_path) == []

    run(main)


def test_an_upload_without_one_whole_file_is_refused_and_leaves_nothing(redis_url: str, tmp_path: Path) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    multipart = {"content-type": "multipart/form-data; boundary=x"}

    async def main() -> None:
        async with small_gateway(redis_url, tmp_path) as gateway:
            large = await post(gateway, b"x" * 1025)
            torn = await gateway.http.post("/v1/files", content=form + b"abc", headers=multipart)
            twice = await gateway.http.post(
                "/v1/files", content=form + b"a\r\n" + form + b"b\r\n--x--\r\n", headers=multipart
            )
            plain = await gateway.http.post("/v1/files", json={"purpose": "batch"})
            empty = await gateway.http.post("/v1/files", data={"purpose": "batch"}, files={"other": b"x"})
        assert [each.status_code for each in (large, torn, twice, plain, empty)] == [413, 400, 400, 400, 400]
        assert kept(tmp_path) == []

    run(main)


def test_a_caller_who_leaves_in_the_middle_of_an_upload_leaves_nothing(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            host, port = gateway.url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            head = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n"
            head += "content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            part = 'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
            writer.write(f"{head}{part}".encode())
            while not kept(tmp_path):
                await asyncio.sleep(0.005)
            writer.close()
            while kept(tmp_path):
                await asyncio.sleep(0.005)

    run(main)


def test_a_full_disk_is_a_507_that_no_sdk_repeats_leaves_nothing_and_is_in_the_log(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, pools=()) as gateway,
            openai_client(gateway, max_retries=2) as client,
        ):
            first = await post(gateway)
            with full_disk(4096), pytest.raises(openai.InternalServerError) as refused:
                await client.files.create(file=("in.jsonl", b"x" * 8192), purpose="batch")
            assert kept(tmp_path) == [first.json()["id"]]
        assert refused.value.status_code == 507
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert [text for text in caplog.messages if "gateway cannot be written: [Errno 27] File too large" in text]

    run(main)


def test_the_file_of_another_key_does_not_exist(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for name in ("discord", "other"):
                await add_key(gateway.link, ClientKey(name=name, digest=digest_of(f"of_{name}")))
            gateway.instance.keys = await fetch_keys(gateway.link)
            own, other = ({"authorization": f"Bearer of_{name}"} for name in ("discord", "other"))
            form: Any = {"files": {"file": ("a", LINES)}, "data": {"purpose": "batch"}}
            file_id = (await gateway.http.post("/v1/files", headers=own, **form)).json()["id"]
            path = f"/v1/files/{file_id}"
            refused = [
                await gateway.http.get(path, headers=other),
                await gateway.http.get(f"{path}/content", headers=other),
                await gateway.http.delete(path, headers=other),
            ]
            assert [each.status_code for each in refused] == [404, 404, 404]
            assert (await gateway.http.get("/v1/files", headers=other)).json()["data"] == []
            assert (await gateway.http.get(path, headers=own)).status_code == 200

    run(main)


def test_a_key_has_four_uploads_at_once(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            upload = partial(gateway.instance.uploads.slot, "gateway", 4, "do this 4 times at once")
            with upload(), upload():
                assert (await post(gateway)).status_code == 200
                with upload(), upload():
                    assert (await post(gateway)).status_code == 429

    run(main)


def test_data_of_another_host_is_named_as_such_and_its_record_is_served(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            file_id = (await post(gateway)).json()["id"]
            file = await fetch_file(gateway.link, file_id)
            assert file is not None
            await store_file(gateway.link, file.model_copy(update={"directory": "elsewhere"}))
            content = await gateway.http.get(f"/v1/files/{file_id}/content")
            assert (content.status_code, content.json()["error"]["code"]) == (503, "file_elsewhere")
            assert (await gateway.http.get(f"/v1/files/{file_id}")).status_code == 200

    run(main)


def test_the_data_of_an_expired_file_and_of_a_cut_off_upload_is_removed(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            expiring, lasting = [(await post(gateway, purpose=each)).json()["id"] for each in ("batch", "user_data")]
            folder = gateway.instance.directory
            folder.data("file-cutoff").write_bytes(b"x")
            day = file_expiry.BATCH_FILE_SECONDS
            await gateway.link.command("ZADD", keys.FILE_DATA + folder.id, 1, "file-cutoff", 1, lasting)
            await remove_dead_data(gateway.link, folder, time.time() + day + 1)
            assert kept(tmp_path) == [lasting]
            assert await fetch_file(gateway.link, expiring) is None
            assert await gateway.link.command("ZCARD", keys.FILE_DATA + folder.id) == 0

    run(main)


def test_a_record_that_cannot_be_read_is_a_404_and_stops_no_list(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            ids = [(await post(gateway)).json()["id"] for _ in range(2)]
            await gateway.link.command("SET", keys.FILE + ids[0], "garbage")
            assert (await gateway.http.get(f"/v1/files/{ids[0]}")).status_code == 404
            assert [each["id"] for each in (await gateway.http.get("/v1/files")).json()["data"]] == [ids[1]]

    run(main)


def test_an_upload_needs_no_more_memory_than_its_chunks(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            written: list[int] = []

            def body() -> Iterator[bytes]:
                yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
                for _ in range(64):
                    yield b"y" * 2**20
                    written.append(
                        sum(path.stat().st_size for path in gateway.instance.directory.path.glob("file-*.part"))
                    )
                yield b'\r\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x--\r\n'

            headers = {"content-type": "multipart/form-data; boundary=x"}
            reply = await asyncio.to_thread(
                lambda: httpx.post(f"{gateway.url}/v1/files", content=body(), headers=headers, timeout=20)
            )
            assert reply.json()["bytes"] == 64 * 2**20
            assert written[-1] > 32 * 2**20

    run(main)
