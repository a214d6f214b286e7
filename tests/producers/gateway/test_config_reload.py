"""A running gateway follows its file: later requests use the changed configuration, a request in flight its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from openfall.config import LoadedConfig, load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.config_reload import ConfigReload
from openfall.producers.gateway.gateway import Gateway
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.state.fleet_catalogs import describe_catalogs
from openfall.router_core.state.fleet_status import fetch_status
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import RunningGateway, gateway_config, open_gateway, run, served
from tests.settled_file import write_settled

LOGGER = "openfall.gateway"


class Reloaded:
    """A gateway, its file, and what looks for changes of it."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway, self.file = gateway, gateway.instance.config.source
        self.text = self.file.read_text()
        self.reload = ConfigReload(gateway.instance)

    async def change(self, edit: Callable[[str], str]) -> bool:
        """Write the file as edited, and let the gateway look at it."""
        self.text = edit(self.text)
        write_settled(self.file, self.text)
        return await self.reload.apply_change()

    async def names(self) -> set[str]:
        listed = (await self.gateway.http.get("/v1/models")).json()["data"]
        return {row["id"] for row in listed}


def with_role(text: str) -> str:
    return text.replace("  plain: {", "  moon: {chain: [tiny]}\n  plain: {")


def messages(caplog: Any) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER and "/v1/" not in record.message]


def test_a_new_role_and_a_new_model_are_listed_and_answer(redis_url, tmp_path):
    async def main():
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            own = Reloaded(gateway)
            assert "moon" not in await own.names()
            assert (await gateway.chat(model="moon")).status_code == 404
            assert await own.change(with_role)
            assert "moon" in await own.names()
            assert (await gateway.chat(model="moon")).status_code == 200
            assert await own.change(lambda text: text.replace("  moon:", "  star:"))
            assert (await gateway.chat(model="moon")).status_code == 404
            assert not await own.reload.apply_change(), "nothing has changed since"

    run(main)


def test_an_invalid_file_is_refused_once_in_the_words_of_a_worker_and_the_last_valid_one_stays(
    redis_url, tmp_path, caplog
):
    async def main():
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            own = Reloaded(gateway)
            with caplog.at_level(logging.INFO, LOGGER):
                assert not await own.change(lambda text: text.replace("chain: [tiny, other]", "chain: [timy]"))
                assert not await own.reload.apply_change()
            lines = messages(caplog)
            assert len(lines) == 2
            assert "timy" in lines[0]
            assert lines[1] == f"{own.file} is invalid after a change; the previous configuration stays in force"
            assert (await gateway.chat()).status_code == 200
            assert await own.change(lambda text: text.replace("chain: [timy]", "chain: [tiny]"))

    run(main)


@pytest.mark.parametrize("text", ["", "models: {}\n", "\xff\n", "roles: [", None])
def test_an_empty_a_broken_and_a_missing_file_change_nothing(redis_url, tmp_path, text):
    async def main():
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            own = Reloaded(gateway)
            names = await own.names()
            if text is None:
                own.file.unlink()
            else:
                write_settled(own.file, text, "latin-1")
            assert not await own.reload.apply_change()
            assert not await own.reload.apply_change()
            assert await own.names() == names

    run(main)


def test_a_request_in_flight_keeps_the_configuration_it_began_with(redis_url, tmp_path):
    async def main():
        release = asyncio.Event()

        async def late(writer):
            await release.wait()
            await answer(COMPLETION)(writer)

        async with open_gateway(redis_url, tmp_path, late, answer(COMPLETION)) as gateway:
            own = Reloaded(gateway)
            flying = asyncio.create_task(gateway.chat(model="plain"))
            await gateway.upstream.arrived.wait()
            assert await own.change(lambda text: text.replace("  plain: {chain: [tiny]}", "  star: {chain: [tiny]}"))
            release.set()
            response = await flying
            assert (response.status_code, response.json()["model"]) == (200, "plain")
            assert (await gateway.chat(model="plain")).status_code == 404

    run(main)


def test_status_names_a_gateway_whose_file_differs_until_it_has_taken_the_change(redis_url, tmp_path):
    async def main():
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            own = Reloaded(gateway)
            write_settled(own.file, with_role(own.text))
            digest = catalog_digest(load(own.file).catalog)
            status = await fetch_status(gateway.link)
            (member,) = status.gateways
            assert member.name == gateway.instance.callers.gateway_id
            assert member.name in describe_catalogs(status.members, digest, "a file")
            assert await own.reload.apply_change()
            await gateway.instance.callers.renew_presence()
            status = await fetch_status(gateway.link)
            assert [each.catalog for each in status.gateways] == [digest]
            assert describe_catalogs(status.members, digest, "a file") == ""

    run(main)


