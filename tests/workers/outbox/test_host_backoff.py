"""A host that does not answer is paused, for longer each time."""

from __future__ import annotations

from openfall.workers.outbox.host_backoff import INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, MAX_HOSTS, HostBackoff


def test_the_pauses_of_a_silent_host_double_until_it_answers():
    now = [0.0]
    backoff = HostBackoff(lambda: now[0])
    lengths = []
    for _ in range(9):
        backoff.record_failure("a")
        backoff.record_failure("a")  # several deliveries were in flight
        lengths.append(backoff.remaining("a"))
        assert backoff.remaining("b") == 0
        now[0] += lengths[-1]
        assert backoff.remaining("a") == 0
    assert lengths == [INITIAL_BACKOFF_SECONDS, 8, 16, 32, 64, 128, 256, MAX_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS]
    backoff.record_answer("a")
    backoff.record_failure("a")
    assert backoff.remaining("a") == INITIAL_BACKOFF_SECONDS


def test_the_number_of_remembered_hosts_is_limited():
    backoff = HostBackoff(lambda: 0.0)
    for number in range(MAX_HOSTS + 1):
        backoff.record_failure(f"{number}")
    assert (backoff.remaining("0"), backoff.remaining("1")) == (0, INITIAL_BACKOFF_SECONDS)
