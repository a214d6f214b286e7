"""A worker for which the seconds of cards are shorter: `python -m benchmarks.swaps.scaled_worker SCALE work ...`."""

from __future__ import annotations

import sys
from functools import partial

from openfall.router_core.placement import residence
from openfall.router_core.placement.cards_view import PlacementPolicy
from openfall.workers.commands import main
from openfall.workers.gpu import build_cards_view, card_contents, card_manager, cards_of_pool

MIN_INTERVAL_SECONDS = 0.01
"""A decision costs as much as ever."""


def scale_down(scale: float) -> None:
    """Divide what the placement of models counts in seconds."""
    usual = PlacementPolicy()
    policy = PlacementPolicy(usual.window_seconds / scale, usual.max_load_share, usual.keep_warm_seconds / scale)
    cards_of_pool.CardManager = partial(card_manager.CardManager, policy=policy)  # type: ignore[misc,assignment]
    card_manager.DECIDE_INTERVAL_SECONDS /= scale
    card_manager.HANG_UP_SECONDS /= scale
    card_manager.ESTIMATE_SECONDS /= scale
    card_manager.MIN_INTERVAL_SECONDS = MIN_INTERVAL_SECONDS
    card_contents.CONTENT_INTERVAL_SECONDS /= scale
    build_cards_view.UNMET_SECONDS /= scale
    build_cards_view.ASSUMED_CALL_SECONDS /= scale
    residence.IDLE_HALVES_SECONDS /= scale


if __name__ == "__main__":
    scale_down(float(sys.argv.pop(1)))
    sys.exit(main())
