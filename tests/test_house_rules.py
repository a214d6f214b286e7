"""The rules of CONTRIBUTING.md that no linter knows: names, and the sizes of modules, classes and functions."""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("router_core", "config", "producers", "workers")
SHARED = ("benchmarks", "examples", "tests")

BANNED = frozenset({"told", "said", "came", "found", "seen", "asked", "here", "way", "one", "who", "thing"})
"""Words that say nothing about the value: a variable or a parameter takes the noun of what it holds."""

REPLACED = {
    "door": "gateway", "doors": "gateways", "anew": "again; a budget resets", "nobody": "no model, no worker ...",
    "whoever": "each caller that ...", "whither": "where", "stand-in": "default fallback",
    "keeper": "runner of a batch", "attendance": "lease of a caller", "attended": "awaited", "patience": "wait limit",
    "hammer": "call again and again", "hurry": "stop now", "hence": "so",
}  # fmt: skip
"""Words of earlier texts, each with the one that the project uses. Neither code nor a page has a second word."""

TERMINAL = "producers/cli/terminal.py"
"""The one module that writes to a terminal: text from outside must be no markup and no escape sequence."""

TERMINAL_WRITERS = frozenset({
    "click.echo", "click.secho", "click.style", "click.echo_via_pager", "rich.print", "rich.console.Console",
    "rich.status.Status", "rich.markup.render", "rich.text.Text.from_markup", "print", "sys.stdout.write",
    "sys.stderr.write",
})  # fmt: skip

Nodes = tuple[ast.AST, ...]
"""The nodes of a module, the module itself first. The tests share them: a walk costs as much as the parser."""

MAX_MODULE_LINES = 300
MAX_PUBLIC_METHODS = 12
MAX_FUNCTION_LINES = 40

EXCEPTIONS = {
    "producers/client.py:AsyncOpenfall": "each method is something that a bot does, and a bot has one client",
    "producers/sync_client.py:Openfall": "the same methods, blocking",
    "router_core/jobs/result.py:Result": "each property is a value of `--json`, by its name",
}
"""`path`, `path:Class` or `path:function` that may be longer, each with its reason."""

CONVENTIONAL = frozenset({"__init__", "__main__", "errors", "conftest"})
"""File names that may occur in several packages of the product."""

NAMED_BY_OTHERS = ("producers/cli/", "producers/gateway/surfaces/")
"""A file of these folders has the name of its command or of the API that it serves, whatever other files are called."""


def test_no_variable_and_no_parameter_has_a_banned_name():
    banned = [
        f"{path}:{node.lineno}: {name}"
        for path, nodes in modules(*ROOMS, *SHARED)
        for node in nodes
        for name in bound_names(node)
        if name.lstrip("_").rstrip("_") in BANNED
    ]
    assert not banned, "name what the value is:\n" + "\n".join(banned)


def test_no_text_has_a_word_that_another_word_replaced():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".lua", ".html")]
    replaced = re.compile(rf"\b({'|'.join(REPLACED)})\b", re.IGNORECASE)
    places = [
        f"{path.relative_to(ROOT)}:{number}: {word}: write {REPLACED[word.lower()]}"
        for path in (*pages, *texts)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        for word in replaced.findall(line)
    ]
    assert not places, "\n".join(places)


def test_no_test_has_a_replaced_word_in_its_name():
    replaced = {word.replace("-", "_") for word in REPLACED}
    names = [
        f"{path}:{node.lineno}: {node.name}"
        for path, nodes in modules("tests")
        for node in nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(f"_{word}_" in f"{node.name}_" for word in replaced)
    ]
    assert not names, "\n".join(names)


def test_text_reaches_a_terminal_only_through_the_module_that_escapes_it():
    places = [
        f"{path}:{line}: {name}"
        for path, nodes in modules("producers")
        if path != TERMINAL
        for line, name in terminal_writes(nodes)
    ]
    assert not places, f"use {TERMINAL}:\n" + "\n".join(places)


@pytest.mark.parametrize(
    "source",
    [
        "import click\nclick.echo(f'{error}')",
        "from click import echo as show\nshow(error)",
        "from rich.console import Console\nConsole(stderr=True)",
        "import rich.console as console\nconsole.Console()",
        "from rich import print\nprint(error)",
        "print(error)",
        "import sys\nsys.stderr.write(error)",
        "from rich.text import Text\nText.from_markup(error)",
        "Bar().console.print('[red]' + error, markup=True)",
    ],
)
def test_each_path_of_text_to_a_terminal_is_noticed(source):
    assert terminal_writes(nodes_of(source))


