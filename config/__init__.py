"""The only reader of files and environment: `load()` gives the catalog and the settings, or every problem at once."""

from openfall.config.dump import dump, in_force, schema
from openfall.config.errors import ConfigError, ConfigProblem
from openfall.config.loading import LoadedConfig, Stamp, key_place, load, missing_keys, stamp, variables
from openfall.config.manifest_file import Manifest, load_manifest, manifest_schema
from openfall.config.manifest_sections import EMBEDDED_COMMAND
from openfall.config.paths import ENV_EXAMPLE, ENVIRONMENT, describe_source
from openfall.config.pipes import refuse_pipe
from openfall.config.redact import redact_key, redact_value
from openfall.config.settings import (
    LogFormat,
    NoRedis,
    Settings,
    redis_server,
    variable_for_other_folders,
)

__all__ = [
    "EMBEDDED_COMMAND",
    "ENVIRONMENT",
    "ENV_EXAMPLE",
    "ConfigError",
    "ConfigProblem",
    "LoadedConfig",
    "LogFormat",
    "Manifest",
    "NoRedis",
    "Settings",
    "Stamp",
    "describe_source",
    "dump",
    "in_force",
    "key_place",
    "load",
    "load_manifest",
    "manifest_schema",
    "missing_keys",
    "redact_key",
    "redact_value",
    "redis_server",
    "refuse_pipe",
    "schema",
    "stamp",
    "variable_for_other_folders",
    "variables",
]
