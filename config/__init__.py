"""The only reader of files and environment: `load()` gives the catalog and the settings, or every problem at once."""

from config.display import masked, show
from config.loading import Loaded, check, load
from config.problems import ConfigError, Problem
from config.settings import EngineSettings, NoRedis, Settings, redis_url

__all__ = [
    "ConfigError",
    "EngineSettings",
    "Loaded",
    "NoRedis",
    "Problem",
    "Settings",
    "check",
    "load",
    "masked",
    "redis_url",
    "show",
]
