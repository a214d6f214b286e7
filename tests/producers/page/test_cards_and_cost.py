"""Cards, cost and statistics on the page."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from typing import Any

import pytest

from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.rendering import render
from openfall.producers.page.sections import card_section, cost_section, job_section
from openfall.producers.page.sections.card_section import describe_use
from openfall.producers.page.sources import CardsNow
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_status import CardStatus, ModelShown
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus
from openfall.router_core.state.ledger import LedgerEntry
from openfall.router_core.state.subscription_plans import PlanState
from openfall.router_core.vocabulary import LoadState
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

NOW = 1_800_000_000.0
HOSTILE = "<b>tiny</b>"


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("cost")) as opened:
        yield opened


def snapshot(gateway: PageGateway, **sources: Any) -> PageSnapshot:
    """Of a fleet whose queues have the jobs that wait for the models of the cards."""
    catalog: Catalog = gateway.instance.config.catalog
    rows = sources["cards"].cards if "cards" in sources else ()
    queues = tuple(
        QueueStatus(f"gpu.{model}.{urgency}", number, None, 0, 0, False)
        for card in rows
        for model, count in card.waiting.items()
        for urgency, number in (("batch", count // 2), ("background", count - count // 2))
    )
    status = FleetStatus(NOW, queues, (), 0, 0, False, None, {})
    return PageSnapshot(now=NOW, catalog=catalog, catalog_digest="", status=status, sources=sources)


def card(*models: ModelShown, **more: Any) -> CardStatus:
    terms: dict[str, Any] = {"card": "card-0", "pool": "gpu", "vram_gb": 24.0, "foreign_gb": 0.0, "total_gb": 0.0,
                             "waiting": {}, "reason": "", "manager": "w", "manager_lease_seconds": 5.0}  # fmt: skip
    return CardStatus(models=models, **{**terms, **more})


def shown_model(name: str, gb: float, state: LoadState = LoadState.READY, *, pinned: bool = False) -> ModelShown:
    return ModelShown(name, state, 1.0, gb, pinned)


def test_the_memory_of_a_card_is_drawn_by_model_and_never_beyond_its_size(gateway: PageGateway) -> None:
    full = card(
        shown_model("a", 12), shown_model("b", 11), foreign_gb=3.0, total_gb=24.0, waiting={"a": 1, "c": 0, "d": 4}
    )  # fmt: skip
    (row,) = card_section.context(snapshot(gateway, cards=CardsNow([full], {})))["rows"]
    assert row.summary == "26.0 of 24 GB in use"
    assert [(bar.label, round(bar.x), round(bar.width), bar.is_foreign) for bar in row.bars] == [
        ("a", 0, 300, False),
        ("b", 300, 275, False),
        ("others", 575, 25, True),
    ]
    assert row.loadable == (("d", 4), ("c", 0))
    assert row.line is None


@pytest.mark.parametrize(
    ("shown", "summary", "used_gb"),
    [
        (card(shown_model("a", 12), total_gb=24.0, foreign_gb=3.0), "15.0 of 24 GB in use", 15.0),
        (card(shown_model("a", 12)), "models use 12.0 of 24 GB", 12.0),
        (card(), "models use 0.0 of 24 GB", 0.0),
        (card(shown_model("a", 0)), "24 GB, use not known", None),
        (card(shown_model("a", 12), shown_model("b", 0, LoadState.LOADING)), "24 GB, use not known", None),
        (card(manager=None), "24 GB, use not known", None),
    ],
    ids=["a driver", "no driver", "empty", "a size is unknown", "a load", "no manager"],
)
def test_the_use_of_a_card_that_is_not_known_is_no_zero(shown: CardStatus, summary: str, used_gb: float | None) -> None:
    assert (describe_use(shown), shown.used_gb) == (summary, used_gb)


def test_a_card_shows_its_models_with_what_may_be_done_and_no_markup_from_outside(gateway: PageGateway) -> None:
    shown = card(shown_model(HOSTILE, 3, LoadState.LOADING), waiting={"other": 2}, manager=None, notice=HOSTILE)
    values = card_section.context(snapshot(gateway, cards=CardsNow([shown], {})))
    html = render("sections/cards.html", now=NOW, actions=ACTIONS, **values)
    assert HOSTILE not in html
    assert "&lt;b&gt;tiny" in html
    assert "/page/act/load-model" not in html
    assert "It needs a worker." in html
    assert "use not known" in html
    managed = card(waiting={"other": 2}, manager="w")
    values = card_section.context(snapshot(gateway, cards=CardsNow([managed], {})))
    assert "/page/act/load-model" in render("sections/cards.html", now=NOW, actions=ACTIONS, **values)
    assert "/page/ask/unload-model" in html
    assert "Its use in the last day is not known" in html
    assert "No worker manages this card" in html


def test_a_model_on_a_card_is_pinned_or_unpinned_and_shows_the_jobs_that_wait_for_it(gateway: PageGateway) -> None:
    shown = card(shown_model("a", 3), shown_model("b", 3, pinned=True), waiting={"a": 2})
    values = card_section.context(snapshot(gateway, cards=CardsNow([shown], {})))
    html = render("sections/cards.html", now=NOW, actions=ACTIONS, **values)
    assert 'formaction="/page/act/pin-model" name="subject" value="a"' in html
    assert 'formaction="/page/act/unpin-model" name="subject" value="b"' in html
    assert "2 jobs waiting" in html


def test_a_fleet_whose_sources_were_never_read_has_empty_sections(gateway: PageGateway) -> None:
    nothing = snapshot(gateway)
    assert card_section.context(nothing)["rows"] == []
    assert job_section.context(nothing)["rows"] == []
    assert cost_section.context(nothing)["budgets"] == []


@pytest.mark.parametrize(
    ("share", "tone", "text"),
    [
        (0.5, "good", "50 % used"),
        (0.8, "warn", "80 % used"),
        (1.0, "bad", "100 % used"),
        (None, "", "subscription, its limit is not known yet"),
    ],
)
def test_a_subscription_is_a_bar_of_its_used_share(
    gateway: PageGateway, share: float | None, tone: str, text: str
) -> None:
    plan = PlanState(
        backend="claude", number=1, window_seconds=18_000, calls=None, resets_at=NOW + 60, cap=None, named_share=share
    )
    values = cost_section.context(snapshot(gateway, plans=[plan]))
    assert [row.tone for row in values["plans"] if row.is_known] == ([tone] if tone else [])
    html = render("sections/cost.html", now=NOW, actions=ACTIONS, **values)
    assert text in html
    assert "claude · 5 h" in html
    assert ("<svg" in html) is bool(tone)


@pytest.mark.parametrize(("spent", "tone", "percent"), [(1, "good", 20.0), (4, "warn", 80.0), (9, "bad", 100.0)])
def test_a_budget_is_a_bar_of_what_is_used(gateway: PageGateway, spent: int, tone: str, percent: float) -> None:
    state = BudgetState(
        budget=Budget(name="house", usd=5, per="day"), window="2027-01-15", ends_at=NOW + 60, limit=5 * 10**9,
        spent=spent * 10**9, reserved=2 * 10**9, refused=1,
    )  # fmt: skip
    entry = LedgerEntry(day="d", model="tiny", backend="rack", group=None, calls=3, nusd=10**9, saved_nusd=2 * 10**9)
    values = cost_section.context(snapshot(gateway, budgets=[state], ledger=[entry]))
    (row,) = values["budgets"]
    assert (row.tone, row.percent, row.percent + row.reserved_percent <= 100) == (tone, percent, True)
    assert (values["spent"], values["saved"], values["calls"]) == ("$1.00", "$2.00", 3)
    assert "1 call did not fit" in render("sections/cost.html", now=NOW, actions=ACTIONS, **values)


@pytest.mark.parametrize(
    ("needed", "spent", "text"),
    [
        (20_000_000, 540_000_000, "$0.54 of $0.55, spent: the next call needs $0.02"),
        (0, 540_000_000, "$0.54 of $0.55"),
        (5_000_000, 540_000_000, "$0.54 of $0.55"),
        (0, 550_000_000, "$0.55 of $0.55, spent"),
    ],
)
def test_a_budget_without_room_for_the_next_call_is_spent(needed: int, spent: int, text: str) -> None:
    budget = Budget(name="house", usd=0.55, per="day")
    state = BudgetState(budget=budget, window="w", ends_at=NOW, limit=550_000_000, spent=spent, needed=needed)
    row = cost_section.BudgetRow(state)
    assert (row.text, row.tone) == (text, "bad" if "spent" in text else "warn")


def test_a_budget_without_money_is_used_up_and_one_for_ever_never_resets() -> None:
    state = BudgetState(budget=Budget(name="none", usd=0, per="day"), window="ever", ends_at=1.0, limit=0)
    row = cost_section.BudgetRow(state)
    assert (row.percent, row.ends_at) == (100.0, None)


def test_the_page_of_statistics_has_the_rows_of_a_day_and_of_a_month(gateway: PageGateway) -> None:
    since = calendar.timegm((2026, 11, 21, 12, 0, 0)) * 1000
    cells = {"chat interactive family tiny answered 1": 2, "chat interactive family %3Cb%3E fell_back 5": 1}
    gateway.redis.hset("of:job-counts", mapping={"since": since, **cells})
    day = gateway.page("/statistics?period=2026-11-21")
    assert "<div>tiny</div>" in day
    assert "<div>&lt;b&gt;</div>" in day
    assert "<div>family</div>" in gateway.page("/statistics?by=group&period=2026-11")
    assert "No job ended in 2026-10" in gateway.page("/statistics?by=none&period=2026-10")


def test_a_period_that_is_none_is_explained(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        response = browser.get("/statistics", params={"period": HOSTILE})
    assert response.status_code == 400
    assert "is no day" in response.text
    assert HOSTILE not in response.text
