"""The only reader of files and environment: `load()` gives the catalog and the settings, or every problem at once."""

from config.display import show
from config.json_schema import schema
from config.loading import Loaded, Stamp, check, load, stamp
from config.masks import masked, masked_key
from config.paths import ENVIRONMENT
from config.problems import ConfigError, Problem
from config.settings import EngineSettings, NoRedis, Settings, redis_url
from config.variables import variables

__all__ = [
    "ENVIRONMENT",
    "ConfigError",
    "EngineSettings",
    "Loaded",
    "NoRedis",
    "Problem",
    "Settings",
    "Stamp",
    "check",
    "load",
    "masked",
    "masked_key",
    "redis_url",
    "schema",
    "show",
    "stamp",
    "variables",
]
