"""When jobs could start on a card: what its manager writes down, and what routing reads."""

from __future__ import annotations

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.deciding.steps import Handoff
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.state.card_state import CardState, pack_card_state, read_card_state
from openfall.router_core.state.cards import CardStore, CardWrite
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.reap_and_sweep import move, sweep
from openfall.router_core.vocabulary import Urgency

CATALOG = Catalog(
    backends={
        "box": Backend(url="http://box", protocol="ollama", pool="gpu", slots=4, vram_gb=16),
        "plain": Backend(url="http://plain", protocol="ollama", pool="gpu"),
    },
    models={
        **{name: ModelSpec(upstream=name, backends=("box",)) for name in ("smol", "large", "new")},
        "both": ModelSpec(upstream="both", backends=("box", "plain")),
    },
)
STARTS = {"smol": ((0.0, 0.0),) * 3, "large": ((1_000.0, 0.0), (0.0, 30.0), None), "both": ((0.0, 0.0),) * 3}


def test_an_estimate_counts_down_from_a_time_or_lasts_as_long_from_now_on():
    state = read_card_state(pack_card_state(CardState(starts=STARTS)))
    assert state.starts_in("large", 990.0) == [10.0, 30.0, FOREVER]
    assert state.starts_in("large", 1_010.0) == [0.0, 30.0, FOREVER]
    assert state.starts_in("new", 0.0) is None


def test_routing_reads_it_as_long_as_the_card_has_a_manager(fleet):
    async def scenario(f):
        cards = CardStore(f.link, CATALOG, "gpu", "manager-a")
        snapshot = await cards.fetch()
        assert snapshot is not None
        snapshot.cards[0].state.starts = {**STARTS, "large": ((f.clock.now + 8, 0.0), (0.0, 30.0), None)}
        assert await cards.write(snapshot.epoch, CardWrite(snapshot.cards[0], {"smol": 2})) == "written"

        async def starts(alias: str) -> list[float | None]:
            current = await fetch_fleet_snapshot(f.link, CATALOG)
            return [current.fleet_state(urgency).model(alias).starts_in for urgency in Urgency]

        assert await starts("smol") == [0.0, 0.0, 0.0]
        assert await starts("large") == [8.0, 30.0, FOREVER]
        assert await starts("new") == [None] * 3, "there is no estimate yet"
        assert await starts("both") == [None] * 3, "another server has it too"
        batch = (await fetch_fleet_snapshot(f.link, CATALOG)).fleet_state(Urgency.BATCH)
        smol, large = batch.model("smol"), batch.model("large")
        assert (smol.loaded, large.loaded) == (True, False)
        f.clock.now += 11
        assert await starts("smol") == [None] * 3

    fleet(scenario)


def test_a_late_job_that_leaves_a_model_that_is_not_loaded_is_unmet_demand(fleet):
    async def scenario(f):
        await f.accept("job-00001", queue="gpu.smol.interactive", start_within_seconds=5)
        f.clock.now += 6
        _, (late,) = await sweep(f.link, (), clean=False)
        assert await move(f.link, late, Handoff("large", False, ""), "gpu.large.interactive", unmet=("smol",))
        snapshot = await CardStore(f.link, CATALOG, "gpu", "manager-a").fetch()
        assert snapshot is not None
        assert snapshot.unmet["smol"] == (f.clock.now,)

    fleet(scenario)
