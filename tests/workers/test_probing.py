"""What a probe says of the breaker that it was sent for."""

import pytest

from router_core.outcome import BreakerMark, Completion, ErrorClass, Failure
from router_core.state.claims import Probe
from workers.probing import ASK_AGAIN, probed

MODEL = Probe("api/gpt", "api", "gpt", "t")
KEY = Probe("key:a1b2", "api", "gpt", "t")
ANSWER = Completion(text="Ready.", finish_reason="stop")


def failed(error: ErrorClass, retry_after: float | None = None) -> Failure:
    return Failure(error_class=error, detail="as it was told", retry_after=retry_after)


@pytest.mark.parametrize(
    ("outcome", "of_the_model", "of_the_key"),
    [
        pytest.param(ANSWER, BreakerMark.OK, BreakerMark.OK, id="an answer: both are well"),
        pytest.param(failed(ErrorClass.AUTH), BreakerMark.FAILURE, BreakerMark.FAILURE, id="the key is refused"),
        pytest.param(failed(ErrorClass.OUT_OF_CREDITS), BreakerMark.FAILURE, BreakerMark.FAILURE, id="no credit"),
        pytest.param(failed(ErrorClass.CONNECTION), BreakerMark.FAILURE, BreakerMark.NEUTRAL, id="nobody was reached"),
        pytest.param(failed(ErrorClass.OVERLOADED), BreakerMark.FAILURE, BreakerMark.NEUTRAL, id="it is in trouble"),
        pytest.param(
            failed(ErrorClass.NOT_INSTALLED), BreakerMark.TRIP, BreakerMark.OK, id="no such model: it let us in"
        ),
        pytest.param(failed(ErrorClass.RATE_LIMITED), BreakerMark.NEUTRAL, BreakerMark.OK, id="a 429: it let us in"),
    ],
)
def test_a_probe_speaks_of_what_it_was_sent_for(outcome, of_the_model, of_the_key):
    assert probed(MODEL, outcome, 0.5).mark is of_the_model
    assert probed(KEY, outcome, 0.5).mark is of_the_key


def test_a_429_says_when_a_model_may_be_probed_again():
    assert probed(MODEL, failed(ErrorClass.RATE_LIMITED, 42), 0.5).wait == 42


def test_a_key_of_which_nothing_was_learned_is_probed_again_a_little_later():
    assert probed(KEY, failed(ErrorClass.TIMEOUT), 0.5).wait == ASK_AGAIN


def test_a_failed_probe_tells_why():
    assert probed(MODEL, failed(ErrorClass.CONNECTION), 0.5).why == "connection: as it was told"
    assert probed(MODEL, ANSWER, 0.5).why == ""
