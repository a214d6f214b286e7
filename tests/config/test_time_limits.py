"""Contradictory time limits of a file: the report has both lines and the remedy. Defaults fit what the file writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall import config
from openfall.router_core.vocabulary import Urgency
from tests.config.config_texts import check, check_text, load_text

REST = """
backends: {tower: {url: http://127.0.0.1:8080, pool: gpu}}
roles: {chat: {chain: [coder]}}
"""


def test_a_timeout_that_swallows_a_deadline_is_reported_with_both_places_and_the_remedy(tmp_path: Path) -> None:
    text = """
    models:
      coder: {upstream: x, backends: [tower], timeout: 3m}
    urgency:
      interactive: {expires_after: 90s}
    """
    assert check_text(tmp_path, text, base=REST) == [
        "openfall.yaml:2 models.coder.timeout: one call would leave no time for the other models: 180 s is not shorter "
        "than urgency.interactive.expires_after, which is 90 s (line 4). Leave timeout out, so that "
        "urgency.interactive.timeout holds, or write a shorter one."
    ]


def test_a_default_that_is_contradicted_is_named_without_a_line(tmp_path: Path) -> None:
    text = "models: {coder: {upstream: x, backends: [tower], first_token_timeout: 20s}}"
    (problem,) = check_text(tmp_path, text, base=REST)
    assert "longer than urgency.interactive.reply_within, which is 14 s. Write a shorter" in problem


@pytest.mark.parametrize(("written", "limits"), [
    ("expires_after: 20s", (10, 14, 5, 5)),
    ("expires_after: 6s", (3, 3, 3, 3)),
    ("reply_within: 4s", (90, 4, 4, 5)),
    ("timeout: 3s", (3, 14, 3, 3)),
])  # fmt: skip
def test_limits_that_a_file_leaves_out_fit_those_that_it_has(tmp_path: Path, written: str, limits: tuple[int]) -> None:
    text = f"urgency: {{interactive: {{{written}}}}}\nmodels: {{coder: {{upstream: x, backends: [tower]}}}}"
    policy = load_text(tmp_path, text, base=REST).catalog.urgency[Urgency.INTERACTIVE]
    assert (policy.timeout, policy.reply_within, policy.first_token_timeout, policy.stall_timeout) == limits


@pytest.mark.parametrize("name", ["ace", "groups", "artifacts", "echo-brain", "demo"])
def test_no_shipped_file_has_a_contradiction(tmp_path: Path, name: str) -> None:
    shipped = Path(config.__file__).parent / f"{name}.yaml"
    assert check(shipped, environ={}, cwd=tmp_path) == ()
