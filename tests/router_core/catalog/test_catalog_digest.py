"""The digest of a catalog: equal for files that route alike, different for all others."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_digest import catalog_digest
from tests.config.config_texts import load_text

TEXT = """
pools: {gpu: {local: yes}, cloud: {}}
backends:
  tower: {protocol: ollama, url: "http://10.0.0.2:11434", pool: gpu}
  maker: {protocol: anthropic, pool: cloud, api_key: "${KEY:-}"}
models:
  small: {upstream: "qwen3:4b", backends: [tower]}
  large: {upstream: claude-haiku-4-5, backends: [maker]}
roles: {chat: {chain: [small, large]}}
tasks: {code: {chain: [large], words: [function]}}
groups: [{name: main, match: ["a:*"], role: chat}]
urgency: {batch: {max_queued: 7}}
"""


@pytest.fixture
def digest(tmp_path):
    def of(text: str, **environ: str) -> str:
        catalog: Catalog = load_text(tmp_path, text, environ).catalog
        return catalog_digest(catalog)

    return of


def test_comments_order_of_keys_secrets_and_local_paths_do_not_change_the_digest(digest):
    lines = TEXT.strip().splitlines()
    shuffled = "\n".join(["# another comment", *lines[9:], "data: /srv/elsewhere", *lines[:9]])
    assert digest(TEXT) == digest(shuffled) == digest(TEXT, KEY="sk-0123456789abcdef")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("qwen3:4b", "qwen3:8b"),
        ("10.0.0.2", "10.0.0.3"),
        ("[small, large]", "[large, small]"),
        ("[function]", "[function, class]"),
        ("max_queued: 7", "max_queued: 8"),
        ('"a:*"', '"b:*"'),
        ("pool: gpu}", "pool: gpu, slots: 9}"),
    ],
)
def test_what_decides_where_a_job_goes_changes_the_digest(digest, before, after):
    assert before in TEXT
    assert digest(TEXT) != digest(TEXT.replace(before, after))
