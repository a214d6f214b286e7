"""A YAML document whose values know their position. Problems are collected, not raised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from openfall.config.errors import ConfigProblem, nearest, quoted
from openfall.config.former_keys import meant_by, refuse_former_key
from openfall.config.interpolation import variables_in
from openfall.config.toml_text import TOML_REMEDY, is_toml

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml: the same nodes, slower
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

_KINDS = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}
MAX_DEPTH = 100
"""Lists and mappings inside each other. A configuration has less than ten."""
NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"
_OWN = "x-"
"""How a key at the top begins that is none of openfall's: a place for anchors."""
TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one kind in a file. Entries of `known` that could not be read are not in `valid`."""

    known: Collection[str]
    valid: Collection[str]
    meant: Callable[[str], tuple[str, ...]] = lambda name: ()
    """The entries that a name means which is none of them: an alias, an id of a provider."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file, the values of its `${VAR}`, and its problems so far. Relative paths in it start at `base`."""

    file: Path
    environ: Mapping[str, str]
    base: Path = Path()
    env_positions: Mapping[str, str] = field(default_factory=dict)
    """By variable, where a `.env` file sets it: `.env:4`. Variables of the process have none."""
    used: dict[str, None] = field(default_factory=dict)
    """The variables that its values name, in order."""
    names: dict[str, Names] = field(default_factory=dict)
    """By kind (pool, backend, model, role, task)."""
    problems: list[ConfigProblem] = field(default_factory=list)

    def report(self, line: int, path: str, message: str, remedy: str = "", variables: tuple[str, ...] = ()) -> None:
        """Add a problem, once."""
        problem = ConfigProblem(self.file, line, path, message, remedy, variables)
        if problem not in self.problems:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file and its position. The line is that of its key, or its own in a list."""

    document: Document
    path: str
    line: int
    raw: yaml.Node

    @property
    def is_empty(self) -> bool:
        return self.raw.tag == NULL

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.raw, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.raw, yaml.SequenceNode)

    def report(self, message: str, remedy: str = "") -> None:
        """Add a problem at this value. It names the variables whose values are part of this one."""
        document, text = self.document, self.raw.value if isinstance(self.raw, yaml.ScalarNode) else ""
        filled = dict.fromkeys(name for name in variables_in(text) if document.environ.get(name))
        positions = document.env_positions
        shown = tuple(f"{name} of {positions[name]}" if name in positions else name for name in filled)
        document.report(self.line, self.path, message, remedy, shown)

    def entries(self) -> dict[str, Node]:
        """The values of a mapping by key. Keys are read as they are written, even if YAML reads `on` as true."""
        if self.is_empty:
            return {}
        if not isinstance(self.raw, yaml.MappingNode):
            self.report(f"must be a mapping of keys to values, not {_KINDS[type(self.raw)]}")
            return {}
        values: dict[str, Node] = {}
        for key, value in self.raw.value:
            if key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.document.report(line, self.path, f"a key must be a word, not {_KINDS[type(key)]}")
            elif key.value in values:
                message = f"the key {_key(key.value)} occurs twice, first on line {values[key.value].line}"
                self.document.report(line, self.path, message, "Remove one of them.")
            else:
                path = f"{self.path}.{key.value}" if self.path else key.value
                values[key.value] = Node(self.document, path, line, value)
        return self._merged(self.raw) | values

    def _merged(self, raw: yaml.MappingNode) -> dict[str, Node]:
        """The values of the mappings that are merged into one (`<<: *name`), the first of them before the others. Those
        merge no other ones: a file could grow without bound, or merge itself."""
        values: dict[str, Node] = {}
        for mapping in _merges(raw):
            if any(_merges(mapping)):
                self.report("a mapping that is merged must not merge another one", "Write its keys here.")
            else:
                values = Node(self.document, self.path, mapping.start_mark.line + 1, mapping).entries() | values
        return values

    def fields(self, known: Collection[str]) -> dict[str, Node]:
        """The values of a mapping with known keys. Any other key is reported and left out."""
        values = self.entries()
        for key in values.keys() - set(known):
            node = values.pop(key)
            if not self.path and key.startswith(_OWN):
                continue
            if refusal := refuse_former_key(self.path, key):
                self.document.report(node.line, node.path, *refusal)
            else:
                no_space = ":" in key and node.is_empty
                remedy = "Put a space after its colon." if no_space else nearest(key, known, meant_by(self.path, key))
                self.document.report(node.line, self.path, f"unknown key {_key(key)}", remedy)
        return values

    def items(self) -> list[Node]:
        """The values of a list."""
        if isinstance(self.raw, yaml.SequenceNode):
            return [Node(self.document, self.path, item.start_mark.line + 1, item) for item in self.raw.value]
        kind = "nothing" if self.is_empty else _KINDS[type(self.raw)]
        is_value = isinstance(self.raw, yaml.ScalarNode) and not self.is_empty
        self.report(
            f"must be a list, not {kind}", f"{'Put it into brackets: [one]' if is_value else 'Write it as [one, two]'}."
        )
        return []

    def find(self, path: str) -> Node:
        """The node at a dotted path below this one, or the deepest that exists.

        A word of the path is a key of a mapping, or the `name` of an entry of a list.
        """
        node = self
        for word in path.split("."):
            below = node._below(word)
            if below is None:
                return node
            node = below
        return node

    def _below(self, word: str) -> Node | None:
        if self.is_mapping:
            return self.entries().get(word)
        items = self.items() if self.is_list else []
        return next((item for item in items if item.name == word), None)

    @property
    def name(self) -> str | None:
        """The value of `name` in a mapping, as it is written. None if there is none."""
        own = self.entries().get("name") if self.is_mapping else None
        return own.raw.value if own is not None and isinstance(own.raw, yaml.ScalarNode) else None


def _merges(raw: yaml.Node) -> Iterator[yaml.Node]:
    """What is merged into a mapping."""
    for key, value in raw.value if isinstance(raw, yaml.MappingNode) else ():
        if key.tag == MERGE:
            yield from value.value if isinstance(value, yaml.SequenceNode) else (value,)


def parse(document: Document, text: str) -> Node | None:
    """The top of a file with this text; None, and a problem, when it is not YAML."""
    try:
        if line := _too_deep(text):
            document.report(line, "", f"more than {MAX_DEPTH} lists and mappings inside each other", "Close some.")
            return None
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        if is_toml(text):
            _refuse_toml(document)
            return None
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        document.report(line, "", *_not_yaml(error.problem or "", "".join(text.splitlines()[line - 1 : line])))
        return None
    except yaml.YAMLError:
        document.report(0, "", "not YAML: it has characters that YAML does not allow", "Save it as plain UTF-8 text.")
        return None
    if isinstance(node, yaml.ScalarNode) and is_toml(text):  # keys without a section are a text to YAML
        _refuse_toml(document)
        return None
    return Node(document, "", 1, node or yaml.ScalarNode(NULL, ""))


def _refuse_toml(document: Document) -> None:
    document.report(0, "", "this is TOML; openfall reads YAML", TOML_REMEDY)


def _too_deep(text: str) -> int:
    """The line where a text is nested deeper than `MAX_DEPTH`, or 0. The parser would overflow the stack there."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH and event.start_mark is not None:
            return event.start_mark.line + 1
    return 0


def _not_yaml(problem: str, line: str) -> tuple[str, str]:
    if "alias" in problem:
        return "not YAML: a word that begins with * refers to an &anchor, and there is none", "Quote it."
    if "another document" in problem:
        return "a second document begins with ---", "Keep one configuration in one file."
    if line.lstrip(" ").startswith("\t"):
        return "not YAML: the line begins with a tab", "Indent with spaces."
    if "${" in line:
        return f"not YAML: {problem}", 'Inside { } and [ ], write "${VAR}" in quotes.'
    return f"not YAML: {problem}", "Check indentation, colons and quotes here and on the line above."


def _key(key: str) -> str:
    """A key as messages show it. Text after a colon is a value without its space, and may be a secret."""
    name, colon, _ = key.partition(":")
    return f'"{name}:…"' if colon else quoted(name)
