"""The runbook at the gateway: one page with an anchor for each cause, and no link that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from openfall.producers.runbook import RUNBOOK, RunbookSection, anchor_of, read_sections
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("runbook")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(gateway: PageGateway) -> str:
    return gateway.page("/runbook").partition('<article class="runbook">')[2].partition("</article>")[0]


def test_each_section_that_a_cause_names_has_its_anchor(page: str) -> None:
    anchors = re.findall(r'<h[1-6] id="([^"]*)">', page)
    assert {section.anchor for section in RunbookSection} <= set(anchors)
    assert len(anchors) == len(set(anchors))


def test_each_link_leads_to_an_anchor_of_a_document_that_is_here(gateway: PageGateway, page: str) -> None:
    targets = set(re.findall(r'href="([^"]*)"', page))
    own = {target for target in targets if target.startswith("#")}
    assert own <= {f"#{anchor}" for anchor in re.findall(r'id="([^"]*)"', page)}
    assert {"/runbook/redis#preconditions", "/runbook/page"} <= targets
    for target in targets - own:
        path, _, anchor = target.partition("#")
        shown = gateway.page(path)
        assert not anchor or f'id="{anchor}"' in shown, target
        assert "<img" not in shown.partition('<article class="runbook">')[2]


def test_a_document_that_is_not_here_is_refused(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        assert [browser.get(f"/runbook/{name}").status_code for name in ("..%2Frunbook", "adr", "x")] == [404, 404, 404]


def test_the_page_has_the_tables_and_the_blocks_of_code_and_no_marks_of_markdown(page: str) -> None:
    assert page.count("<table>") > 2
    assert "<pre><code>openfall status" in page
    assert "**" not in page
    assert "](" not in page


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("A breaker is open", "a-breaker-is-open"),
        ("Redis memory", "redis-memory"),
        ("Rights in Redis: the user's own", "rights-in-redis-the-users-own"),
        ("1. First look", "1-first-look"),
    ],
)
def test_an_anchor_is_the_one_that_sites_make_of_a_heading(heading: str, anchor: str) -> None:
    assert anchor_of(heading) == anchor


def test_a_comment_in_a_block_of_code_is_no_heading() -> None:
    commented = re.findall(r"^```.*?^```", RUNBOOK.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert any("#" in block for block in commented)
    assert all(not name.startswith(("openfall", "is for")) for name in read_sections())
