"""What a role requires of its answers: checks, and one of several models' answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, ModelName


class Pick(StrEnum):
    """How the best of several answers is chosen."""

    QUALITY = "quality"  # the model with the highest quality for the task
    AGREEMENT = "agreement"  # the answer that is most like the others
    JUDGE = "judge"  # a model reads them and chooses


class Ensemble(CatalogEntry):
    """Several models are called, one after the other through the queue, and the best answer is kept."""

    answers: Annotated[int, Field(ge=2, le=8)] = Field(2, description="How many models of the chain are to answer.")
    pick: Pick = Field(
        Pick.QUALITY, description="By the `quality` of the model, by `agreement` among the answers, or by a `judge`."
    )
    judge: ModelName | None = Field(None, description="The model that judges. Only with `pick: judge`.")


class CheckKind(StrEnum):
    """What an answer can be checked for. The text is the answer's own, without reasoning.

    An answer that calls a tool is an intermediate turn: only `tool_calls` checks it, and only that.
    """

    NOT_EMPTY = "not_empty"
    JSON = "json"
    JSON_SCHEMA = "json_schema"  # it fulfils the schema of the request
    CODE_BLOCK = "code_block"
    MERMAID = "mermaid"
    HTML = "html"
    TOOL_CALLS = "tool_calls"  # each call names a tool of the request, and fulfils its schema
