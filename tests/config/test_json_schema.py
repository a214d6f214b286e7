"""The JSON Schema accepts a readable file, and refuses an unreadable one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from openfall import config
from tests.config.config_texts import check

EDITOR = Draft202012Validator(config.schema())


def faults(text: str) -> list[str]:
    return [error.message for error in EDITOR.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(config.schema())


EVERYTHING = """
redis: {url: "${R:-embedded}", sentinels: ["a:26379", "[::1]:26379"], service: s, database: 1, username: u, password: p,
        sentinel_username: u, sentinel_password: p, tls: yes, tls_ca: openfall.yaml, tls_certificate: openfall.yaml,
        tls_key: openfall.yaml, tls_check_hostname: no, durability: fsync, confirm_replicas: 1, confirm_timeout: 2s,
        accept_risks: [no_append_only_file, eviction]}
data: state
pools: {rack: {local: yes}, far: }
backends:
  tower: {protocol: ollama, pool: rack, slots: "${SLOTS:-2}", vram_gb: 16, card: left, loader: ollama,
          reuse_connections: Off, reserved_interactive: 1,
          api_keys: ["${A:-a}", "${B:-}"], requests_per_minute: 50, tokens_per_minute: 400k, burst: 10%}
  maker: {protocol: anthropic, url: "${URL:-https://example.invalid}", pool: far, api_key: k, billing: flat,
          plan_windows: [5h, 7d], api_version: "2026-10-21", auth_token: "${TOKEN:-}"}
  desk: {protocol: ollama, url: "http://127.0.0.1:2", pool: rack, keep_in_memory: 1h}
  own: {url: "http://127.0.0.1:1", pool: rack, embedded: yes, responses: no,
        engine: {model: smollm2, context: 4k, threads: 1, parallel: 2, gpu_layers: 9}}
models:
  a: {upstream: x, backends: [tower], context: 32k, timeout: 90s, first_token_timeout: 8s, stall_timeout: 500ms,
      max_tokens: 100, tools: no, json_schema: no, images: yes, sampling_params: no, thinking: adaptive, vram_gb: 2.5,
      slots: 1, keep_warm: 5m, pinned: no, preload: no, flex: no, embeds: no, max_inputs: 64,
      quantization: Q4_K_M, load_time: 4s, slow_after: 10s, quality: {code: 0.5, default: 1}}
  b: {upstream: y, backends: [maker], quality: ,
    usd_per_mtok: {in: 1, out: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2, request: 0, web_search: 0.01,
      above: {tokens: 200k, in: 2, out: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2},
      flex: {in: 1, out: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2},
      batch: {in: 1, out: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2},
      priority: {in: 1, out: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2}}}
roles:
  best: {chain: [a, b], urgency: batch, order: by_urgency, local_only: yes, checks: [not_empty, json], pattern: "^a",
         ensemble: {answers: 2, pick: judge, judge: a}, open_fall: [default_fallback, fail], canned_reply: Not now.,
         accept_refusals: yes}
tasks:
  code: {chain: [b, a], words: [write, find bugs], order: as_written, aliases: [script]}
groups:
  - {name: main, match: [a], role: best, urgency: background, local_only: no, bound: yes, daily_usd: 2}
  - {name: code, match: ["b:*"], task: code}
  - {name: rest, match: ["*"], chain: [b]}
budgets:
  - {name: house, usd: 5, per: month, timezone: Europe/Berlin, group: main, role: best, task: code, model: b,
     backend: maker, key_of: maker, producer: bot, each: producer, reserved_interactive: 20%, soft: 80%,
     then: [local, refuse]}
spend: {unexpected_usd: 0.5}
default: code
urgency:
  interactive: {start_within: 5s, expires_after: 2m, allow_cloud: no, reply_within: 15s, timeout: 1m,
                first_token_timeout: 5s, stall_timeout: 6s}
  batch: {allow_cloud: when_late, min_share: 5%, max_queued: 7}
  background: {min_share: 0.1}
breakers: {consecutive_failures: 5, failure_rate: 0.5, slow_call_rate: 0.8, minimum_calls: 10, window: 5m,
           open_for: 60s, open_for_max: 10m, jitter: 0.2, reset_after: 5m, probe_successes: 2, probe_timeout: 30s,
           slow_start: 0}
