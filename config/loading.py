"""Loads a file into a catalog and settings, or reports every problem at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from openfall.config import from_environment
from openfall.config.env_file import FILE_NAME, EnvFile, read_env_file
from openfall.config.errors import ConfigError, ConfigProblem
from openfall.config.find_file import find_file
from openfall.config.interpolation import variables_in
from openfall.config.key_warnings import hint_at_variables, warn_of_keys
from openfall.config.paths import DEMO, ENVIRONMENT, VARIABLE, base_of, shorten
from openfall.config.paths import FILE_NAME as CONFIG_NAME
from openfall.config.pipes import open_source
from openfall.config.section_reader import read_file
from openfall.config.service_environment import CREDENTIALS, read_credentials
from openfall.config.settings import Settings
from openfall.config.yaml_document import Document, parse
from openfall.router_core.catalog.catalog import Catalog

MAX_FILE_BYTES = 10_000_000
"""A larger file is no configuration: the user named a model or a log by mistake, or a device without an end."""

FileStamp = tuple[int, int, int]
"""What changes when a file does: its modification time (ns), its size, and its inode."""

Stamp = tuple[FileStamp | None, FileStamp | None]
"""That of a configuration file, and that of the `.env` beside it. None: there is no such file."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration without problems, and its source: a file, or `ENVIRONMENT`.

    `stamp` is that of its files just before they were read. A long-running process compares it with `stamp(source)` now
    and then, and loads `source` again when the two differ. A broken file is reported once for each stamp.
    """

    catalog: Catalog
    settings: Settings
    source: Path
    stamp: Stamp = field(default=(None, None), compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """By variable that the configuration names, where its value comes from, in words."""
    warnings: tuple[ConfigProblem, ...] = field(default=(), compare=False)

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret, as texts that nothing may show."""
        redis, notify = self.settings.redis, self.settings.notify
        passwords = [value.get_secret_value() for value in (redis.password, redis.sentinel_password) if value]
        addresses = [address for address in (notify.discord, notify.webhook) if address]
        parts = [urlsplit(address) for address in addresses]
        return frozenset([
            *(secret for backend in self.catalog.backends.values() for secret in backend.secrets),
            *passwords,
            *([urlsplit(redis.url).password or ""] if redis.url else []),
            *([self.settings.webhooks.secret] if self.settings.webhooks.secret else []),
            *(part.path.rpartition("/")[2] for part in parts),
            *(part.query for part in parts),
        ]) - {""}  # fmt: skip

    @property
    def provider_variables(self) -> tuple[str, ...]:
        """The variables of this process that make the configuration in place of a file. Another program needs them
        too. Those of a `.env` file are left out: a program in the same folder reads it."""
        prefixes = tuple(f"{name.upper()}_" for name in from_environment.PROVIDERS)
        return tuple(
            name
            for name, origin in sorted(self.origins.items())
            if self.source == ENVIRONMENT
            and name.startswith(prefixes)
            and origin.startswith("the environment")
            and not origin.endswith("empty")
        )

    def require_models(self) -> None:
        """Raises `ConfigError` if no job can be answered."""
        if self.missing:
            raise ConfigError(self.missing)

    @property
    def missing(self) -> tuple[ConfigProblem, ...]:
        """What a fleet needs and a valid configuration may lack. One that is empty lacks everything."""
        if self.catalog.models:
            return ()
        nothing = "no backend and no model" if not self.catalog.backends else "no model"
        remedy = "Add one under models:, and the backend that serves it under backends:."
        return (ConfigProblem(self.source, 0, "", f"it names {nothing}, so no job can be answered", remedy),)


