"""What a reader copies out of the documents works: each command and option, each configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from openfall import config
from openfall.producers.cli.commands import openfall as program
from tests.config.config_texts import check
from tests.test_documents import DOCUMENTS

PAGES = [page for page in DOCUMENTS if "adr" not in page.parts and page.name != "CHANGELOG.md"]
GLOBAL_OPTIONS = {"--config", "--json", "--version", "--help", "-"}
VARIABLES = dict.fromkeys(("REDIS_URL", "REDIS_PASSWORD", "SENTINEL_PASSWORD", "ANTHROPIC_API_KEY"), "redis://h")
PROGRAM = re.compile(r"^(?:\$ )?(?:sudo )?(?:\S*/)?openfall (?=\S)")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        if language in languages:
            yield block


def commands(page: Path) -> Iterator[str]:
    """Every command line of openfall on a page, without its program."""
    lines = [line.strip() for block in blocks(page, "", "sh", "bash", "console") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))
    for line in lines:
        if match := PROGRAM.match(line):
            yield line[match.end() :].partition(" #")[0]


def unknown_word(line: str) -> str | None:
    """The first command or option of a line, or of a synopsis, that does not exist."""
    words = [word for word in re.split(r"[\s\[\]|()]+", re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", line)) if word]
    context, options, is_synopsis = click.Context(program), set(GLOBAL_OPTIONS), "|" in line
    command: click.Command = program
    last: click.Command = program
    for word in words:
        below = command.get_command(context, word) if isinstance(command, click.Group) else None
        if word in ("&&", ">"):
            break
        if below is not None:
            options.update(name for option in below.params for name in (*option.opts, *option.secondary_opts))
            command = below if isinstance(below, click.Group) or not is_synopsis else command
            last = below
        elif word.startswith("-"):
            if word.partition("=")[0] not in options and last.name != "work":  # that one has options of its process
                return word
        elif isinstance(last, click.Group) and word[0].islower():
            return word
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    assert [line for line in commands(page) if unknown_word(line)] == []


def test_a_command_or_an_option_that_does_not_exist_is_noticed() -> None:
    lines = ["statsu", "job shwo ID", "ask TEXT --rol chat", "batch run IN --out OUT", "breakers --histroy"]
    assert [unknown_word(line) for line in lines] == ["statsu", "shwo", "--rol", "--out", "--histroy"]
    assert sum(len(list(commands(page))) for page in PAGES) > 200


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page, "yaml"))], ids=lambda page: page.name)
def test_every_configuration_of_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        (file := tmp_path / "openfall.yaml").write_text(block, "utf-8")
        if page.name == "sidecar.md":
            config.load_manifest(file, environ={"HOME": str(tmp_path)}, cwd=tmp_path)
        else:
            assert check(file, environ=VARIABLES, cwd=tmp_path) == (), block