def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(redis_url, tmp_path, caplog):
    async def main():
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            own = Reloaded(gateway)
            with caplog.at_level(logging.INFO, LOGGER):
                assert await own.change(
                    lambda text: (
                        with_role(text).replace(f"redis: {redis_url}", "redis: redis://127.0.0.1:1/3")
                        + "gateway: {listen: ['127.0.0.1:1'], processes: 2}\ndata: elsewhere\n"
                    )
                )
            assert messages(caplog) == [
                "the changed configuration is in force",
                "the gateway keeps gateway.listen, gateway.processes, redis, data as at its start: "
                "restart it for a change of that",
            ]
            assert "moon" in await own.names()

    run(main)


def test_a_file_that_would_open_the_gateway_to_other_machines_is_refused(redis_url, tmp_path, caplog):
    async def main():
        more = "gateway: {listen: ['0.0.0.0:8309'], open: yes}\n"
        async with open_gateway(redis_url, tmp_path, pools=(), more=more) as gateway:
            own = Reloaded(gateway)
            assert not await own.change(lambda text: text.replace(", open: yes", ""))
            assert "openfall keys new" in caplog.text
            assert gateway.instance.settings.open
            assert await own.change(lambda text: text.replace(":8309']}", ":8309'], open: yes, max_body: 2 MB}"))
            assert gateway.instance.settings.max_body == 2_000_000

    run(main)


def test_paths_that_are_passed_through_follow_the_file(redis_url, tmp_path):
    async def main():
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            own = Reloaded(gateway)
            assert (await gateway.http.post("/v1/rerank", json={})).status_code == 404
            added = "gateway: {passthrough: {backend: rack, paths: [/v1/rerank]}}\n"
            assert await own.change(lambda text: text + added)
            assert (await gateway.http.post("/v1/rerank", json={})).status_code == 200
            assert "/v1/rerank" in (await gateway.http.get("/openapi.json")).json()["paths"]
            assert await own.change(lambda text: text.replace(added, ""))
            assert (await gateway.http.post("/v1/rerank", json={})).status_code == 404

    run(main)


def test_the_page_shows_the_changed_catalog_and_is_gone_where_the_file_says_so(redis_url, tmp_path):
    async def main():
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            own = Reloaded(gateway)
            html = {"accept": "text/html"}
            assert (await gateway.http.get("/", headers=html)).status_code == 200
            assert await own.change(with_role)
            assert (await gateway.http.get("/", headers=html)).status_code == 200
            assert gateway.instance.live_page is not None
            assert "moon" in (await gateway.instance.live_page.snapshot()).catalog.roles
            assert "moon" in (await gateway.http.get("/config", headers=html)).text
            assert await own.change(lambda text: text + "gateway: {page: none}\n")
            assert "Ollama" in (await gateway.http.get("/", headers=html)).text

    run(main)


def test_a_gateway_looks_by_itself_and_masks_the_secrets_of_the_changed_file(redis_url, tmp_path):
    async def main():
        loaded = gateway_config(redis_url, tmp_path, "http://127.0.0.1:9")
        applied: asyncio.Queue[LoadedConfig] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        gateway = Gateway.of(
            AsyncOpenfall(config=loaded, retry_for=1.0),
            lambda changed: loop.call_soon_threadsafe(applied.put_nowait, changed) and None,
        )
        gateway.reload_interval_seconds = 0.01
        async with served(gateway):
            loaded.source.write_text(loaded.source.read_text().replace("slots: 64", "slots: 64, api_key: hush-hush"))
            assert "hush-hush" in (await applied.get()).secrets

    run(main)


def test_a_task_that_ends_by_an_error_has_a_line_in_the_log_and_requests_go_on(redis_url, tmp_path, caplog):
    def fail(_: LoadedConfig) -> None:
        raise ZeroDivisionError

    async def main():
        loaded = gateway_config(redis_url, tmp_path, "http://127.0.0.1:9")
        gateway = Gateway.of(AsyncOpenfall(config=loaded, retry_for=1.0), fail)
        gateway.reload_interval_seconds = 0.01
        async with served(gateway) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
            write_settled(loaded.source, with_role(loaded.source.read_text()))
            while not any("the task config of the gateway has ended" in line for line in messages(caplog)):
                await asyncio.sleep(0.02)
            assert (await http.get("/health")).status_code == 200

    run(main)
