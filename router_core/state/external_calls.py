"""Calls that a producer makes by itself, beside the queue: their epochs and their reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from openfall.router_core.catalog.budget_scope import NO_OWNER, CallOwner, all_budgets, backend_budgets, budgets_of
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.rate_limits import ChargedCall, rates_for
from openfall.router_core.deciding.call_signals import breaker_signal, credential_signal, is_slow
from openfall.router_core.deciding.cost import call_cost
from openfall.router_core.deciding.rate_limit_cooldown import cooldown
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.outcome import Attempt, Failure
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.state.budget_book import BudgetBook, read_over
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.ledger import encode_entry, encode_substitution
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, encode_call, limit_arguments, policy_arguments
from openfall.router_core.state.worker_subscription import backend_capacity
from openfall.router_core.vocabulary import ErrorClass


@dataclass(frozen=True, slots=True)
class CallStart:
    """What a call needs to know when it begins: the name of the key whose turn it is (empty: the backend has none), and
    the epochs of the breakers of the model and of that key. `charged`: what it counts for the limits of the key.

    `wait_seconds` is not 0 while every key is at a limit: no call may begin before."""

    credential: str = ""
    epoch: str = "0"
    credential_epoch: str = "0"
    charged: ChargedCall | None = None
    wait_seconds: float = 0.0


NO_TOKENS = ChargedCall("", True, 0)


async def start_external_call(
    link: RedisConnection, catalog: Catalog, backend: str, model: str, charge: ChargedCall = NO_TOKENS
) -> CallStart:
    """Begin a call now. `charge`: what it counts for limits; its key is chosen here."""
    capacity = backend_capacity(catalog, backend, model)
    arguments = {"model": model, "backend": capacity, "interactive": charge.interactive, "tokens": charge.tokens}
    reply = await link.script("external_start", arguments)
    now, free_at, credential, epoch, key_epoch = map(read_text, reply)
    if free_at != "0":
        return CallStart(wait_seconds=max(0.001, (int(free_at) - int(now)) / 1000))
    charged = replace(charge, key=credential) if capacity.rates else None
    return CallStart(credential, epoch, key_epoch, charged)


def first_credential(catalog: Catalog, backend: str) -> str:
    """The name of the first key of a backend; empty: it has none."""
    return next(iter(catalog.credentials(backend)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCall:
    """A call of a model at a backend, and its outcome. `error` None: it answered, after `seconds`.

    `substitution`: the answer is given in place of the first choice. `group` is the caller's group in the catalog,
    `owner`: the caller for which budgets count it.
    `retry_after_seconds` is what a 429 asked for. `jitter` in [0, 1]
    spreads the time for which a breaker opens."""

    model: str
    backend: str
    start: CallStart = CallStart()
    error: ErrorClass | None = None
    http_status: int | None = None
    seconds: float = 0.0
    retry_after_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    group: str | None = None
    substitution: Substitution | None = None
    owner: CallOwner = NO_OWNER
    jitter: float = 0.5


async def report_external_call(link: RedisConnection, catalog: Catalog, call: ExternalCall) -> bool:
    """Report a call to the breakers and the ledger. True when this opened a breaker.

    The breaker ignores a call that began before its last change. The ledger counts it all the same.
    """
    report = _report(catalog, call)
    arguments: dict[str, Any] = {"call": encode_call(report)}
    if call.start.charged is not None:
        rates = rates_for(catalog.backends[call.backend])
        arguments["limits"] = limit_arguments(call.backend, rates, call.start.charged, report)
    if call.substitution is not None and call.error is None:
        role, producer = call.owner.role or call.owner.task, call.owner.producer
        arguments["substitution"] = encode_substitution(replace(call.substitution, role=role, producer=producer))
    money = b""
    if names := budgets_of(catalog, call.backend, call.model):
        arguments |= {"terms": {"budgets": names}, "owner": encode_owner(call.owner)}
        money = pack_budgets(catalog)
    reply = await link.script("external_call", arguments, policy_arguments(catalog.breakers), money)
    return bool(reply[0])


async def book_passthrough_request(
    link: RedisConnection, catalog: Catalog, backend: str, cost_nusd: int, owner: CallOwner
) -> OverBudget | None:
    """Book a request that passes to a backend beside the queue, at a price that is known before. Returns the budget
    that it does not fit into: then it must not be sent."""
    arguments = {
        "backend": backend,
        "cost_nusd": cost_nusd,
        "terms": {"budgets": backend_budgets(catalog, backend)},
        "owner": encode_owner(owner),
        "entry": encode_entry(None, owner.producer, None, cost_nusd, {}),
    }
    return read_over(read_text(await link.script("passthrough_request", arguments, pack_budgets(catalog))))


def encode_owner(owner: CallOwner) -> dict[str, str]:
    """The owner of a call, as the scripts read it of the record of a job."""
    bound = f"0 0 0 1 0 0 {owner.role or '-'} {owner.task or '-'}"
    fields = {"bound": bound, "group": owner.group, "producer": owner.producer}
    return {name: value for name, value in fields.items() if value}


def pack_budgets(catalog: Catalog) -> bytes:
    """The budgets of a catalog for one script. Their windows are chosen by the server's clock."""
    return BudgetBook(all_budgets(catalog)).pack(time.time())


def _report(catalog: Catalog, call: ExternalCall) -> CallReport:
    spec, credentials = catalog.model(call.model), catalog.credentials(call.backend)
    credential = call.start.credential or first_credential(catalog, call.backend)
    usage = Usage(input_tokens=call.input_tokens, output_tokens=call.output_tokens)
    outcome = Failure(error_class=call.error or ErrorClass.OTHER, usage=usage)
    attempt = Attempt(
        model=call.model,
        backend=call.backend,
        started_at=0.0,
        ended_at=call.seconds,
        error=call.error,
        http_status=call.http_status,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cost_nusd=call_cost(spec.usd_per_mtok, catalog.billing(call.backend), outcome, call.error),
    )
    return CallReport(
        attempt=attempt,
        group=call.group,
        role=call.owner.role or call.owner.task,
        producer=call.owner.producer,
        signal=breaker_signal(call.error, call.seconds, spec.slow_after, credential),
        epoch=call.start.epoch,
        credential=credential,
        credential_signal=credential_signal(call.error),
        credential_epoch=call.start.credential_epoch,
        one_of_several=len(credentials) > 1,
        cooldown_seconds=cooldown(call.error, call.retry_after_seconds),
        jitter=call.jitter,
        is_slow=is_slow(call.error),
    )