def load(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> LoadedConfig:
    """The configuration in `path`, else in the first file of the search. Raises `ConfigError` with every problem.

    The search: $OPENFALL_CONFIG, `openfall.yaml` from `cwd` up to the git root, `~/.config/openfall/`, then the
    configuration from OPENAI_* and ANTHROPIC_*, then the shipped demo. `environ` and `cwd` are the process's own
    unless given. Files in $CREDENTIALS_DIRECTORY add variables, then the `.env` file beside the configuration; without
    a file of the user, that in `cwd`.
    """
    own = os.environ if environ is None else environ
    credentials = read_credentials(own)
    process = {**credentials, **own}
    cwd = _current_directory() if cwd is None else cwd.absolute()
    source = find_file(path, process, cwd)
    base = base_of(source, cwd)
    before = stamp(source, cwd)
    env_file = env_file_of(base, process, cwd)
    environ = env_file.over(process)
    if source == DEMO and path is None and not process.get(VARIABLE) and from_environment.is_complete(environ):
        source = ENVIRONMENT
        before = stamp(source, cwd)
    if source == ENVIRONMENT and (misnamed := tuple(from_environment.misnamed(environ))):
        raise ConfigError(misnamed)
    file = source if source == ENVIRONMENT else shorten(source, cwd)
    document = Document(file, environ, base, env_file.positions(process))
    text = _generate(document) if source == ENVIRONMENT else read_source(document, source)
    top = parse(document, text) if text is not None else None
    parts = read_file(top, source) if top is not None else None
    if top is None or parts is None or document.problems:
        in_environment = source == ENVIRONMENT
        raise ConfigError(_at_variable(document, env_file) if in_environment else document.problems)
    origins = {name: env_file.origin(name, process) for name in document.used}
    origins |= {name: f"${CREDENTIALS}/{name}" for name in origins.keys() & (credentials.keys() - own.keys())}
    warnings = [*_warn(env_file), *warn_of_keys(top, parts[0], source)]
    if source == DEMO and path is None and not process.get(VARIABLE):
        warnings += hint_at_variables(environ)
    return LoadedConfig(*parts, source, before, origins, tuple(warnings))


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # removed meanwhile
        remedy = "Change to one that exists: cd."
        raise ConfigError([ConfigProblem(Path(), 0, "", "the current directory does not exist", remedy)]) from None


def stamp(source: Path, cwd: Path | None = None) -> Stamp:
    """The stamp of a configuration, from the directory entries of its files alone. That of a pipe never changes: it
    cannot be read again."""
    if source.is_fifo():
        return None, None
    own, env = files_of(source, cwd)
    return _file_stamp(own), _file_stamp(env)


def files_of(source: Path, cwd: Path | None = None) -> tuple[Path, Path]:
    """The file of a configuration, and its `.env`."""
    return source, base_of(source, cwd or Path.cwd()) / FILE_NAME


def _file_stamp(file: Path) -> FileStamp | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def variables(source: Path, path: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The environment variables in the value, or in the list of values, at a dotted path (`backends.anthropic.api_key`)
    of a file."""
    process = os.environ if environ is None else environ
    try:
        environ = env_file_of(Path.cwd(), process, Path.cwd()).over(process) if source == ENVIRONMENT else process
        text = from_environment.generate(environ) if source == ENVIRONMENT else source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ()
    top = parse(Document(source, {}), text)
    node = top.find(path) if top is not None else None
    if node is None or node.path != path:
        return ()
    raws = [item.raw for item in (node.items() if node.is_list else [node])]
    return tuple(name for raw in raws if isinstance(raw, yaml.ScalarNode) for name in variables_in(raw.value))


def missing_keys(loaded: LoadedConfig, pool: str | None = None) -> Iterator[tuple[str, ConfigProblem]]:
    """The backends (of a pool) that charge by the token, serve a model, and have no key: each with the remedy."""
    catalog = loaded.catalog
    used = {name for spec in catalog.models.values() for name in spec.backends}
    for name, backend in catalog.backends.items():
        is_meant = name in used and pool in (None, backend.pool)
        if not is_meant or backend.secrets or not catalog.is_metered(name):
            continue
        names = _key_variables(loaded, name)
        in_words = f"Set {' or '.join(names)}, in the environment or in .env." if names else ""
        remedy = in_words or f"Write api_key: ${{...}} at backends.{name}."
        yield name, ConfigProblem(loaded.source, 0, f"backends.{name}", f"{name} has no key", remedy)


def key_place(loaded: LoadedConfig, backend: str) -> str:
    """Where the key of a backend is written, in words: its variables and their origin, else its place in the file."""
    names = [
        f"{name} ({loaded.origins[name]})" if name in loaded.origins else name
        for name in _key_variables(loaded, backend)
    ]
    return " or ".join(names) or f"api_key of backends.{backend} in {loaded.source}"


def _key_variables(loaded: LoadedConfig, backend: str) -> list[str]:
    places = (f"backends.{backend}.api_key", f"backends.{backend}.auth_token")
    return [variable for place in places for variable in variables(loaded.source, place)]


def env_file_of(base: Path, process: Mapping[str, str], cwd: Path) -> EnvFile:
    """The `.env` file in a directory. Raises `ConfigError` with its problems: any other may follow from them."""
    document = Document(shorten(base / FILE_NAME, cwd), process)
    env_file = read_env_file(base / FILE_NAME, document)
    if document.problems:
        raise ConfigError(document.problems)
    return env_file


def _warn(env_file: EnvFile) -> Iterator[ConfigProblem]:
    if env_file.open_to_others and env_file.has_secrets:
        message = "every user of this machine can read it, and it has secrets"
        yield ConfigProblem(env_file.path, 0, "", message, f"Run: chmod 600 {env_file.path}")
    if VARIABLE in env_file.lines:
        message = "it is not read from this file, which is searched beside the configuration"
        remedy = "Set it in the environment, or use --config."
        yield ConfigProblem(env_file.path, env_file.lines[VARIABLE], VARIABLE, message, remedy)


def _at_variable(document: Document, env_file: EnvFile) -> Iterator[ConfigProblem]:
    """The problems of a generated configuration at its variables, and at their lines in the `.env` file."""
    for problem in map(from_environment.name_variable, document.problems):
        in_file = problem.path in document.env_positions
        yield replace(problem, file=env_file.path, line=env_file.lines[problem.path]) if in_file else problem


def _generate(document: Document) -> str | None:
    if from_environment.is_complete(document.environ):
        return from_environment.generate(document.environ)
    remedy = "Set OPENAI_MODEL with OPENAI_API_KEY or OPENAI_BASE_URL, or the same of ANTHROPIC_."
    document.report(0, "", "it names no model and how to reach it", remedy)
    return None


def read_source(document: Document, source: Path, option: str = "--config", variable: str = VARIABLE) -> str | None:
    """The text of a file that an option or a variable names; None, and a problem, if it cannot be read."""
    try:
        with open_source(source) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) <= MAX_FILE_BYTES:
            return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        document.report(0, "", f"it has more than {MAX_FILE_BYTES:,} bytes", "Name a configuration file.")
    except FileNotFoundError:
        if source.is_symlink():
            document.report(0, "", f"it is a link to {source.readlink()}, which does not exist", "Correct the link.")
        else:
            document.report(0, "", "there is no such file", f"Name one that exists with {option} or ${variable}.")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        document.report(line, "", "not UTF-8 text", "Save the file as UTF-8.")
    except IsADirectoryError:
        document.report(0, "", "it is a directory", _in_place_of_a_file(source))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # too many open files: it is not this file's fault
        document.report(0, "", f"it cannot be read: {error.strerror}", "Name a file that you may read.")
    return None


def _in_place_of_a_file(directory: Path) -> str:
    """What to do about a directory where a file is expected."""
    if (directory / CONFIG_NAME).is_file():
        return f"Name the file in it: {directory / CONFIG_NAME}."
    if directory.name == CONFIG_NAME:
        return "Remove it, and write the file. A container makes a directory where a file to mount is missing."
    return "Name a file."
