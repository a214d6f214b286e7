"""The manifest of a sidecar as a model: the profiles of a machine, and how their servers are run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from openfall.config.fields import list_of, mapping_of
from openfall.config.gateway_settings import address
from openfall.config.scalars import FieldType, either, escape, read_scalar, read_text
from openfall.config.settings import engine_model
from openfall.config.yaml_document import NULL, Node
from openfall.router_core.catalog.backend_entry import Gigabytes
from openfall.router_core.catalog.field_types import CatalogEntry, Count, Seconds, Text

EMBEDDED_COMMAND = "embedded"
"""In place of a command: the engine that `openfall up` starts."""

OWN_FLAGS = {"model": "model:", "m": "model:", "port": "port:", "alias": "aliases:", "a": "aliases:"}
"""Flags that a profile has a key for."""

_SHORT = frozenset({
    "b", "c", "cb", "cmoe", "ctk", "ctv", "dev", "dt", "fa", "fit", "hf", "hff", "hft", "j", "kvu", "l", "lv", "mg",
    "mm", "n", "ncmoe", "ngl", "nkvo", "np", "ot", "s", "sm", "t", "tb", "to", "ts", "ub",
})  # fmt: skip
"""Flags of llama-server with one dash, of those that are in use. A flag that is written with its dashes is passed as it
is written."""


def _read_command(node: Node) -> tuple[str, ...] | None:
    if node.is_list:
        return list_of(_text).read(node) or None
    text = read_text(node)
    try:
        return None if text is None else tuple(shlex.split(text)) or None
    except ValueError:
        node.report("a quote is not closed", "Write it as a list: [llama-server, --verbose].")
        return None


def _read_flags(node: Node) -> dict[str, tuple[str, ...]] | None:
    """The words of each flag on a command line, by the flag with its dashes."""
    flags = {}
    for key, below in node.entries().items():
        name = key.lstrip("-")
        if own := OWN_FLAGS.get(name):
            below.report(f"{key} is set by the sidecar", f"Use the key {own} of the profile.")
            continue
        flag = key if key.startswith("-") else f"-{key}" if key in _SHORT else f"--{key}"
        flags[flag] = tuple(_words(flag, below))
    return flags


def _words(flag: str, node: Node) -> Iterator[str]:
    values = node.items() if node.is_list else [node]
    for value in values:
        text = None if value.raw.tag == NULL else read_scalar(value)
        if text in ("false", "no"):
            continue
        yield flag
        if text is not None and text not in ("true", "yes"):
            yield text


_text: FieldType[str] = FieldType(read_scalar, {"type": "string"}, escape)
_command: FieldType[tuple[str, ...]] = FieldType(
    _read_command, either({"type": "string"}, {"type": "array", "items": {"type": "string"}}), shlex.join
)
_flags: FieldType[dict[str, tuple[str, ...]]] = FieldType(_read_flags, {"type": ["object", "null"]}, dict)
_names: FieldType[tuple[str, ...]] = list_of(_text)
_variables: FieldType[dict[str, str]] = mapping_of(FieldType(read_scalar, {}))

Port = Annotated[int, Field(ge=1, le=65535)]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/\S*$"), _text]


class ProfileSection(CatalogEntry):
    """A model with the flags of its server. One file may have several profiles."""

    model: Annotated[str, engine_model] | None = Field(
        None,
        description="The path of a GGUF file, from the directory of the manifest, or `smollm2`, which is shipped. "
        "Without it `flags` say what the server loads (`hf: user/model`).",
    )
    display_name: Text | None = Field(None, description="Display name.")
    aliases: Annotated[tuple[str, ...], _names] = Field((), description="Other names that requests may use.")
    flags: Annotated[Mapping[str, tuple[str, ...]], _flags] = Field(
        {},
        description="Flags of the server, passed on as they are written. `true` passes the flag alone, `false` leaves "
        "it out, a list repeats it.",
    )
    vram_gb: Gigabytes | None = Field(
        None, description="GB that it uses on the graphics card. Without it: the whole card."
    )
    command: Annotated[tuple[str, ...], _command] | None = Field(
        None, description="The program that serves it. Without it: `command` of the manifest."
    )
    port: Port | None = Field(None, description="The port of its server. Without it: a free one at each start.")
    readiness: UrlPath = Field(
        "/v1/models", description="The path that answers with 200 once the model is loaded, beside `/health`."
    )
    environment: Annotated[dict[str, str], _variables] = Field({}, description="Variables for its server.")


class ManifestSections(CatalogEntry):
    """Everything of a manifest but its profiles."""

    listen: Annotated[str, address] = Field("127.0.0.1:8081", description="The address of the sidecar.")
    token: SecretStr = Field(
        SecretStr(""),
        description='What callers send as `Authorization: Bearer`. Write "${OPENFALL_SIDECAR_TOKEN:-}". An address '
        "that other machines reach needs it, or `open`.",
    )
    open: bool = Field(False, description="Serve other machines without a token.")
    vram_gb: Gigabytes | None = Field(
        None,
        description="GB of the graphics card: profiles run beside each other as long as they fit. Without it: one "
        "profile at a time.",
    )
    max_models: Count | None = Field(
        None, description="The most profiles that run at once. Without it: 1, and with `vram_gb` any number."
    )
    command: Annotated[tuple[str, ...], _command] = Field(
        ("llama-server",), description="The program that serves a profile, or `embedded` for openfall's own engine."
    )
    flags: Annotated[Mapping[str, tuple[str, ...]], _flags] = Field(
        {}, description="Flags of every profile. A profile's own win."
    )
    preload: Annotated[tuple[str, ...], _names] = Field(
        (), description="Profiles that are started with the sidecar. Without it: none."
    )
    max_wait: Seconds = Field(120.0, description="How long a request waits for its profile.")
    max_waiting: Count = Field(10, description="The most requests that wait. The next ones are refused with 429.")
    max_load_time: Seconds = Field(600.0, description="A server that is not ready after this time is stopped.")
    drain: Seconds = Field(30.0, description="How long the calls of a profile that is to stop may take to end.")
    restarts: Annotated[int, Field(ge=0)] = Field(
        3, description="How often a server that crashes within ten minutes is started again."
    )
    data: Text = Field(
        ".openfall",
        description="The directory of logs, from the directory of the manifest. Without it: $STATE_DIRECTORY, which "
        "systemd sets, else `.openfall`.",
    )


class ManifestFile(ManifestSections):
    """A manifest as it is written. It describes the file and is never built."""

    profiles: Mapping[str, ProfileSection] = Field({}, description="The profiles by name.")
