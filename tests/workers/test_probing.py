"""What a probe says of the breaker that it was sent for."""

import pytest

from openfall.router_core.jobs.outcome import (
    Completion,
    Failure,
)
from openfall.router_core.state.claims import Probe
from openfall.router_core.vocabulary import (
    CallSignal,
    ErrorClass,
)
from openfall.workers.maintenance.prober import ASK_AGAIN, run_probe

MODEL = Probe("api/gpt", "api", "gpt", "t")
KEY = Probe("key:a1b2", "api", "gpt", "t")
ANSWER = Completion(text="Ready.", finish_reason="stop")


def failed(error: ErrorClass, retry_after: float | None = None) -> Failure:
    return Failure(error_class=error, detail="as it was told", retry_after=retry_after)


@pytest.mark.parametrize(
    ("outcome", "of_the_model", "of_the_key"),
    [
        pytest.param(ANSWER, CallSignal.OK, CallSignal.OK, id="an answer: both are well"),
        pytest.param(failed(ErrorClass.AUTH), CallSignal.FAILURE, CallSignal.FAILURE, id="the key is refused"),
        pytest.param(failed(ErrorClass.OUT_OF_CREDITS), CallSignal.FAILURE, CallSignal.FAILURE, id="no credit"),
        pytest.param(failed(ErrorClass.CONNECTION), CallSignal.FAILURE, CallSignal.NEUTRAL, id="nobody was reached"),
        pytest.param(failed(ErrorClass.OVERLOADED), CallSignal.FAILURE, CallSignal.NEUTRAL, id="it is in trouble"),
        pytest.param(
            failed(ErrorClass.NOT_INSTALLED), CallSignal.TRIP, CallSignal.OK, id="no such model: it let us in"
        ),
        pytest.param(failed(ErrorClass.RATE_LIMITED), CallSignal.NEUTRAL, CallSignal.OK, id="a 429: it let us in"),
    ],
)
def test_a_probe_speaks_of_what_it_was_sent_for(outcome, of_the_model, of_the_key):
    assert run_probe(MODEL, outcome, 0.5).signal is of_the_model
    assert run_probe(KEY, outcome, 0.5).signal is of_the_key


def test_a_429_says_when_a_model_may_be_probed_again():
    assert run_probe(MODEL, failed(ErrorClass.RATE_LIMITED, 42), 0.5).cooldown_seconds == 42


def test_a_key_of_which_nothing_was_learned_is_probed_again_a_little_later():
    assert run_probe(KEY, failed(ErrorClass.TIMEOUT), 0.5).cooldown_seconds == ASK_AGAIN


def test_a_failed_probe_tells_why():
    assert run_probe(MODEL, failed(ErrorClass.CONNECTION), 0.5).detail == "connection: as it was told"
    assert run_probe(MODEL, ANSWER, 0.5).detail == ""
