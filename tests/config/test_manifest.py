"""The manifest of a sidecar: every problem with its place, and flags as a program takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from openfall import config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sidecar.md"
EXAMPLE = Path(config.__file__).parent / "manifest.yaml"


def load(home: Path, text: str, **environ: str) -> config.Manifest:
    (home / "manifest.yaml").write_text(text, "utf-8")
    return config.load_manifest(environ={"HOME": "/home/me", **environ}, cwd=home)


def problems(home: Path, text: str) -> list[str]:
    with pytest.raises(config.ConfigError) as raised:
        load(home, text)
    return str(raised.value).splitlines()


def test_the_shipped_manifest_can_be_used() -> None:
    manifest = config.load_manifest(EXAMPLE, environ={"OPENFALL_SIDECAR_TOKEN": "secret"})
    assert manifest.profiles
    assert (manifest.sections.max_wait, manifest.sections.max_waiting, manifest.sections.restarts) == (120, 10, 3)


def test_the_example_of_the_page_can_be_used(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert set(load(tmp_path, snippet).profiles) == {"qwen-coder", "llama-3b"}


def test_flags_are_written_as_a_program_takes_them(tmp_path: Path) -> None:
    flags = "{ctx-size: 16384, c: 8, ngl: 99, flash-attn: on, jinja: true, mlock: no, lora: [a, b], -ot: x=CPU, rpc: }"
    profile = load(tmp_path, f"profiles: {{qwen: {{flags: {flags}}}}}").profiles["qwen"]
    words = [word for words in profile.flags.values() for word in words]
    assert " ".join(words) == (
        "--ctx-size 16384 -c 8 -ngl 99 --flash-attn on --jinja --lora a --lora b -ot x=CPU --rpc"
    )


def test_a_model_is_a_path_from_the_manifest_or_from_home(tmp_path: Path) -> None:
    manifest = load(tmp_path, "profiles: {a: {model: m/a.gguf}, b: {model: ~/b.gguf}, c: {model: smollm2}}")
    models = [profile.model for profile in manifest.profiles.values()]
    assert models == [str(tmp_path / "m/a.gguf"), "/home/me/b.gguf", "smollm2"]
    assert manifest.data_dir == tmp_path / ".openfall"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profiles: {}", "it has no profile"),
        ("profiles: {a: {modle: x}}", 'unknown key "modle". Did you mean "model"?'),
        ("profiles: {a: {flags: {port: 5}}}", "port is set by the sidecar. Use the key port: of the profile."),
        ("profiles: {'a b': {}}", '"a b" cannot be a name'),
        ("profiles: {a: {}, b: {aliases: [a]}}", '"a" means "a" already'),
        ("profiles: {a: {port: 9}, b: {port: 9}}", "port 9 is that of a"),
        ("profiles: {a: {port: 8081}}", "port 8081 is that of the sidecar itself"),
        ("vram_gb: 16\nprofiles: {a.b: {vram_gb: 20}}", "manifest.yaml:2 profiles.a.b.vram_gb: 20 GB do not fit"),
        ("preload: [b]\nprofiles: {a: {}}", 'unknown profile "b"'),
        ("listen: 0.0.0.0:8081\nprofiles: {a: {}}", "other machines reach this address"),
        ("listen: here\nprofiles: {a: {}}", "must be HOST:PORT"),
        ('profiles: {a: {command: "llama \'x"}}', "a quote is not closed"),
        ("- a", "must be a mapping of keys to values, not a list"),
    ],
)
def test_a_problem_names_its_place_and_its_remedy(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in line for line in problems(tmp_path, text))


@pytest.mark.parametrize("key", ["foo", "profile", "vram", "max_model"])
def test_an_unknown_key_is_reported_once(tmp_path: Path, key: str) -> None:
    (line,) = problems(tmp_path, f"{key}: 1\nprofiles: {{a: {{}}}}")
    assert line.startswith(f'manifest.yaml:1: unknown key "{key}"')


def test_a_manifest_that_does_not_exist_names_its_own_option(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"Name one that exists with --manifest or \$OPENFALL_MANIFEST"):
        config.load_manifest(tmp_path / "none.yaml", environ={}, cwd=tmp_path)


def test_an_address_for_other_machines_needs_a_token_or_a_decision(tmp_path: Path) -> None:
    exposed = "listen: 0.0.0.0:8081\nprofiles: {a: {}}\n"
    assert load(tmp_path, exposed + "open: yes").sections.open
    token = load(tmp_path, exposed + 'token: "${T}"', T="sesame").sections.token
    assert (token.get_secret_value(), "sesame" in repr(token)) == ("sesame", False)


def test_the_nearest_manifest_is_used(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "openfall" / "manifest.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("profiles: {mine: {}}")
    environ: dict[str, Any] = {"HOME": str(tmp_path)}
    assert set(config.load_manifest(environ=environ, cwd=tmp_path).profiles) == {"mine"}
    (tmp_path / "manifest.yaml").write_text("profiles: {near: {}}")
    assert set(config.load_manifest(environ=environ, cwd=tmp_path).profiles) == {"near"}
    environ["OPENFALL_MANIFEST"] = str(own)
    assert set(config.load_manifest(environ=environ, cwd=tmp_path).profiles) == {"mine"}


def test_the_schema_has_every_key_of_a_profile() -> None:
    properties = config.manifest_schema()["properties"]
    assert {"listen", "token", "vram_gb", "profiles"} <= set(properties)
    assert {"model", "flags", "aliases", "port"} <= set(properties["profiles"]["additionalProperties"]["properties"])
