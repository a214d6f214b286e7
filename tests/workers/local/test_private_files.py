"""Files of the fleet are their owner's alone, and a directory that cannot be used is refused in words."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall.workers.local.errors import LocalError
from openfall.workers.local.private_files import make_private
from openfall.workers.local.valkey import start_valkey
from tests.workers.local.conftest import ROOT

CONFIG = """
redis: redis://127.0.0.1:1
data: {data}
pools: {{gpu: {{local: yes}}}}
backends: {{rack: {{protocol: openai, url: "http://127.0.0.1:9", pool: gpu}}}}
models: {{tiny: {{upstream: tiny-1, backends: [rack]}}}}
"""


def open_to_others(directory: Path) -> list[str]:
    return [
        f"{path} {path.lstat().st_mode & 0o777:o}"
        for path in (directory, *directory.rglob("*"))
        if path.lstat().st_mode & 0o077 and not path.is_symlink()
    ]


def test_every_file_of_the_embedded_valkey_is_its_owners_alone_under_umask_0(data: Path) -> None:
    async def main() -> None:
        valkey = await start_valkey(data)
        try:
            with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
                client.set("a", "prompt")
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    await asyncio.sleep(0.01)
            assert open_to_others(data) == []
        finally:
            await valkey.stop()

    before = os.umask(0)
    try:
        asyncio.run(main())
    finally:
        os.umask(before)
    assert open_to_others(data) == []


def test_every_line_of_the_log_of_valkey_has_date_and_zone(data: Path) -> None:
    async def main() -> None:
        await (await start_valkey(data)).stop()

    asyncio.run(main())
    lines = (data / "log" / "valkey.log").read_text().splitlines()
    assert lines
    assert all("T" in line.split("-", 2)[2][:3] and ("+" in line or "Z" in line) for line in lines), lines


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_directory_to_which_others_may_write_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    with pytest.raises(LocalError, match=f"mode {mode:04o}.*chmod 700"):
        make_private(tmp_path / "data")


def test_a_path_that_is_no_directory_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    for path in (tmp_path / "data", tmp_path / "data" / "below"):
        with pytest.raises(LocalError, match=r"data.* is not a directory\. Move it away"):
            make_private(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 12345, -1)
    with pytest.raises(LocalError, match=r"belongs to another user \(uid 12345\)"):
        make_private(tmp_path / "data")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_directory_without_rights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0)
    with pytest.raises(LocalError, match="chmod 700"):
        make_private(tmp_path / "data")


def broken(directory: Path, how: str) -> None:
    if how == "file":
        directory.write_text("")
        return
    directory.mkdir(mode=0o700)
    if how == "open":
        directory.chmod(0o777)
    elif how == "lock":
        (directory / "up.lock").mkdir()
    elif how == "log":
        (directory / "log").write_text("")


@pytest.mark.parametrize("how", ["file", "open", "lock", "log"])
def test_up_and_work_refuse_a_data_directory_in_one_line_and_exit_with_1(tmp_path: Path, how: str) -> None:
    broken(tmp_path / "data", how)
    (tmp_path / "openfall.yaml").write_text(CONFIG.format(data="data").replace("redis: redis://127.0.0.1:1", ""))
    commands: list[tuple[str, ...]] = [("up", "--quiet")]
    if how in ("file", "open"):
        commands.append(("work", "gpu", "--quiet"))
    for args in commands:
        ran = run_workers(tmp_path, *args)
        assert (ran.returncode, "Traceback" in ran.stderr) == (1, False), ran.stderr
        assert str(tmp_path / "data") in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def run_workers(home: Path, *args: str) -> subprocess.CompletedProcess[Any]:
    kept = {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "openfall.workers", *args],
        cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
