"""The configuration file as a model: the catalog and the settings, in the form in which a file has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from openfall.config.open_fall_settings import OpenFallSection
from openfall.config.redis_formats import EMBEDDED
from openfall.config.redis_section import redis_section
from openfall.config.settings import EngineSettings, SettingsSections
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.field_types import Name
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog


class BackendSection(Backend):
    """A backend, and how its engine runs if it is embedded."""

    engine: EngineSettings | None = Field(None, description="How an embedded backend runs.")

    def backend(self) -> Backend:
        """The backend of the catalog. Fields that could not be read stay unset."""
        values = {name: value for name, value in self if name != "engine"}
        return Backend.model_construct(self.model_fields_set - {"engine"}, **values)


class _TopLevel(BaseModel):
    redis: Annotated[RedisServer, redis_section] = Field(
        RedisServer(),
        description=f"`{EMBEDDED}`, or the address of a Redis or Valkey, or the keys below. Without it: $REDIS_URL, "
        f"else `{EMBEDDED}`.",
    )
    data: str = Field(
        ".openfall",
        description="The directory of the embedded Redis, and of answers that are not delivered yet. Without it: "
        "$STATE_DIRECTORY, which systemd sets, else `.openfall`.",
    )


class ConfigFile(SettingsSections, UncheckedCatalog, _TopLevel):
    """Every section of a file. It describes the file and is never built."""

    backends: Mapping[Name, BackendSection] = Field({}, description="Where models run.")
    open_fall: OpenFallSection = Field(OpenFallSection(), description="What happens when nothing can serve a job.")
