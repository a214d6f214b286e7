"""A button that asks first has `…` in its label. One that acts at once has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from openfall.producers.page import rendering
from openfall.producers.page.page_actions import ACTIONS

TEMPLATES = Path(rendering.__file__).parent / "templates"
ASKING = {"/page/ask/", "/page/jobs?", 'form="jobs"'}
"""What leads to a question."""


def press(name: str, label: str = "") -> str:
    source = "{% from 'macros.html' import press with context %}{{ press(actions, name, 'subject', label) }}"
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).from_string(source)
    return " ".join(template.render(root_path="", actions=ACTIONS, name=name, label=label).split())


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("label", ["", "Another label"])
def test_the_label_of_an_action_says_whether_it_asks(name: str, label: str) -> None:
    html, asks = press(name, label), bool(ACTIONS[name].question)
    assert ("…" in html) == asks
    assert ('href="/page/ask/' in html, 'formaction="/page/act/' in html) == (asks, not asks)


def buttons() -> list[tuple[str, str, str]]:
    """Template, attributes and label of every button that is no action."""
    listed = []
    for template in sorted(TEMPLATES.rglob("*.html")):
        text = template.read_text()
        for choices in re.findall(r"\{% for verb, label in \((.*)\) %\}", text):
            assert all(label.endswith("…") for label in re.findall(r"\('\w+', '([^']*)'\)", choices))
            text = text.replace("{{ label }}", "Label…")
        for _, attributes, label in re.findall(r'<(a|button) class="button(.*?)>([^<]*)</\1>', text):
            listed += [(template.name, attributes, label)] if template.name != "macros.html" else []
    return listed


@pytest.mark.parametrize(("template", "attributes", "label"), buttons())
def test_the_label_of_every_other_button_says_whether_it_asks(template: str, attributes: str, label: str) -> None:
    assert ("…" in label) == any(target in attributes for target in ASKING), template
