"""What may be pressed about a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.local_batches.saved_plans import SavedBatch, list_batches
from openfall.producers.operations.batch_cancel import cancel_gateway_batch, cancel_run, is_gateway_batch
from openfall.producers.operations.batch_retry import describe_retried, retry_failed_lines
from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog_errors import UnknownName


async def cancel_batch(operator: Operator, form: Mapping[str, str]) -> str:
    name = _name(form)
    if is_gateway_batch(name):
        return f"{name} is being cancelled; it was {await cancel_gateway_batch(operator, name)}"
    cancelled, ended = await cancel_run(operator, await _find(operator, name))
    return f"{cancelled:,} jobs of {name} are cancelled; {ended:,} had ended"


async def retry_batch(operator: Operator, form: Mapping[str, str]) -> str:
    saved = await _find(operator, _name(form))
    return describe_retried(saved, await retry_failed_lines(operator, saved))


def _name(form: Mapping[str, str]) -> str:
    if not form.get("subject"):
        raise Refusal("bad_request", "this form does not say what it concerns", "subject")
    return form["subject"]


async def _find(operator: Operator, name: str) -> SavedBatch:
    """The batch of `batch run` with this name. Raises `UnknownName`."""
    runs = await asyncio.to_thread(lambda: list(list_batches(operator.llm.config.settings.data_dir)))
    named = {saved.plan.name: saved for saved in runs if saved.plan}  # a name from outside is no path
    if name not in named:
        raise UnknownName("batch", name, named)
    return named[name]
