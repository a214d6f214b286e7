"""A worker for which the seconds of cards are shorter: `python -m benchmarks.swaps.scaled_worker SCALE work ...`."""

from __future__ import annotations

import sys

from openfall.router_core.placement import residence, thrashing
from openfall.workers.commands import main
from openfall.workers.gpu import build_cards_view, card_contents, card_manager

MIN_INTERVAL_SECONDS = 0.01
"""A decision costs as much as ever."""


def scale_down(scale: float) -> None:
    """Divide what the placement of models counts in seconds."""
    card_manager.DECIDE_INTERVAL_SECONDS /= scale
    card_manager.HANG_UP_SECONDS /= scale
    card_manager.ESTIMATE_SECONDS /= scale
    card_manager.MIN_INTERVAL_SECONDS = MIN_INTERVAL_SECONDS
    card_contents.CONTENT_INTERVAL_SECONDS /= scale
    build_cards_view.UNMET_SECONDS /= scale
    build_cards_view.ASSUMED_CALL_SECONDS /= scale
    residence.IDLE_HALVES_SECONDS /= scale
    residence.KEEP_WARM_SECONDS /= scale
    thrashing.WINDOW_SECONDS /= scale


if __name__ == "__main__":
    scale_down(float(sys.argv.pop(1)))
    sys.exit(main())
