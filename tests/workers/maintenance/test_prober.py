"""What a probe shows about the breaker that it was sent for."""

import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.state.claims import Probe
from openfall.router_core.vocabulary import CallSignal, ErrorClass
from openfall.workers.maintenance.prober import KEY_RETRY_SECONDS, evaluate_probe

MODEL = Probe("api/gpt", "api", "gpt", "a1b2", "t")
KEY = Probe("key:a1b2", "api", "gpt", "a1b2", "t")
ANSWER = Completion(text="Ready.", finish_reason="stop")


def failed(error: ErrorClass, retry_after: float | None = None) -> Failure:
    return Failure(error_class=error, detail="the detail", retry_after=retry_after)


@pytest.mark.parametrize(
    ("outcome", "model_signal", "key_signal"),
    [
        pytest.param(ANSWER, CallSignal.OK, CallSignal.OK, id="an answer"),
        pytest.param(failed(ErrorClass.AUTH), CallSignal.FAILURE, CallSignal.FAILURE, id="the key is refused"),
        pytest.param(failed(ErrorClass.OUT_OF_CREDITS), CallSignal.FAILURE, CallSignal.FAILURE, id="no credit"),
        pytest.param(failed(ErrorClass.CONNECTION), CallSignal.FAILURE, CallSignal.NEUTRAL, id="not reachable"),
        pytest.param(failed(ErrorClass.OVERLOADED), CallSignal.FAILURE, CallSignal.NEUTRAL, id="overloaded"),
        pytest.param(
            failed(ErrorClass.NOT_INSTALLED), CallSignal.TRIP, CallSignal.OK, id="no such model: the key is accepted"
        ),
        pytest.param(failed(ErrorClass.UNSUPPORTED), CallSignal.OK, CallSignal.OK, id="it refuses this prompt"),
        pytest.param(failed(ErrorClass.BAD_REQUEST), CallSignal.OK, CallSignal.OK, id="it refuses a parameter"),
        pytest.param(failed(ErrorClass.FORBIDDEN), CallSignal.FAILURE, CallSignal.NEUTRAL, id="it is not allowed"),
        pytest.param(
            failed(ErrorClass.RATE_LIMITED), CallSignal.NEUTRAL, CallSignal.OK, id="a 429: the key is accepted"
        ),
    ],
)
def test_a_probe_gives_a_signal_for_its_target(outcome, model_signal, key_signal):
    assert evaluate_probe(MODEL, outcome, 0.5).signal is model_signal
    assert evaluate_probe(KEY, outcome, 0.5).signal is key_signal


def test_a_model_that_is_listed_but_not_in_memory_is_on_trial_and_its_key_is_accepted():
    assert evaluate_probe(MODEL, None, 0.5).signal is CallSignal.OK
    assert evaluate_probe(MODEL, None, 0.5).on_trial
    assert evaluate_probe(KEY, None, 0.5).signal is CallSignal.OK
    assert not evaluate_probe(KEY, None, 0.5).on_trial


def test_a_429_sets_the_cooldown_of_a_model():
    assert evaluate_probe(MODEL, failed(ErrorClass.RATE_LIMITED, 42), 0.5).cooldown_seconds == 42


def test_a_key_is_probed_again_soon_after_an_inconclusive_probe():
    assert evaluate_probe(KEY, failed(ErrorClass.TIMEOUT), 0.5).cooldown_seconds == KEY_RETRY_SECONDS


def test_a_failed_probe_has_a_detail():
    assert evaluate_probe(MODEL, failed(ErrorClass.CONNECTION), 0.5).detail == "connection: the detail"
    assert evaluate_probe(MODEL, ANSWER, 0.5).detail == ""


@pytest.mark.parametrize("error", [ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS])
def test_a_refused_key_shows_nothing_about_a_model_whose_backend_has_another_key(error: ErrorClass) -> None:
    result = evaluate_probe(MODEL, failed(error), 0.5, has_other_key=True)
    assert (result.signal, result.cooldown_seconds) == (CallSignal.NEUTRAL, KEY_RETRY_SECONDS)
    assert evaluate_probe(KEY, failed(error), 0.5, has_other_key=True).signal is CallSignal.FAILURE
