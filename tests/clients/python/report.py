"""Runs checks one after another, and prints one JSON line for each. It runs where only the client is installed."""

import json
import os
from collections.abc import Callable, Mapping

GATEWAY = os.environ["GATEWAY_URL"]
TEXT = "A lantern festival."


def run(checks: Mapping[str, Callable[[], None]]) -> None:
    for check, work in checks.items():
        why = ""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is the result of the check
            why = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps({"check": check, "why": why}), flush=True)  # noqa: T201


def equal(actual: object, expected: object) -> None:
    if actual != expected:
        raise AssertionError(f"{actual!r} instead of {expected!r}")
