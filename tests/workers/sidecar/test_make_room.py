"""Which profiles leave so that another one fits."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.workers.sidecar.make_room import leaving_for


@dataclass
class Held:
    name: str
    gb: float | None
    calls: int = 0
    used_at: float = 0.0


def test_without_a_size_of_the_card_a_profile_is_alone() -> None:
    assert leaving_for(2.0, [Held("a", 2.0)], None, None) == ("a",)
    assert leaving_for(2.0, [Held("a", 2.0)], None, 2) == ()


def test_what_fits_stays() -> None:
    assert leaving_for(6.0, [Held("a", 5.0), Held("b", 5.0)], 16.0, None) == ()
    assert leaving_for(6.0, [Held("a", 5.0), Held("b", 5.0)], 16.0, 2) == ("b",)


def test_idle_profiles_leave_first_the_least_recently_used_of_them_first() -> None:
    held = [Held("busy", 5.0, calls=1), Held("recent", 5.0, used_at=9.0), Held("old", 5.0, used_at=1.0)]
    assert leaving_for(6.0, held, 16.0, None) == ("old",)
    assert leaving_for(10.0, held, 16.0, None) == ("old", "recent")


def test_a_profile_without_a_size_takes_the_whole_card() -> None:
    assert leaving_for(None, [Held("a", 1.0)], 16.0, None) == ("a",)
    assert leaving_for(1.0, [Held("whole", None)], 16.0, None) == ("whole",)
