"""The pages of tables: each shows the cells that its command prints, and names that command."""

from __future__ import annotations

import asyncio
import html
import re
import shlex
from collections.abc import Iterator

import click.testing
import pytest

from openfall.producers.cli.commands import openfall
from openfall.producers.operations.breaker_override import force_breaker
from openfall.producers.operations.operator import Operator
from openfall.router_core.state.breakers import BreakerOverride
from openfall.router_core.state.external_calls import ExternalCall, report_external_call
from openfall.router_core.vocabulary import BreakerState, ErrorClass
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

HOSTILE = "<b>why</b>"
COMMAND = re.compile(r'<code class="command">openfall ([^<]*)</code>')
CELL = re.compile(r"<td[^>]*><div>(.*?)</div></td>", re.DOTALL)


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    home = tmp_path_factory.mktemp("tables")
    with page_gateway(shared_server.url, home) as opened:
        asyncio.run_coroutine_threadsafe(act(opened), opened.loop).result(30)
        yield opened


async def act(gateway: PageGateway) -> None:
    """Two calls, and a breaker that an operator held open."""
    llm = gateway.instance.client
    link, catalog = llm.store.connection, llm.config.catalog
    for error in (None, ErrorClass.TIMEOUT):
        call = ExternalCall(model="tiny", backend="rack", error=error, input_tokens=1234, output_tokens=56, seconds=2.5)
        await report_external_call(link, catalog, call)
    await link.command("XADD", "of:inbox:bot", "*", "id", "job", "kind", "done")
    await link.command("ZADD", "of:inboxes", 9e15, "bot")
    operator = Operator(llm, "ann", "page")
    await force_breaker(operator, "rack/tiny", BreakerOverride(BreakerState.OPEN, HOSTILE, None))


def cells_of(page: str) -> list[str]:
    """The texts of a page's tables, without tags."""
    return [html.unescape(re.sub(r"<[^>]*>", "", cell)).replace(",", "").strip() for cell in CELL.findall(page)]


PATHS = (
    "/cost", *(f"/cost?show={key}&days=7" for key in ("model", "backend", "group", "role", "producer", "day", "month")),
    "/cost?show=saved&days=30", "/audit", "/audit?since=1h", "/breaker", "/model", "/inbox",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_page_shows_what_its_command_prints(gateway: PageGateway, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = gateway.page(path)
    (command,) = COMMAND.findall(page)
    monkeypatch.setenv("COLUMNS", "400")
    file = str(gateway.instance.config.source)
    ran = click.testing.CliRunner().invoke(openfall, [*shlex.split(html.unescape(command)), "--config", file])
    assert ran.exit_code == 0, ran.output
    printed = " ".join(ran.output.split()).replace(",", "")
    shown = [cell for cell in cells_of(page) if not re.search(r"\d+[smhd]\b", cell)]  # ages go on between the two
    assert shown
    listed = shown if path != "/breaker" else [cell for cell in shown if "rack" in cell]  # --history prints the changes
    assert [cell for cell in listed if " ".join(cell.split()) not in printed] == []


def test_a_text_from_outside_is_no_markup(gateway: PageGateway) -> None:
    for path in ("/audit", "/breaker"):
        page = gateway.page(path)
        assert html.escape(HOSTILE) in page
        assert HOSTILE not in page


@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("/cost?show=x&days=2", ["calls", "today"]),
        ("/cost?show=<b>&days=-1", ["calls", "today"]),
        ("/audit?since=9y", ["all that is kept"]),
        ("/statistics?by=nothing&period=2026-11-21", ["by model"]),
    ],
)
def test_an_unknown_choice_in_an_address_is_the_first_one(gateway: PageGateway, path: str, current: list[str]) -> None:
    bars = gateway.page(path).split("<main", 1)[1]
    assert re.findall(r'aria-current="page">([^<]*)<', bars) == current


def test_a_model_is_checked_at_its_row(gateway: PageGateway) -> None:
    page = gateway.page("/model")
    assert 'formaction="/page/act/check-model" name="subject" value="tiny"' in page


def test_a_reader_of_an_empty_ledger_reads_a_sentence(gateway: PageGateway) -> None:
    assert "No metered call in place of a model that costs nothing." in gateway.page("/cost?show=unexpected")