def test_no_module_is_longer_than_300_lines():
    assert not too_large(module_sizes(), MAX_MODULE_LINES, "lines")


def test_no_class_has_more_than_12_public_methods():
    assert not too_large(class_sizes(), MAX_PUBLIC_METHODS, "public methods")


def test_no_function_is_longer_than_40_lines():
    assert not too_large(function_sizes(), MAX_FUNCTION_LINES, "lines")


def test_each_exception_is_needed():
    sizes = [*module_sizes(), *class_sizes(), *function_sizes()]
    limits = {
        **{name: (size, MAX_MODULE_LINES) for name, size in module_sizes()},
        **{name: (size, MAX_PUBLIC_METHODS) for name, size in class_sizes()},
        **{name: (size, MAX_FUNCTION_LINES) for name, size in function_sizes()},
    }
    assert sizes
    needless = [name for name in EXCEPTIONS if name not in limits or limits[name][0] <= limits[name][1]]
    assert not needless, f"no exception is needed for {needless}"


def test_no_file_name_occurs_twice_but_the_conventional_ones():
    paths: dict[str, list[str]] = {}
    for path, _ in modules(*ROOMS):
        if not path.startswith(NAMED_BY_OTHERS):
            paths.setdefault(Path(path).stem, []).append(path)
    twice = {name: places for name, places in paths.items() if len(places) > 1 and name not in CONVENTIONAL}
    assert not twice, f"a file name says which file is meant: {twice}"


def test_no_class_name_means_two_things():
    places: dict[str, list[str]] = {}
    for path, nodes in modules(*ROOMS):
        for node in nodes[0].body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not twice, f"a class name says which class is meant: {twice}"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        pytest.param("told = 1", ["told"], id="an assignment"),
        pytest.param("def f(here): pass", ["here"], id="a parameter"),
        pytest.param("for one in x: pass", ["one"], id="a loop"),
        pytest.param("[seen for seen in x]", ["seen"], id="a comprehension"),
        pytest.param("if (came := f()): pass", ["came"], id="a walrus"),
        pytest.param("class A:\n    said: str", ["said"], id="a field"),
        pytest.param("oneself = 1", ["oneself"], id="a longer word"),
    ],
)
def test_every_binding_is_read(source, names):
    assert [name for node in nodes_of(source) for name in bound_names(node) if name != "A"] == names


def too_large(sizes: Iterator[tuple[str, int]], limit: int, unit: str) -> list[str]:
    return [f"{name}: {size} {unit}" for name, size in sizes if size > limit and name not in EXCEPTIONS]


def bound_names(node: ast.AST) -> list[str]:
    """The variables and parameters that a node binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
    return []


def terminal_writes(nodes: Nodes) -> list[tuple[int, str]]:
    """The calls of a module that write to a terminal, or take text for markup: their lines and names."""
    imports: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            imports |= {name.asname: name.name for name in node.names if name.asname}
        elif isinstance(node, ast.ImportFrom):
            imports |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    calls = []
    for node in nodes:
        if isinstance(node, ast.Call):
            head, dot, rest = ast.unparse(node.func).partition(".")
            name = imports.get(head, head) + dot + rest
            markup = any(word.arg == "markup" and ast.unparse(word.value) != "False" for word in node.keywords)
            if name in TERMINAL_WRITERS or markup:
                calls.append((node.lineno, name))
    return calls


def module_sizes() -> Iterator[tuple[str, int]]:
    return ((path, len((ROOT / path).read_text("utf-8").splitlines())) for path, _ in modules(*ROOMS))


def class_sizes() -> Iterator[tuple[str, int]]:
    for path, nodes in modules(*ROOMS):
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                public = [f for f in node.body if is_function(f) and not f.name.startswith("_")]  # type: ignore[attr-defined]
                yield f"{path}:{node.name}", len(public)


def function_sizes() -> Iterator[tuple[str, int]]:
    for path, nodes in modules(*ROOMS):
        for node in nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def modules(*rooms: str) -> Iterator[tuple[str, Nodes]]:
    """Path and nodes of every module under these folders."""
    return (
        (str(path.relative_to(ROOT)), parse(path)) for room in rooms for path in sorted((ROOT / room).rglob("*.py"))
    )


@cache
def parse(path: Path) -> Nodes:
    """The nodes stay until the end: a search for garbage in the million of them takes longer than the parser."""
    gc.disable()
    try:
        return nodes_of(path.read_text("utf-8"))
    finally:
        gc.freeze()
        gc.enable()


def nodes_of(source: str) -> Nodes:
    return tuple(ast.walk(ast.parse(source)))
