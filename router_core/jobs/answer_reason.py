"""Why a result is as it is, in a few words: for receipts and lists."""

from __future__ import annotations

import re

from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import Remedy

_ESTIMATE = re.compile(r"; about \d+ s for [^;]+")
"""When the model could start, as the reason of its rank has it (`RankedModel.trouble`). An answer is not to come."""


def describe_reply(result: Result) -> str:
    """The kind of a degraded reply in a few words."""
    match result.degraded_by:
        case Remedy.DEFAULT_FALLBACK:
            return f"default fallback {result.model}"
        case Remedy.LAST_ANSWER:
            return "the last answer to the same request"
        case Remedy.CANNED_REPLY:
            return "canned reply"
        case _:
            return "no reply"


def why_this_model(result: Result) -> str:
    """Why this model answered: another failed before it, or its rank among the candidates."""
    if result.degraded:
        return f"degraded: {describe_reply(result)}"
    if not result.fallback_used:
        own_reason = next((each.reason for each in result.considered if each.model == result.model), result.reason)
        passed_over = any(each.reason.startswith(("moved back", "left out")) for each in result.considered)
        return result.picked_why or _ESTIMATE.sub("", result.reason if passed_over else own_reason)
    failed = [call for call in result.attempts if call.error is not None and call.model != result.model]
    if failed:
        return f"{failed[0].model} failed: {failed[0].cause}; the next in its chain answered"
    return result.selection_reason
