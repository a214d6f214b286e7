"""The memory of the cards over time: the drawing, its page, and the same in the section of the front page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence

import pytest

from openfall.producers.page.memory_page import Span
from openfall.producers.page.sections.memory_line import HEIGHT, MAX_STEPS, WIDTH, memory_line
from openfall.router_core.state.card_memory import DAY_SECONDS, MemoryUse, note_card_memory
from openfall.router_core.state.redis_connection import RedisConnection
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

CONFIG = """
redis: {redis}
backends:
  tower: {{protocol: ollama, url: "http://127.0.0.1:9", pool: gpu, vram_gb: 24}}
models:
  small: {{upstream: small, backends: [tower], vram_gb: 4}}
roles:
  chat: {{chain: [small]}}
"""
NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0


def use(at: float, models_gb: float = 6.0, others_gb: float = 0.0, peak_gb: float = 6.0) -> MemoryUse:
    return MemoryUse(at=at, models_gb=models_gb, others_gb=others_gb, peak_gb=peak_gb, total_gb=24.0)


def numbers(points: str) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in points.split(" "))
    return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("span", "seconds", "count"),
    [(DAY_SECONDS, MINUTE, 1440), (31 * DAY_SECONDS, HOUR, 744), (366 * DAY_SECONDS, HOUR, 8784)],
)
def test_a_whole_span_is_one_curve_of_bounded_length_from_edge_to_edge(span: float, seconds: float, count: int) -> None:
    line = memory_line([use(NOW - seconds * back) for back in range(count - 1, -1, -1)], 24.0, span, NOW)
    assert line is not None
    (points,) = line.peaks
    assert len(numbers(points)) <= 2 * MAX_STEPS
    assert (numbers(points)[0], numbers(points)[-1]) == ((0.0, 30.0), (WIDTH, 30.0))
    (area,) = line.models
    assert (numbers(area)[0][1], numbers(area)[-1][1]) == (HEIGHT, HEIGHT)


def test_a_peak_of_a_minute_is_in_the_drawing_of_a_year() -> None:
    uses = [use(NOW - HOUR * back, peak_gb=24.0 if back == 5000 else 6.0) for back in range(8783, -1, -1)]
    line = memory_line(uses, 24.0, 366 * DAY_SECONDS, NOW)
    assert line is not None
    assert min(y for _, y in numbers(line.peaks[0])) == 0.0
    assert (line.peak.at, line.summary) == (
        NOW - HOUR * 5000, "models 6.0 GB on average, at most 24.0 GB together; known for 366d",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "parts"),
    [((3, 2, 1, 0), 1), ((9, 8, 2, 1), 2), ((20, 10, 0), 3), ((0,), 1)],
)
def test_a_time_of_which_nothing_is_known_is_a_gap(hours: Sequence[int], parts: int) -> None:
    uses = [use(NOW - HOUR * hour - MINUTE * minute) for hour in hours for minute in range(59, -1, -1)]
    line = memory_line(uses, 24.0, DAY_SECONDS, NOW)
    assert line is not None
    assert [len(curve) for curve in (line.models, line.all_programs, line.peaks)] == [parts] * 3


def test_more_than_the_card_has_stays_inside_the_drawing_and_others_are_above_the_models() -> None:
    line = memory_line([use(NOW, models_gb=12.0, others_gb=99.0, peak_gb=200.0)], 24.0, DAY_SECONDS, NOW)
    assert line is not None
    assert (line.models, line.all_programs) == (
        ("595.0,40.0 595.0,20.0 600.0,20.0 600.0,40.0",), ("595.0,40.0 595.0,0.0 600.0,0.0 600.0,40.0",),
    )  # fmt: skip
    assert "others 99.0 GB" in line.summary


@pytest.mark.parametrize("seconds", [1.0, 30.0, 300.0])
def test_the_drawing_of_the_same_samples_stays_the_same_within_a_step(seconds: float) -> None:
    uses = [use(NOW - MINUTE * back) for back in range(100, 0, -1)]
    begin_of_step = NOW // (DAY_SECONDS / MAX_STEPS) * (DAY_SECONDS / MAX_STEPS)
    first, later = (memory_line(uses, 24.0, DAY_SECONDS, begin_of_step + each) for each in (0.0, seconds))
    assert first == later


@pytest.mark.parametrize(("uses", "total"), [((), 24.0), ((use(NOW),), 0.0)])
def test_without_samples_or_a_size_there_is_no_drawing(uses: Sequence[MemoryUse], total: float) -> None:
    assert memory_line(uses, total, DAY_SECONDS, NOW) is None


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("cards"), config=CONFIG) as opened:
        yield opened


def test_the_page_offers_a_day_a_month_and_a_year(gateway: PageGateway) -> None:
    assert "Nothing is known of its memory in the last day" in gateway.page("/cards")

    async def note() -> None:
        async with RedisConnection(gateway.redis_url) as link:
            await note_card_memory(link, "tower", 12.0, 3.0, 24.0)

    asyncio.run(note())
    for span in Span:
        html = gateway.page(f"/cards?span={span}")
        assert "models 12.0 GB on average, others 3.0 GB, at most 15.0 GB together; known for" in html
        assert re.search(rf'href="/cards\?span={span}" aria-current="page"', html)
        assert len(re.findall("<polyline", html)) == 1
    assert "The last day: models 12.0 GB" in gateway.page("/")


@pytest.mark.parametrize("span", ["week", "<b>", "DAY", "1"])
def test_a_span_that_is_none_is_explained(gateway: PageGateway, span: str) -> None:
    with gateway.browser() as browser:
        response = browser.get("/cards", params={"span": span})
    assert response.status_code == 400
    assert "`span` is day, month, year" in response.text
    assert "<b>" not in response.text
