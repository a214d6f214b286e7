"""A held job as a line of a batch file, to be asked elsewhere, or here again."""

from __future__ import annotations

from typing import Any

from openfall.router_core.jobs.job import CompletionJob

URLS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}


def request_line(job: CompletionJob) -> dict[str, Any]:
    """The request in OpenAI's Batch form. `model` is what was asked for: a role, a task or a model.

    A body of another dialect stays as it is, under the URL that takes it.
    """
    body = {"model": job.role or job.task or job.chain[0], **job.body}
    line = {"custom_id": job.id, "method": "POST", "url": URLS[job.dialect], "body": body}
    return {**line, "urgency": str(job.urgency)}
