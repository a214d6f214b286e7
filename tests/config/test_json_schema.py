"""What an editor is told: it accepts what can be read, and underlines what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from openfall import config
from openfall.config.sections import CATALOG
from openfall.config.settings import SECTIONS

EDITOR = Draft202012Validator(config.schema())


def faults(text: str) -> list[str]:
    return [error.message for error in EDITOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(config.schema())


EVERYTHING = """
redis: redis://127.0.0.1
data: state
pools: {rack: {local: yes}, far: }
backends:
  tower: {protocol: ollama, pool: rack, slots: "${SLOTS:-2}", vram_gb: 16, keep_alive: Off, reserved: 1}
  maker: {protocol: anthropic, url: "${URL:-https://example.invalid}", pool: far, key: k, billing: flat,
          api_version: "2026-10-21"}
  own: {url: "http://127.0.0.1:1", pool: rack, embedded: yes, engine: {ctx: 4k, threads: 1, parallel: 2, gpu_layers: 9}}
models:
  a: {upstream: x, at: [tower], ctx: 32k, timeout: 1500ms, max_tokens: 100, tools: no, json_schema: no, images: yes,
      sampling_params: no, vram_gb: 2.5, load_s: 4, slow_after: 10s, quality: {code: 0.5, default: 1}}
  b: {upstream: y, at: [maker], usd_per_mtok: {in: 1, out: 5, cache_read: 0.1, cache_write: 1.25}, quality: }
roles:
  best: {chain: [a, b], urgency: batch, order: by_urgency, local_only: yes, checks: [not_empty, json], pattern: "^a",
         ensemble: {answers: 2, pick: judge, judge: a}, open_fall: [other_model, fail], canned_reply: Not now.}
tasks:
  code: {chain: [b, a], words: [write, find bugs], order: as_written}
groups:
  - {name: main, match: [a], role: best, urgency: background, local_only: no, daily_usd: 1.5}
  - {name: code, match: ["b:*"], task: code}
  - {name: rest, match: ["*"], chain: [b]}
urgency:
  interactive: {start_within: 5s, give_up: 2m, cloud: no}
  batch: {cloud: if_late, share: 5%, depth: 7}
  background: {share: 0.1}
breakers: {open_after: 5, failure_rate: 0.5, slow_rate: 0.8, least_calls: 10, window: 5m, recover_after: 60s,
           recover_most: 10m, spread: 0.2, forget_after: 5m, probes: 2, probe_timeout: 30s, ramp: 0}
retry: {times: 3, base: 1s, most: 1m, budget: 0.2}
open_fall:
  interactive: [last_answer, canned_reply, hold]
  background: [other_model, hold]
  batch: [fail]
  default: [hold]
  stand_ins: [b, a]
  canned_reply: Soon.
  last_answer_for: 1h
  keep: 3d
  release: {first: 2, most: 8}
  notify: {discord: "https://discord.com/api/webhooks/12/abc", webhook: "${HOOK:-http://127.0.0.1:1/x}",
           at_most: 2 per 1h, on_recovery: no}
