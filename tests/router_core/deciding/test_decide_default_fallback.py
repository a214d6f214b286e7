"""The next step of a job whose current model is a default fallback outside its chain."""

from __future__ import annotations

from dataclasses import replace

from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.deciding.steps import Call, Done, Fall, Later
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import HoldReason, Urgency
from tests.router_core.decisions import CATALOG, NOW, blocked, completion, conditions, job, tried

INTERACTIVE = Urgency.INTERACTIVE


class TestDefaultFallbacks:
    """The default fallback answers in place of the chain."""

    def decided(self, *attempts, of=None, current_model="opus", local_only=False, **models):
        when = replace(conditions(current_model, local_only=local_only, **models), default_fallback=True)
        return decide(of or job(), CATALOG, attempts, when, NOW)

    def test_it_is_called_and_no_model_of_the_chain_is(self):
        first = self.decided()
        assert first == Call("opus", 10)
        assert first.why == "the default fallback for its chain"
        assert self.decided(*[tried("small")] * 4) == Call("opus", 10)
        again = self.decided(tried("opus", ended_at=NOW - 9))
        assert again == Call("opus", 10)

    def test_it_is_repeated_like_any_other(self):
        assert self.decided(tried("opus")) == Later("opus", 1)

    def test_it_is_not_repeated_for_an_answer_that_failed_a_check(self):
        detail = "nor does its default fallback opus answer: invalid_output"
        assert self.decided(tried("opus", E.INVALID_OUTPUT)) == Fall(HoldReason.OUTAGE, detail)

    def test_when_it_is_exhausted_the_job_falls_again_although_its_chain_could_be_called(self):
        detail = "nor does its default fallback opus answer: timeout, after 4 tries"
        assert self.decided(*[tried("opus")] * 4) == Fall(HoldReason.OUTAGE, detail)

    def test_what_only_it_cannot_do_does_not_end_the_job(self):
        fall = Fall(HoldReason.OUTAGE, "nor does its default fallback opus answer: unsupported")
        assert self.decided(tried("opus", E.UNSUPPORTED)) == fall
        assert self.decided(tried("small", E.CONTEXT_OVERFLOW), tried("opus", E.UNSUPPORTED)) == fall

    def test_rules_on_staying_local_hold_for_it_too(self):
        detail = "nor does its default fallback opus answer: not local, and the fleet's local-only switch is on"
        assert self.decided(local_only=True) == Fall(HoldReason.OUTAGE, detail)

    def test_its_queue_is_left_when_it_is_blocked_for_too_long(self):
        detail = "nor does its default fallback opus answer: its breaker is open"
        when = replace(conditions("opus", opus=blocked(NOW + 31)), default_fallback=True)
        of = job(urgency=INTERACTIVE)
        assert reconsider(of, CATALOG, (), when, NOW + 1) is None
        assert reconsider(of, CATALOG, (), when, NOW) == Fall(HoldReason.OUTAGE, detail)

    def test_its_answer_ends_the_job(self):
        when = replace(conditions("opus"), default_fallback=True)
        assert conclude(job(), CATALOG, (tried("opus", None),), completion(), when) == Done(completion())