retry: {max_retries: 3, initial_backoff: 1s, max_backoff: 1m, retry_budget: 0.2}
open_fall:
  interactive: [last_answer, canned_reply, hold]
  background: [default_fallback, hold]
  batch: [fail]
  default: [hold]
  default_fallbacks: [b, a]
  canned_reply: Soon.
  last_answer_ttl: 1h
  hold_for: 3d
  release: {initial: 2, max: 8}
  notify: {discord: "https://discord.com/api/webhooks/12/abc", webhook: "${HOOK:-http://127.0.0.1:1/x}",
           rate_limit: 2 per 1h, on_recovery: no, actions: yes}
privacy: {keep_prompts: no, local_only: yes}
retention: {results: 24h, unread: 7d}
limits: {max_prompt: 4MiB, max_memory: 85%}
webhooks: {secret: "0123456789abcdef", allow: ["*.example.com", "a:8080"], private: no}
workers: {slots: 16, shutdown_grace: 30s, processes: 1}
gateway:
  page: read
  listen: ["127.0.0.1:8309"]
  open: no
  aliases: {"gpt-*": chat}
  root_path: /openfall
  cors: ["https://app.example.com"]
  wait_at_most: 10m
  max_body: 32MiB
  files: uploads
  max_file: 1GiB
  max_batch_file: 1GiB
  max_batch_requests: 400000
  passthrough: {backend: tower, usd_per_request: 0.001, paths: [/v1/rerank, /tokenize]}
  processes: 1
logs: {format: json}
traces: {endpoint: "http://otel:4318/v1/traces"}
"""


def test_a_file_with_every_key_is_read_and_accepted(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(EVERYTHING)
    assert check(file, environ={}, cwd=tmp_path) == ()
    assert faults(EVERYTHING) == []


def test_that_file_has_every_key_indeed() -> None:
    written = yaml.safe_load(EVERYTHING)
    sections = config.schema()["properties"]
    written["tasks"]["code"] |= written["roles"]["best"]  # a task has every key of a role
    urgency = written["urgency"]["interactive"] | written["urgency"]["batch"]
    written["urgency"] = {word: urgency for word in written["urgency"]}
    assert list(written) == list(sections)
    assert missing(written, {"properties": sections}, "") == []


def missing(value: Any, shape: dict[str, Any], path: str) -> list[str]:
    """The keys of the schema that no entry of this value has."""
    if "properties" in shape:
        absent = [f"{path}{key}" for key in shape["properties"] if key not in (value or ())]
        below = [(value[key], inner, f"{path}{key}.") for key, inner in shape["properties"].items() if key in value]
        return [*absent, *(key for part in below for key in missing(*part))]
    entries = list(value.values()) if isinstance(value, dict) else value
    entry = shape.get("additionalProperties") or shape.get("items") or {}
    if "properties" not in entry:
        return []
    whole = {key: inner for element in entries for key, inner in (element or {}).items()}
    return missing(whole, entry, path)


VALID = """
backends: {tower: {url: "http://127.0.0.1:1", pool: gpu}}
models: {coder: {upstream: x, backends: [tower]}}
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
        "backends: {t: {url: 'http://127.0.0.1:1', pool: gpu, embedded: yes, engine: {context: 12}}}",
        "models: {m: {backends: [tower]}}",
        "models: {m: {upstream: x}}",
        "models: {m: {upstream: '', backends: [tower]}}",
        "models: {m: {upstream: x, backends: []}}",
        "models: {m: {upstream: x, backends: tower}}",
        "models: {m: {upstream: x, backends: [tower], context: 32q}}",
        "models: {m: {upstream: x, backends: [tower], timeout: 5 weeks}}",
        "models: {m: {upstream: x, backends: [tower], timeout: 0}}",
        "models: {m: {upstream: x, backends: [tower], quality: {default: 1.5}}}",
        "models: {m: {upstream: x, backends: [tower], quality: {default: good}}}",
        "models: {m: {upstream: x, backends: [tower], usd_per_mtok: {input: 1}}}",
        "models: {m: {upstream: x, backends: [tower], usd_per_mtok: {in: -1}}}",
        "models: {m: {upstream: x, backends: [tower], tools: maybe}}",
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
        "urgency: {batch: {allow_cloud: maybe}}",
        "breakers: {consecutive_failures: 0}",
        "breakers: {failure_rate: 0}",
        "breakers: {jitter: 0.9}",
        "retry: {max_retries: 11}",
        "retry: {retry_budget: 2}",
        "privacy: {keep_prompts: 3}",
        "limits: {max_prompt: 0}",
        "workers: {slots: 0}",
        "redis: [a]",
        "backends: {t: {url: 'http://a', pool: gpu, reserved_interactive: -1}}",
        "roles: {chat: {chain: [coder], open_fall: [pray]}}",
        "roles: {chat: {chain: [coder], canned_reply: ''}}",
        "urgency: {batch: {min_share: 110%}}",
        "urgency: {batch: {min_share: half}}",
        "urgency: {batch: {max_queued: 0}}",
        "open_fall: {interactive: hold}",
        "open_fall: {interactve: [hold]}",
        "open_fall: {default: [hodl]}",
        "open_fall: {default_fallbacks: []}",
        "open_fall: {canned_reply: ''}",
        f"open_fall: {{canned_reply: {'x' * 4097}}}",
        "open_fall: {last_answer_ttl: 0}",
        "open_fall: {release: {initial: 0}}",
        "open_fall: {release: {all: 1}}",
        "open_fall: {notify: {discord: 'https://example.com/1'}}",
        "open_fall: {notify: {webhook: 'ftp://a'}}",
        "open_fall: {notify: {rate_limit: seldom}}",
        "open_fall: {notify: {on_recovery: perhaps}}",
        "retention: {unread: 0}",
        "limits: {max_memory: 0}",
        "limits: {max_memory: 1.5}",
        "limits: {max_memory: most}",
        "webhooks: {secret: [a]}",
        "webhooks: {allow: ['https://a']}",
        "webhooks: {allow: []}",
        "webhooks: {private: perhaps}",
    ],
)
def test_an_unreadable_value_breaks_the_schema(tmp_path: Path, text: str) -> None:
    whole = yaml.safe_load(VALID) | yaml.safe_load(text)
    file = tmp_path / "openfall.yaml"
    file.write_text(yaml.safe_dump(whole))
    assert check(file, environ={}, cwd=tmp_path)
    assert list(EDITOR.iter_errors(whole))


