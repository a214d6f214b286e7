"""When a delivery is sent again."""

from __future__ import annotations

from openfall.workers.outbox.retry_schedule import (
    JOB_RETRY_SECONDS,
    NOTICE_GIVE_UP_SECONDS,
    job_retry_delay,
    notice_retry_delay,
)


def test_a_webhook_of_a_job_has_eight_attempts_in_a_day():
    assert [job_retry_delay(tries, 0.5) for tries in range(1, 9)] == [*JOB_RETRY_SECONDS, None]
    assert 27 * 3600 < sum(JOB_RETRY_SECONDS) < 28 * 3600


def test_a_delay_is_jittered_and_never_shorter_than_retry_after_up_to_an_hour():
    assert (job_retry_delay(1, 0.0), job_retry_delay(1, 1.0)) == (4, 6)
    assert job_retry_delay(1, 0.0, retry_after=42) == 42
    assert job_retry_delay(2, 0.5, retry_after=42) == 300
    assert job_retry_delay(1, 0.5, retry_after=1e9) == 3600


def test_a_notice_is_retried_for_three_days_at_least_every_ten_minutes():
    delays = [notice_retry_delay(tries, 0, 0.5) for tries in range(1, 40)]
    assert delays[:4] == [5, 10, 20, 40]
    assert set(delays[8:]) == {600}
    assert notice_retry_delay(500, NOTICE_GIVE_UP_SECONDS - 600, 0.5) == 600
    assert notice_retry_delay(500, NOTICE_GIVE_UP_SECONDS - 599, 0.5) is None
    assert notice_retry_delay(10**6, 0, 0.5) == 600
