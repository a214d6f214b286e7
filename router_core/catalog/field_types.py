"""Types of catalog fields. A mark in a type tells the configuration's reader how a file writes the value.

A field with a description is a key of the configuration file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Format(StrEnum):
    """How a file writes a value whose Python type does not say it."""

    DURATION = "duration"  # 500ms, 5s, 2m, 24h, 7d, or a number of seconds
    TOKENS = "tokens"  # 4096, 32k, 32Ki
    SHARE = "share"  # 0.85, 85%
    URL = "url"  # an address without a user or password
    LITERAL = "literal"  # text as it is written, even if YAML reads it as a date
    NAME = "name"  # the name that an entry gives itself
    REDIS_URL = "redis url"  # redis://, rediss:// or unix://; it may carry a password
    HOST_PORT = "host and port"  # sentinel-1.example.com:26379
    PASSWORD = "password"  # never shown, not even a part of it
    FILE = "file"  # a path, from the directory of the configuration file


@dataclass(frozen=True, slots=True)
class Reference:
    """The value is the name of an entry of this kind: pool, backend, model, role, task, `role or task`."""

    kind: str


class CatalogEntry(BaseModel):
    """Base of everything in the catalog: unknown fields are refused, values cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Seconds = Annotated[float, Field(gt=0), Format.DURATION]
SecondsOrZero = Annotated[float, Field(ge=0), Format.DURATION]
Share = Annotated[float, Field(ge=0, le=1), Format.SHARE]
PositiveShare = Annotated[float, Field(gt=0, le=1), Format.SHARE]
Tokens = Annotated[int, Field(ge=1), Format.TOKENS]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, StringConstraints(min_length=1)]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Of a pool, backend, model or role. No dots: a queue's name is `{pool}.{model}.{urgency}`."""
PoolName = Annotated[Name, Reference("pool")]
BackendName = Annotated[Name, Reference("backend")]
ModelName = Annotated[Name, Reference("model")]
RoleName = Annotated[Name, Reference("role")]
TaskName = Annotated[Name, Reference("task")]
RoleOrTaskName = Annotated[Name, Reference("role or task")]
