"""One YAML file while it is read: every value knows its line, and what is wrong is collected, never raised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from openfall.config.former_keys import renamed_key, unsupported_key
from openfall.config.literals import variables_in
from openfall.config.problems import ConfigProblem, nearest, quoted

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml: the same nodes, slower
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

_KINDS = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}
NULL = "tag:yaml.org,2002:null"
TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Document:
    """A file, what its `${VAR}` stand for, and what has been found wrong with it so far."""

    file: Path
    environ: Mapping[str, str]
    problems: list[ConfigProblem] = field(default_factory=list)

    def report(self, line: int, path: str, message: str, remedy: str = "") -> None:
        """Note a problem; the same one is noted once."""
        self.note(ConfigProblem(self.file, line, path, message, remedy))

    def note(self, problem: ConfigProblem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the file and where it stands. The line is that of its key, or its own in a list."""

    page: Document
    path: str
    line: int
    node: yaml.Node

    @property
    def is_empty(self) -> bool:
        """Nothing stands here."""
        return self.node.tag == NULL

    @property
    def is_mapping(self) -> bool:
        """Keys and values stand here."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Values stand here."""
        return isinstance(self.node, yaml.SequenceNode)

    def report(self, message: str, remedy: str = "") -> None:
        """Note that something is wrong here: with the variables whose values stand here, if there are any."""
        page, told = self.page, self.node.value if isinstance(self.node, yaml.ScalarNode) else ""
        filled = tuple(dict.fromkeys(name for name in variables_in(told) if page.environ.get(name)))
        page.note(ConfigProblem(page.file, self.line, self.path, message, remedy, filled))

    def entries(self) -> dict[str, Node]:
        """The values of a mapping by key. Keys are taken as they are written, whatever YAML would make of `on`."""
        if self.is_empty:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            self.report(f"must be a mapping of keys to values, not {_KINDS[type(self.node)]}")
            return {}
        found: dict[str, Node] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.page.report(line, self.path, f"a key must be a word, not {_KINDS[type(key)]}")
            elif key.value in found:
                message = f"the key {_key(key.value)} stands twice, first on line {found[key.value].line}"
                self.page.report(line, self.path, message, "Remove one of them.")
            else:
                path = f"{self.path}.{key.value}" if self.path else key.value
                found[key.value] = Node(self.page, path, line, value)
        return found

    def fields(self, known: Collection[str]) -> dict[str, Node]:
        """The values of a mapping whose keys are known words; any other key is reported and left out."""
        found = self.entries()
        for key in found.keys() - set(known):
            place = found.pop(key)
            if refusal := unsupported_key(self.path, key):
                self.page.report(place.line, place.path, *refusal)
            elif renamed := renamed_key(self.path, key):
                self.page.report(place.line, self.path, renamed, "Write the new name.")
            else:
                lost_space = ":" in key and place.is_empty
                remedy = "Put a space after its colon." if lost_space else nearest(key, known)
                self.page.report(place.line, self.path, f"unknown key {_key(key)}", remedy)
        return found

    def items(self) -> list[Node]:
        """The values of a list."""
        if isinstance(self.node, yaml.SequenceNode):
            return [Node(self.page, self.path, node.start_mark.line + 1, node) for node in self.node.value]
        kind = "nothing" if self.is_empty else _KINDS[type(self.node)]
        self.report(f"must be a list, not {kind}", "Write it as [one, two].")
        return []

    def find(self, path: str) -> Node:
        """The place at a dotted path below this one, or the nearest that there is above it.

        A word of the path is a key of a mapping, or what an entry of a list has as its `name`.
        """
        place = self
        for word in path.split("."):
            below = place._below(word)
            if below is None:
                return place
            place = below
        return place

    def _below(self, word: str) -> Node | None:
        if self.is_mapping:
            return self.entries().get(word)
        items = self.items() if self.is_list else []
        return next((item for item in items if item.name == word), None)

    @property
    def name(self) -> str | None:
        """What stands under `name` in a mapping, as it is written; None where nothing does."""
        own = self.entries().get("name") if self.is_mapping else None
        return own.node.value if own is not None and isinstance(own.node, yaml.ScalarNode) else None


def parse(page: Document, text: str) -> Node | None:
    """The top of a file with this text; None, and a problem, when it is not YAML."""
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        page.report(line, "", *_not_yaml(error.problem or "", "".join(text.splitlines()[line - 1 : line])))
        return None
    except yaml.YAMLError:
        page.report(0, "", "not YAML: it has characters that YAML does not allow", "Save it as plain UTF-8 text.")
        return None
    return Node(page, "", 1, node or yaml.ScalarNode(NULL, ""))


def _not_yaml(problem: str, line: str) -> tuple[str, str]:
    if "alias" in problem:
        return "not YAML: a word that begins with * refers to an &anchor, and there is none", "Quote it."
    if "another document" in problem:
        return "a second document begins with ---", "Keep one configuration in one file."
    if "${" in line:
        return f"not YAML: {problem}", 'Inside { } and [ ], write "${VAR}" in quotes.'
    return f"not YAML: {problem}", "Check indentation, colons and quotes here and on the line above."


def _key(key: str) -> str:
    """A key as messages show it. What follows a colon is a value that lost its space, and may be a secret."""
    name, colon, _ = key.partition(":")
    return f'"{name}:…"' if colon else quoted(name)
