"""Whether the refusal of a model is the answer of a job. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.steps import Done, Fall, Step
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Answer, Attempt, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass, HoldReason


def accepts_refusals(job: CompletionJob, catalog: Catalog) -> bool:
    """Whether a model that refuses has answered, by the role or the task of the job."""
    terms = (catalog.roles.get(job.role or ""), catalog.tasks.get(job.task or ""))
    return any(term is not None and term.accept_refusals for term in terms)


def refusal_of(attempt: Attempt, outcome: Outcome) -> Answer | None:
    """The refusal in the outcome of a call. None: the model did not refuse in an answer of its own."""
    if not isinstance(outcome, Failure) or outcome.refusal is None:
        return None
    return Answer(attempt.model, attempt.backend, outcome.refusal, is_refusal=True)


def end_with_refusal(step: Step, refusal: Answer | None, attempts: Sequence[Attempt]) -> Step:
    """The step of a job, or its end with the refusal of a model if it would end without an answer, or would wait for
    an operator as none of its models gives one."""
    match step:
        case Done(outcome=Failure(error_class=error)) if error is not ErrorClass.CANCELLED:
            return answer_with(refusal, attempts) or step
        case Fall(reason=HoldReason.OWN_FAULT):
            return answer_with(refusal, attempts) or step
    return step


def answer_with(refusal: Answer | None, attempts: Sequence[Attempt]) -> Done | None:
    """The end of a job whose answer is this refusal. None: there is none."""
    if refusal is None:
        return None
    if attempts and (attempts[-1].model, attempts[-1].backend) == (refusal.model, refusal.backend):
        return Done(refusal.completion)
    return Done(refusal.completion, answer=refusal, why=f"{refusal.model}: it refused, and no other model answers")