privacy: {keep_results: 24h, keep_prompts: no, keep_unread: 7d, local_only: yes}
limits: {prompt: 4MiB, memory: 85%}
webhooks: {secret: "0123456789abcdef", allow: ["*.example.com", "a:8080"], private: no}
workers: {slots: 16, grace: 30s, procs: 1}
"""


def test_a_file_with_every_key_is_read_and_accepted(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(EVERYTHING)
    assert config.check(file, environ={}, cwd=tmp_path) == ()
    assert faults(EVERYTHING) == []


def test_that_file_has_every_key_indeed() -> None:
    told = yaml.safe_load(EVERYTHING)
    assert list(told) == ["redis", "data", *CATALOG, *SECTIONS]
    missing = {
        "pools": {"local"} - keys_of(told["pools"].values()),
        **{name: set(CATALOG[name].entry.table) - keys_of(told[name].values()) for name in ("models", "roles")},
        "backends": set(CATALOG["backends"].entry.table) - keys_of(told["backends"].values()),
        "groups": set(CATALOG["groups"].entry.table) - keys_of(told["groups"]),
        **{name: set(CATALOG[name].entry.table) - set(told[name]) for name in ("breakers", "retry", "open_fall")},
        **{name: set(table) - set(told[name]) for name, (table, _) in SECTIONS.items()},
    }
    assert {name: keys for name, keys in missing.items() if keys} == {}


def keys_of(entries: Any) -> set[str]:
    return {key for entry in entries for key in entry or ()}


SOUND = """
backends: {tower: {url: "http://127.0.0.1:1", pool: gpu}}
models: {coder: {upstream: x, at: [tower]}}
roles: {chat: {chain: [coder]}}
"""


@pytest.mark.parametrize(
    "text",
    [
        "bakends: {}",
        "backends: []",
        "pools: {gpu: {locl: yes}}",
        "pools: {GPU: {}}",
        "backends: {t: {url: 'http://a'}}",
        "backends: {t: {url: 'a', pool: gpu}}",
        "backends: {t: {url: 'http://a', pool: gpu, slots: many}}",
        "backends: {t: {url: 'http://a', pool: gpu, slots: 0}}",
        "backends: {t: {url: 'http://a', pool: gpu, slots: 5000}}",
        "backends: {t: {url: 'http://a', pool: gpu, protocol: opnai}}",
        "backends: {t: {url: 'http://a', pool: gpu, billing: free}}",
        "backends: {t: {url: 'http://a', pool: gpu, vram_gb: 0}}",
        "backends: {t: {url: 'http://127.0.0.1:1', pool: gpu, embedded: yes, engine: {ctx: 12}}}",
        "models: {m: {at: [tower]}}",
        "models: {m: {upstream: x}}",
        "models: {m: {upstream: '', at: [tower]}}",
        "models: {m: {upstream: x, at: []}}",
        "models: {m: {upstream: x, at: tower}}",
        "models: {m: {upstream: x, at: [tower], ctx: 32q}}",
        "models: {m: {upstream: x, at: [tower], timeout: 5 weeks}}",
        "models: {m: {upstream: x, at: [tower], timeout: 0}}",
        "models: {m: {upstream: x, at: [tower], quality: {default: 1.5}}}",
        "models: {m: {upstream: x, at: [tower], quality: {default: good}}}",
        "models: {m: {upstream: x, at: [tower], usd_per_mtok: {input: 1}}}",
        "models: {m: {upstream: x, at: [tower], usd_per_mtok: {in: -1}}}",
        "models: {m: {upstream: x, at: [tower], tools: maybe}}",
        "roles: {chat: {chian: [coder]}}",
        "roles: {chat: {urgency: batch}}",
        "roles: {chat: {chain: [coder], urgency: bacth}}",
        "roles: {chat: {chain: [coder], order: random}}",
        "roles: {chat: {chain: [coder], checks: [poetry]}}",
        "roles: {chat: {chain: [coder], words: [a]}}",
        "roles: {chat: {chain: [coder], ensemble: {answers: 1}}}",
        "roles: {chat: {chain: [coder], ensemble: {answers: 9}}}",
        "roles: {chat: {chain: [coder], ensemble: {pick: luck}}}",
        "tasks: {code: {words: [a]}}",
        "groups: {main: {match: [a]}}",
        "groups: [{name: main}]",
        "groups: [{match: [a]}]",
        "groups: [{name: main, match: []}]",
        "groups: [{name: main, match: [a], daily_usd: -1}]",
        "urgency: {batsch: {}}",
        "urgency: {batch: {cloud: maybe}}",
        "breakers: {open_after: 0}",
        "breakers: {failure_rate: 0}",
        "breakers: {spread: 0.9}",
        "retry: {times: 11}",
        "retry: {budget: 2}",
        "privacy: {keep_prompts: 3}",
        "limits: {prompt: 0}",
        "workers: {slots: 0}",
        "redis: [a]",
        "backends: {t: {url: 'http://a', pool: gpu, reserved: -1}}",
        "roles: {chat: {chain: [coder], open_fall: [pray]}}",
        "roles: {chat: {chain: [coder], canned_reply: ''}}",
        "urgency: {batch: {share: 110%}}",
        "urgency: {batch: {share: half}}",
        "urgency: {batch: {depth: 0}}",
        "open_fall: {interactive: hold}",
        "open_fall: {interactve: [hold]}",
        "open_fall: {default: [hodl]}",
        "open_fall: {stand_ins: []}",
        "open_fall: {canned_reply: ''}",
        f"open_fall: {{canned_reply: {'x' * 4097}}}",
        "open_fall: {last_answer_for: 0}",
        "open_fall: {release: {first: 0}}",
        "open_fall: {release: {all: 1}}",
        "open_fall: {notify: {discord: 'https://example.com/1'}}",
        "open_fall: {notify: {webhook: 'ftp://a'}}",
        "open_fall: {notify: {at_most: seldom}}",
        "open_fall: {notify: {on_recovery: perhaps}}",
        "privacy: {keep_unread: 0}",
        "limits: {memory: 0}",
        "limits: {memory: 1.5}",
        "limits: {memory: most}",
        "webhooks: {secret: [a]}",
        "webhooks: {allow: ['https://a']}",
        "webhooks: {allow: []}",
        "webhooks: {private: perhaps}",
    ],
)
def test_what_cannot_be_read_is_underlined(tmp_path: Path, text: str) -> None:
    whole = yaml.safe_load(SOUND) | yaml.safe_load(text)
    file = tmp_path / "openfall.yaml"
    file.write_text(yaml.safe_dump(whole))
    assert config.check(file, environ={}, cwd=tmp_path)
    assert list(EDITOR.iter_errors(whole))


def test_every_key_says_what_it_is_for() -> None:
    def mute(shape: Any, path: str) -> list[str]:
        found = []
        for key, value in shape.get("properties", {}).items():
            found += [] if value.get("description") else [f"{path}{key}"]
            found += mute(value, f"{path}{key}.")
        for below in ("items", "additionalProperties"):
            if isinstance(shape.get(below), dict):
                found += mute(shape[below], path)
        return found

    urgencies = ["urgency.interactive", "urgency.background", "urgency.batch"]
    assert mute(config.schema(), "") == urgencies


def test_an_editor_is_told_the_defaults() -> None:
    sections = config.schema()["properties"]
    assert sections["urgency"]["properties"]["batch"]["properties"]["start_within"]["default"] == "1h"
    assert sections["urgency"]["properties"]["batch"]["properties"]["cloud"]["default"] == "if_late"
    assert sections["models"]["additionalProperties"]["properties"]["timeout"]["default"] == "2m"
    assert sections["tasks"]["additionalProperties"]["properties"]["order"]["default"] == "by_urgency"
    assert sections["limits"]["properties"]["prompt"]["default"] == "4MiB"
    assert sections["open_fall"]["properties"]["interactive"]["default"] == ["canned_reply", "hold"]
    assert sections["open_fall"]["properties"]["notify"]["properties"]["at_most"]["default"] == "1 per 10m"
    assert "default" not in sections["open_fall"]["properties"]["notify"]
    assert "default" not in sections["models"]["additionalProperties"]["properties"]["upstream"]