def test_every_key_has_a_description() -> None:
    def mute(shape: Any, path: str) -> list[str]:
        configuration = []
        for key, value in shape.get("properties", {}).items():
            configuration += [] if value.get("description") else [f"{path}{key}"]
            configuration += mute(value, f"{path}{key}.")
        for below in ("items", "additionalProperties"):
            if isinstance(shape.get(below), dict):
                configuration += mute(shape[below], path)
        return configuration

    urgencies = ["urgency.interactive", "urgency.background", "urgency.batch"]
    assert mute(config.schema(), "") == urgencies


def test_the_schema_has_the_defaults() -> None:
    sections = config.schema()["properties"]
    assert sections["urgency"]["properties"]["batch"]["properties"]["start_within"]["default"] == "1h"
    assert sections["urgency"]["properties"]["batch"]["properties"]["allow_cloud"]["default"] == "when_late"
    assert sections["urgency"]["properties"]["interactive"]["properties"]["reply_within"]["default"] == "14s"
    assert "default" not in sections["models"]["additionalProperties"]["properties"]["timeout"]
    assert sections["tasks"]["additionalProperties"]["properties"]["order"]["default"] == "by_urgency"
    assert sections["limits"]["properties"]["max_prompt"]["default"] == "4MiB"
    assert sections["open_fall"]["properties"]["interactive"]["default"] == ["canned_reply", "hold"]
    assert sections["open_fall"]["properties"]["notify"]["properties"]["rate_limit"]["default"] == "1 per 10m"
    assert "default" not in sections["open_fall"]["properties"]["notify"]
    assert "default" not in sections["models"]["additionalProperties"]["properties"]["upstream"]
