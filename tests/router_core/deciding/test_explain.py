"""The reasons of the steps, word for word. Steps compare without their reasons, so only these tests read them."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.deciding.candidates import Candidate, ChainState
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.explain import explain_blocked, explain_choice, explain_handoff, explain_retry
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.routing.fleet_state import FleetState, ModelState
from openfall.router_core.routing.rank import ordinal
from openfall.router_core.vocabulary import BlockReason, Fallback, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import CATALOG, CLOUD, EVEN, LOCAL, NOW, blocked, catalog, conditions, job, tried

OPEN = "its breaker is open"
NOT_LOCAL = "not local, and the job must stay local"
KEPT = "kept for jobs that are late"
WHEN_LATE = catalog(cloud=Cloud.WHEN_LATE)
OVER = tried("small", ended_at=NOW - 9)
"""A failure whose back-off is over."""


def state(*attempts, of=None, by=CATALOG, local_only=False, **models):
    return ChainState(of or job(), by, attempts, FleetState(models, local_only), EVEN)


@pytest.mark.parametrize(
    ("model", "chain", "reason"),
    [
        ("small", state(), "first in the chain"),
        ("small", state(OVER), "repeated after timeout (2nd time)"),
        ("small", state(OVER, tried("small", E.CONNECTION, NOW - 5)), "repeated after connection (3rd time)"),
        ("small", state(OVER, tried("large", E.AUTH)), "repeated after timeout (2nd time)"),
        ("large", state(OVER), "fallback (unavailable) after small: timeout"),
        ("large", state(tried("small", E.OVERLOADED)), "fallback (overload) after small: overloaded"),
        ("large", state(tried("small", E.CONTEXT_OVERFLOW)), "fallback (context) after small: context_overflow"),
        ("large", state(tried("small", E.INVALID_OUTPUT)), "fallback (output) after small: invalid_output"),
        ("large", state(tried("small", E.BUDGET)), "fallback (policy) after small: budget"),
        ("large", state(), "2nd in the chain"),
        ("large", state(small=blocked()), "2nd in the chain; small: its breaker is open"),
        ("large", state(tried("small", None)), "2nd in the chain; small: answered"),
        ("opus", state(of=job(("gone", "opus"))), "2nd in the chain; gone: not in the catalog any more"),
        (
            "opus",
            state(of=job(("small", "large", "opus")), large=blocked(detail="paused")),
            "3rd in the chain; large: paused",
        ),
        (
            "opus",
            state(of=job(("small", "large", "opus")), small=blocked(), large=blocked(detail="paused")),
            "3rd in the chain; small: its breaker is open",
        ),
    ],
)
def test_a_call_names_the_place_of_its_model_or_the_failure_before(model, chain, reason):
    candidate = next(candidate for candidate in chain.candidates(NOW) if candidate.model == model)
    assert explain_choice(chain, candidate, NOW) == reason


@pytest.mark.parametrize(
    ("current_model", "chain", "reason", "kind"),
    [
        ("small", state(tried("small")), "fallback (unavailable) after small: timeout", Fallback.UNAVAILABLE),
        (
            "small",
            state(tried("small", E.OVERLOADED), small=blocked(NOW + 9)),
            "fallback (overload) after small: overloaded",
            Fallback.OVERLOAD,
        ),
        ("small", state(OVER, small=blocked(NOW + 9)), "small: its breaker is open", Fallback.UNAVAILABLE),
        ("small", state(OVER, small=blocked(NOW)), "fallback (unavailable) after small: timeout", Fallback.UNAVAILABLE),
        ("gone", state(of=job(("gone", "large"))), "gone: not in the catalog any more", Fallback.UNAVAILABLE),
        ("opus", state(of=job(("opus", "small"), local_only=True)), f"opus: {NOT_LOCAL}", Fallback.POLICY),
        (
            "opus",
            state(of=job(("opus", "small"), local_only=True), opus=blocked()),
            f"opus: {NOT_LOCAL}",
            Fallback.POLICY,
        ),
        ("opus", state(), "opus: not in its chain", None),
        ("opus", state(opus=blocked()), "opus: its breaker is open", Fallback.UNAVAILABLE),
        ("opus", state(of=job(("opus", "small")), by=WHEN_LATE), f"opus: {KEPT}", None),
        (
            "large",
            state(tried("large"), tried("small")),
            "large: timeout, its next call is in 1 s at the earliest",
            None,
        ),
        ("large", state(tried("large", E.NO_VRAM), tried("small")), "large: no_vram", None),
        ("small", state(), "small: late, and another model is idle", Fallback.OVERLOAD),
        ("small", state(tried("large")), "small: late, and another model is idle", Fallback.OVERLOAD),
    ],
)
def test_a_handoff_names_what_is_wrong_with_its_current_model_and_the_kind_of_fallback(
    current_model, chain, reason, kind
):
    assert explain_handoff(chain, current_model, NOW) == (reason, kind)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (BlockReason.BREAKER, Fallback.UNAVAILABLE),
        (BlockReason.COOLDOWN, Fallback.OVERLOAD),
        (BlockReason.CREDENTIAL, Fallback.UNAVAILABLE),
        (BlockReason.PAUSED, Fallback.POLICY),
        (BlockReason.NO_WORKER, Fallback.UNAVAILABLE),
        (BlockReason.LOCAL_ONLY, Fallback.POLICY),
        (BlockReason.UNHEALTHY, Fallback.UNAVAILABLE),
    ],
)
def test_each_reason_of_a_block_is_a_kind_of_fallback(reason, kind):
    chain = state(small=blocked(NOW + 9, reason, "what blocks it"))
    assert explain_handoff(chain, "small", NOW) == ("small: what blocks it", kind)


@pytest.mark.parametrize(
    ("tries", "error", "reason"),
    [
        (1, E.TIMEOUT, "small is repeated after timeout (2nd time)"),
        (2, E.RATE_LIMITED, "small is repeated after rate_limited (3rd time)"),
        (3, E.CONNECTION, "small is repeated after connection (4th time)"),
    ],
)
def test_a_retry_names_the_failure_and_counts_the_call(tries, error, reason):
    assert explain_retry(Candidate("small", NOW + 1, tries, None), tried("small", error)) == reason


ALL_LOCAL_ONLY = "not local, and the configuration keeps every job local"
SWITCH = "not local, and the fleet's local-only switch is on"
BACKGROUND = "not local, and background jobs must stay local"


@pytest.mark.parametrize(
    ("chain", "reasons"),
    [
        pytest.param(state(), {}, id="every model can be called"),
        pytest.param(state(OVER), {}, id="a back-off that is over"),
        pytest.param(state(small=blocked(NOW)), {}, id="a block that is over"),
        pytest.param(state(small=blocked(NOW + 1)), {"small": OPEN}, id="a block"),
        pytest.param(state(tried("small"), small=blocked(NOW + 9)), {"small": OPEN}, id="a block and a back-off"),
        pytest.param(
            state(tried("small")),
            {"small": "timeout, its next call is in 1 s at the earliest"},
            id="a back-off",
        ),
        pytest.param(
            state(tried("small", E.MALFORMED, NOW - 60), tried("small", E.RATE_LIMITED, retry_after=40)),
            {"small": "rate_limited, its next call is in 45 s at the earliest"},
            id="a back-off after the second failure",
        ),
        pytest.param(state(tried("small", E.NO_VRAM)), {"small": "no_vram"}, id="one call and no retry"),
        pytest.param(
            state(*[tried("small")] * 4, tried("large", None)),
            {"small": "timeout, after 4 tries", "large": "answered"},
            id="no retry left, and an answer",
        ),
        pytest.param(
            state(tried("small", E.MALFORMED), tried("small", None)),
            {"small": "answered, after 2 tries"},
            id="an answer at the second call",
        ),
        pytest.param(state(tried("small", is_judging=True)), {}, id="the failure of a judge is no try of the model"),
        pytest.param(
            state(of=job(("gone", "small"))), {"gone": "not in the catalog any more"}, id="not in the catalog"
        ),
        pytest.param(state(of=job(CLOUD, local_only=True)), dict.fromkeys(CLOUD, NOT_LOCAL), id="a local-only job"),
        pytest.param(state(of=job(CLOUD), local_only=True), dict.fromkeys(CLOUD, SWITCH), id="the fleet's switch"),
        pytest.param(
            state(of=job(CLOUD), by=catalog(local_only=True)), dict.fromkeys(CLOUD, ALL_LOCAL_ONLY), id="configuration"
        ),
        pytest.param(
            state(of=job(CLOUD), by=catalog(cloud=Cloud.NO)), dict.fromkeys(CLOUD, BACKGROUND), id="the urgency"
        ),
        pytest.param(state(of=job(("small", "opus")), by=WHEN_LATE), {"opus": KEPT}, id="the cloud is for late jobs"),
        pytest.param(state(of=job(("small", "opus"), accepted_at=NOW - 30), by=WHEN_LATE), {}, id="a job that is late"),
        pytest.param(
            state(of=job(("opus", "gone", *LOCAL), local_only=True), large=blocked(), small=blocked(detail="paused")),
            {"opus": NOT_LOCAL, "gone": "not in the catalog any more", "small": "paused", "large": OPEN},
            id="each model has its own reason, in the order of the chain",
        ),
    ],
)
def test_each_model_that_cannot_be_called_has_its_reason(chain, reasons):
    assert list(explain_blocked(chain, NOW).items()) == list(reasons.items())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (10, "10th"), (11, "11th"), (12, "12th"), (13, "13th"),
        (14, "14th"), (20, "20th"), (21, "21st"), (22, "22nd"), (23, "23rd"), (100, "100th"), (101, "101st"),
        (111, "111th"), (112, "112th"), (113, "113th"), (121, "121st"),
    ],
)  # fmt: skip
def test_an_ordinal_ends_as_in_english(number, text):
    assert ordinal(number) == text


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param(decide(job(), CATALOG, (), conditions(), NOW), "first in the chain", id="a call"),
        pytest.param(
            decide(job(), CATALOG, (tried("small"),), conditions(), NOW),
            "small is repeated after timeout (2nd time)",
            id="a retry",
        ),
        pytest.param(
            decide(job(urgency=Urgency.INTERACTIVE), CATALOG, (tried("small"),), conditions(), NOW),
            "fallback (unavailable) after small: timeout",
            id="a hand-off",
        ),
        pytest.param(
            decide(job(), CATALOG, (), conditions(small=blocked(NOW + 9), large=blocked(NOW + 5)), NOW),
            "large is due first: its breaker is open",
            id="a wait for the model that is due first",
        ),
        pytest.param(
            reconsider(job(), CATALOG, (), conditions(large=ModelState(free=1)), NOW + 30),
            "small: late, and another model is idle",
            id="a hand-off out of a queue",
        ),
    ],
)
def test_each_step_has_its_reason(step, reason):
    assert step.why == reason


def test_the_place_of_a_model_is_that_in_the_configured_chain_whatever_its_job_calls_first():
    moved = job(chain=("large", "small"), configured_chain=("small", "large"))
    chain = state(of=moved, small=blocked())
    assert explain_choice(chain, chain.candidate("large", NOW), NOW) == f"2nd in the chain; small: {OPEN}"
