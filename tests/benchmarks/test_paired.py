"""Differences of pairs: their typical value, what its interval holds, and the clock that they are measured with."""

from __future__ import annotations

import os
from random import Random

import pytest

from benchmarks.paired import ThreadClock, scaled_difference, typical_difference

ROUND = 4


def noisy(more: list[float], rounds: int = 300) -> list[list[float]]:
    """Rounds of differences with noise, every fiftieth of which is an interruption of 500 µs on either side."""
    chance = Random(3)

    def noise() -> float:
        return chance.gauss(0, 15) + (chance.choice((-500, 500)) if chance.random() < 0.02 else 0)

    return [[value + noise() for value in more] for _ in range(rounds)]


@pytest.mark.parametrize("true", [0, 5, 20, -12])
def test_the_interval_holds_the_true_difference_and_is_narrow_in_spite_of_interruptions(true):
    figure = typical_difference(noisy([true] * ROUND))
    assert figure.min < true < figure.max
    assert figure.min < figure.median < figure.max
    assert figure.max - figure.min < 6


def test_what_only_one_call_of_a_round_costs_counts_by_its_share():
    figure = typical_difference(noisy([0, 0, 0, 40]))
    assert figure.min < 10 < figure.max


def test_equal_calls_differ_by_nothing():
    figure = typical_difference([[0.0] * ROUND] * 9)
    assert (figure.min, figure.median, figure.max, figure.n) == (0, 0, 0, 9)


@pytest.mark.parametrize("slowness", [1, 2.4])
def test_a_slower_machine_shows_the_same_difference_on_the_reference_machine(slowness):
    ours, fixed = noisy([10 * slowness] * ROUND), noisy([25 * slowness] * ROUND)
    figure = scaled_difference(ours, fixed, 25)
    assert figure.min < 10 < figure.max
    assert figure.max - figure.min < 4


def test_the_clock_of_a_thread_advances_with_its_work():
    clock = ThreadClock(os.getpid())
    before = clock.read_us()
    while clock.read_us() == before:
        pass
    assert clock.read_us() > before
