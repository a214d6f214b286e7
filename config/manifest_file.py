"""Loads the manifest of a sidecar, or reports every problem at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from openfall.config.dump import DIALECT
from openfall.config.errors import ConfigError, nearest, quoted
from openfall.config.fields import build, keys_of, model_shape
from openfall.config.loading import env_file_of, read_source
from openfall.config.manifest_sections import ManifestFile, ManifestSections, ProfileSection
from openfall.config.paths import resolve, shorten
from openfall.config.service_environment import read_credentials, state_directory
from openfall.config.yaml_document import Document, Node, parse

FILE_NAME = "manifest.yaml"
VARIABLE = "OPENFALL_MANIFEST"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_NAME_RULE = "A name has letters, digits and . _ : / @ + -, begins with a letter or digit, and has at most 128 of them."


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest without problems. `data_dir` is absolute, and so are the models of the profiles."""

    source: Path
    sections: ManifestSections
    profiles: Mapping[str, ProfileSection]
    data_dir: Path

    def find(self, name: str) -> str | None:
        """The profile of a name or an alias. None: there is none."""
        if name in self.profiles:
            return name
        return next((known for known, profile in self.profiles.items() if name in profile.aliases), None)

    def remedy(self, name: str) -> str:
        """The remedy for a name that is unknown: the nearest one."""
        return nearest(name, [*self.profiles, *(alias for each in self.profiles.values() for alias in each.aliases)])


def load_manifest(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Manifest:
    """The manifest in `path`, else in $OPENFALL_MANIFEST, in `cwd` or in `~/.config/openfall/`. Raises `ConfigError`
    with every problem. Files in $CREDENTIALS_DIRECTORY and the `.env` file beside it add variables."""
    own = os.environ if environ is None else environ
    process = {**read_credentials(own), **own}
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    source = _locate(path, process, cwd)
    env_file = env_file_of(source.parent, process, cwd)
    environ = env_file.over(process)
    document = Document(shorten(source, cwd), environ, source.parent, env_file.positions(process))
    text = read_source(document, source, "--manifest", VARIABLE)
    top = parse(document, text) if text is not None else None
    manifest = _read_manifest(top, source) if top is not None else None
    if manifest is None or document.problems:
        raise ConfigError(document.problems)
    return manifest


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest."""
    shape = model_shape(ManifestFile)
    profiles = {"type": "object", "additionalProperties": model_shape(ProfileSection)}
    return {
        "$schema": DIALECT,
        "title": "manifest",
        **shape,
        "properties": shape["properties"] | {"profiles": profiles},
    }


def _locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    name = str(path) if path is not None else environ.get(VARIABLE)
    if name:
        return resolve(name, cwd, environ)
    own = resolve(f"~/.config/openfall/{FILE_NAME}", cwd, environ)
    return own if not (cwd / FILE_NAME).is_file() and own.is_file() else cwd / FILE_NAME


def _read_manifest(top: Node, source: Path) -> Manifest:
    document, known = top.document, [*keys_of(ManifestSections), "profiles"]
    entries = top.fields(known)
    section = entries.pop("profiles", None)
    sections = build(ManifestSections, _sections_of(top))
    profiles = {}
    for name, node in section.entries().items() if section is not None else ():
        if _NAME.fullmatch(name):
            profiles[name] = build(ProfileSection, node)
        else:
            document.report(node.line, "profiles", f"{quoted(name)} cannot be a name", _NAME_RULE)
    if not (section is not None and section.entries()):
        document.report(top.line, "profiles", "it has no profile", "Add one: {qwen: {model: models/qwen.gguf}}.")
    kept = None if "data" in sections.model_fields_set else state_directory(document.environ)
    data_dir = resolve(kept or sections.data, document.base, document.environ)
    manifest = Manifest(source, sections, profiles, data_dir)
    for keys, message, remedy in _contradictions(manifest):
        _deepest(top, keys).report(message, remedy)
    return manifest


def _deepest(node: Node, keys: tuple[str, ...]) -> Node:
    """The node at these keys, or the deepest that exists. The name of a profile may have dots."""
    for key in keys:
        below = node.entries().get(key)
        if below is None:
            return node
        node = below
    return node


def _sections_of(top: Node) -> Node:
    """The same mapping without the profiles, which are read by themselves, and without unknown keys."""
    if not top.is_mapping:
        return top
    pairs = [pair for pair in top.raw.value if pair[0].value in keys_of(ManifestSections)]
    return replace(top, raw=yaml.MappingNode(top.raw.tag, pairs, top.raw.start_mark, top.raw.end_mark))


Contradiction = tuple[tuple[str, ...], str, str]
"""Keys, message and remedy."""


def _contradictions(manifest: Manifest) -> Iterator[Contradiction]:
    yield from _repeated_names(manifest)
    yield from _repeated_ports(manifest)
    total = manifest.sections.vram_gb
    for name, profile in manifest.profiles.items():
        if total is not None and profile.vram_gb is not None and profile.vram_gb > total:
            message = f"{profile.vram_gb:g} GB do not fit on a card of {total:g} GB"
            yield ("profiles", name, "vram_gb"), message, "Choose a smaller model, or more of it on the CPU."
    for name in manifest.sections.preload:
        if manifest.find(name) is None:
            yield ("preload",), f"unknown profile {quoted(name)}", manifest.remedy(name)
    if is_exposed(manifest.sections):
        message = "other machines reach this address, and each program there could use the models"
        yield ("listen",), message, 'Set token: "${OPENFALL_SIDECAR_TOKEN}", or open: yes, or listen on 127.0.0.1.'


def _repeated_names(manifest: Manifest) -> Iterator[Contradiction]:
    owners: dict[str, str] = {name: name for name in manifest.profiles}
    for name, profile in manifest.profiles.items():
        for alias in profile.aliases:
            if owners.setdefault(alias, name) != name or alias == name:
                message = f"{quoted(alias)} means {quoted(owners[alias])} already"
                yield ("profiles", name, "aliases"), message, "Name it once."


def _repeated_ports(manifest: Manifest) -> Iterator[Contradiction]:
    ports = {int(manifest.sections.listen.rpartition(":")[2]): "the sidecar itself"}
    for name, profile in manifest.profiles.items():
        if profile.port is None:
            continue
        if holder := ports.get(profile.port):
            message = f"port {profile.port} is that of {holder}"
            yield ("profiles", name, "port"), message, "Choose another, or remove it."
        ports[profile.port] = name


def is_exposed(sections: ManifestSections) -> bool:
    """Whether other machines reach the sidecar without a token although `open` does not allow it."""
    host = sections.listen.rpartition(":")[0].strip("[]")
    is_own = host == "localhost" or host == "::1" or host.startswith("127.")
    return not (is_own or sections.open or sections.token.get_secret_value())
