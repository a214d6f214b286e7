"""The text of an openfall.yaml for a machine. It has no value of a key, only `${NAME}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from openfall.config.paths import DEMO
from openfall.config.scalars import is_name
from openfall.producers.setup.machine_detection import LocalModel, Machine, ModelServer
from openfall.router_core.catalog.capabilities import is_known_to_embed

MEMORY_FACTOR = 1.2
"""The memory that a model takes on a card, for each GB of its file: its context needs room."""

CONTEXT = "8k"
"""Of a local model: an Ollama is asked for it, and more takes more of the memory."""

CLOUD_OF_OLLAMA = "ollama-cloud"
OLLAMA_OF_THE_STACK = ModelServer("ollama", "ollama", "http://ollama:11434", (LocalModel("llama3.2:3b", 2.0),))
"""The one in docker-compose.yml. The model is not pulled yet."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that a key opens: its backend, and models of it with their names here."""

    backend: str
    keys: tuple[str, ...]
    entry: str
    models: tuple[tuple[str, str, str], ...]


PROVIDERS = (
    Provider(
        "anthropic", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        '{protocol: anthropic, url: "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}", '
        'api_key: "${ANTHROPIC_API_KEY:-}", auth_token: "${ANTHROPIC_AUTH_TOKEN:-}", pool: cloud, slots: 8}',
        (("sonnet", "claude-sonnet-4-6", "200k"), ("haiku", "claude-haiku-4-5", "200k")),
    ),
    Provider(
        "openai", ("OPENAI_API_KEY",),
        '{protocol: openai, url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}", '
        'api_key: "${OPENAI_API_KEY:-}", pool: cloud, slots: 8}',
        (("gpt", "gpt-4.1", "1M"), ("gpt-mini", "gpt-4.1-mini", "1M")),
    ),
    Provider(
        "gemini", ("GEMINI_API_KEY",),
        '{protocol: openai, url: "https://generativelanguage.googleapis.com/v1beta/openai", '
        'api_key: "${GEMINI_API_KEY:-}", pool: cloud, slots: 8}',
        (("gemini", "gemini-2.5-flash", "1M"),),
    ),
    Provider(
        "openrouter", ("OPENROUTER_API_KEY",),
        '{protocol: openai, url: "https://openrouter.ai/api/v1", '
        'api_key: "${OPENROUTER_API_KEY:-}", pool: cloud, slots: 8}',
        (("or-sonnet", "anthropic/claude-sonnet-4.6", "200k"),),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Model:
    alias: str
    entry: str
    embeds: bool = False
    remark: str = ""
    """Why it is only a comment."""


def build_config(machine: Machine, *, in_containers: bool = False) -> str:
    """The text for a machine. Without a server and without a key it is the demo's. `in_containers`: the gateway listens
    inside a container, a server of this machine is another host, and the Ollama of the stack stands for the demo."""
    if in_containers and not machine.servers and not machine.keys:
        machine = replace(machine, servers=(OLLAMA_OF_THE_STACK,))
    models = list(_models(machine))
    if all(model.remark for model in models):
        return _demo(machine)
    completing = [model.alias for model in models if not model.embeds and not model.remark]
    embedding = [model.alias for model in models if model.embeds and not model.remark]
    lines = [
        "# openfall for this machine, written by `openfall init`. After a change: `openfall config check`.",
        "# Keys stay in the environment or in .env beside this file. docs/configuration.md describes every key.",
        "",
        _redis(machine, in_containers),
        "",
        "# Where models run. `gpu` is a local pool: a job that must stay local is never in a queue of another pool.",
        "backends:",
        *(f"  {line}" for line in _backends(machine, in_containers)),
        "",
        "# Models under names of your own. `upstream` is what the backend calls them.",
        "models:",
        *(f"  {'# ' if m.remark else ''}{m.alias}: {m.entry}{f'   # {m.remark}' if m.remark else ''}" for m in models),
        "",
        "# What callers ask for. The chain is called from the left.",
        "roles:",
    ]
    if completing:
        chain = ", ".join(completing)
        lines += [f"  chat: {{chain: [{chain}], urgency: interactive}}      # a person waits"]
        lines += [f"  worker: {{chain: [{chain}], urgency: background}}     # a person comes back later"]
    if embedding:
        lines += [f"  embed: {{chain: [{embedding[0]}], urgency: background}}"]
    return "\n".join([*lines, "", *_rest(in_containers)]) + "\n"


def _demo(machine: Machine) -> str:
    _, _, body = DEMO.read_text(encoding="utf-8").partition("\n\n")
    head = [
        "# openfall: no model server answered here and no key was set, so this is the demo, with a toy model.",
        "# Start Ollama or set a key (ANTHROPIC_API_KEY, OPENAI_API_KEY ...) in .env, then: openfall init --force",
    ]
    body = re.sub(r"^redis: .*$", _redis(machine, in_containers=False), body, flags=re.MULTILINE)
    return "\n".join([*head, "", body])


def _redis(machine: Machine, in_containers: bool) -> str:
    usable = machine.redis is not None and not machine.redis.problem and "@" not in machine.redis.url
    default = machine.redis.url if usable and machine.redis is not None and not in_containers else "embedded"
    return f"redis: ${{REDIS_URL:-{default}}}"


def _gateway(in_containers: bool) -> str:
    return f'gateway: {{listen: ["{"0.0.0.0" if in_containers else "127.0.0.1"}:8309"]}}'


def _rest(in_containers: bool) -> Iterator[str]:
    yield "# OpenAI's, Anthropic's and Ollama's APIs: http://127.0.0.1:8309/v1"
    yield _gateway(in_containers)
    yield ""
    yield "# When no model can answer: a person gets a reply at once, and the job waits for its models."
    yield "open_fall:"
    yield "  interactive: [canned_reply, hold]"
    yield "  default: [hold]"
    yield '  notify: {discord: "${DISCORD_WEBHOOK:-}"}'


def _backends(machine: Machine, in_containers: bool) -> Iterator[str]:
    memory = _card_memory(machine)
    for server in machine.servers:
        url = server.url.replace("127.0.0.1", "host.docker.internal") if in_containers else server.url
        if server.protocol == "ollama":
            url = f"${{OLLAMA_URL:-{url}}}"
        card = f", vram_gb: {memory:g}" if memory and server.protocol == "ollama" else ""
        if any(not is_passed_on(model) for model in server.models):
            yield f'{server.name}: {{protocol: {server.protocol}, url: "{url}", pool: gpu, slots: 2{card}}}'
        if any(is_passed_on(model) for model in server.models):
            yield f'{CLOUD_OF_OLLAMA}: {{protocol: ollama, url: "{url}", pool: cloud, slots: 4, billing: flat}}'
    for provider in _providers(machine):
        yield f"{provider.backend}: {provider.entry}"


def _models(machine: Machine) -> Iterator[_Model]:
    """The local models, the largest first, then those of the providers."""
    used: set[str] = set()
    memory = _card_memory(machine)
    for server in machine.servers:
        for model in sorted(server.models, key=lambda model: -(model.size_gb or 0.0)):
            yield _local_model(server, model, _alias(model.name, used), memory)
    for provider in _providers(machine):
        for alias, upstream, context in provider.models:
            entry = f'{{upstream: "{upstream}", backends: [{provider.backend}], context: {context}, max_tokens: 4096}}'
            yield _Model(_alias(alias, used), entry)


def _local_model(server: ModelServer, model: LocalModel, alias: str, memory: float) -> _Model:
    backend = CLOUD_OF_OLLAMA if is_passed_on(model) else server.name
    parts, remark = [f"upstream: {json.dumps(model.name)}", f"backends: [{backend}]", f"context: {CONTEXT}"], ""
    if memory and server.protocol == "ollama" and not is_passed_on(model):
        need = round((model.size_gb or 1.0) * MEMORY_FACTOR, 1)
        parts.append(f"vram_gb: {need:g}")
        remark = f"the card has {memory:g} GB" if need > memory else ""
    return _Model(alias, f"{{{', '.join(parts)}}}", is_known_to_embed(model.name), remark)


def is_passed_on(model: LocalModel) -> bool:
    """Whether an Ollama passes its calls on to the machines of its maker."""
    return model.name.lower().endswith((":cloud", "-cloud"))


def _card_memory(machine: Machine) -> float:
    return round(sum(card.memory_gb for card in machine.cards), 1)


def _providers(machine: Machine) -> Iterator[Provider]:
    return (provider for provider in PROVIDERS if set(provider.keys) & set(machine.keys))


def _alias(name: str, used: set[str]) -> str:
    """A name for a model that no other has: `qwen2.5-coder:32b` is `qwen2-5-coder-32b`."""
    plain = name.rpartition("/")[2].removesuffix(":latest").removesuffix(".gguf").lower()
    alias = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    alias = alias if is_name(alias) else f"model-{alias}".strip("-")
    number, free = 2, alias
    while free in used:
        free, number = f"{alias}-{number}", number + 1
    used.add(free)
    return free
