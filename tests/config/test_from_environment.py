"""A provider's usual variables make a working configuration without a file. Nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall import config
from openfall.config import ConfigError, LoadedConfig, NoRedis
from openfall.config.paths import DEMO
from openfall.router_core.catalog.pools import Billing
from tests.config.config_texts import check, unmask

OPENAI = {"OPENAI_API_KEY": "sk-0123456789-abcdefgh", "OPENAI_MODEL": "gpt-4.1"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-0123456789-x9Qk", "ANTHROPIC_MODEL": "claude-haiku-4-5"}
OLLAMA = {
    "OPENAI_API_KEY": "ollama",
    "OPENAI_MODEL": "qwen3-coder:cloud",
    "OPENAI_BASE_URL": "http://192.168.64.1:11434",
}


@pytest.fixture
def current_dir(tmp_path: Path) -> Path:
    """A directory from which no file is found."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def loaded(cwd: Path, *variables: dict[str, str]) -> LoadedConfig:
    return config.load(environ={key: value for result in variables for key, value in result.items()}, cwd=cwd)


def test_one_provider_is_a_role_with_one_model(current_dir: Path) -> None:
    configuration = loaded(current_dir, OPENAI)
    assert configuration.source == config.ENVIRONMENT
    assert configuration.catalog.roles["chat"].chain == ("gpt-4-1",)
    model, backend = configuration.catalog.models["gpt-4-1"], configuration.catalog.backends["openai"]
    assert (model.upstream, model.backends, backend.protocol) == ("gpt-4.1", ("openai",), "openai")
    assert backend.url == "https://api.openai.com/v1"
    assert backend.api_key.get_secret_value() == OPENAI["OPENAI_API_KEY"]
    assert configuration.catalog.billing("openai") is Billing.METERED
    assert model.usd_per_mtok is not None
    assert configuration.settings.data_dir == current_dir / ".openfall"


@pytest.mark.parametrize("port", ["8309", "9000"])
def test_the_port_of_the_gateway_is_a_variable_too(current_dir: Path, port: str) -> None:
    variables = {} if port == "8309" else {"OPENFALL_PORT": port}
    assert loaded(current_dir, OPENAI, variables).settings.gateway.listen == (f"127.0.0.1:{port}",)


def test_both_are_a_chain_with_anthropic_behind(current_dir: Path) -> None:
    catalog = loaded(current_dir, OLLAMA, ANTHROPIC).catalog
    assert catalog.roles["chat"].chain == ("qwen3-coder-cloud", "claude-haiku-4-5")
    assert catalog.backends["anthropic"].url == "https://api.anthropic.com"
    assert catalog.backends["anthropic"].protocol == "anthropic"
    assert catalog.models["claude-haiku-4-5"].max_tokens is not None


@pytest.mark.parametrize(
    ("variables", "billing"),
    [
        ({"OPENAI_API_KEY": "ollama"}, Billing.FLAT),
        ({"OPENAI_BASE_URL": "http://192.168.64.1:11434"}, Billing.FLAT),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1"}, Billing.FLAT),
        ({"OPENAI_BASE_URL": "http://[::1]:8080/v1"}, Billing.FLAT),
        ({"OPENAI_BASE_URL": "http://localhost:8080/v1"}, Billing.FLAT),
        ({"OPENAI_BASE_URL": "https://llm.example.com/v1"}, Billing.METERED),
        ({"OPENAI_BASE_URL": "https://8.8.8.8/v1"}, Billing.METERED),
        ({"OPENAI_API_KEY": "sk-abc"}, Billing.METERED),
    ],
)
def test_a_local_address_is_not_billed_by_the_token(
    current_dir: Path, variables: dict[str, str], billing: Billing
) -> None:
    catalog = loaded(current_dir, {"OPENAI_MODEL": "m"}, variables).catalog
    assert catalog.billing("openai") is billing
    assert not catalog.is_local("m")  # an address does not tell whether what is there passes things on


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OPENAI_API_KEY": "sk-abc"},
        {"OPENAI_API_KEY": "sk-abc", "OPENAI_MODEL": ""},
        {"OPENAI_MODEL": "gpt-4.1"},
        {"ANTHROPIC_API_KEY": "sk-abc", "OPENAI_MODEL": "gpt-4.1"},
    ],
)
def test_no_model_and_no_key_is_guessed(current_dir: Path, variables: dict[str, str]) -> None:
    assert loaded(current_dir, variables).source == DEMO


def test_a_token_of_anthropic_is_enough_and_wins_over_its_key(current_dir: Path) -> None:
    token = {"ANTHROPIC_AUTH_TOKEN": "token-0123456789-abcdef", "ANTHROPIC_MODEL": "claude-haiku-4-5"}
    for variables in ((token,), (ANTHROPIC, token)):
        configuration = loaded(current_dir, *variables, {"ANTHROPIC_BASE_URL": "https://proxy.example.com"})
        backend = configuration.catalog.backends["anthropic"]
        assert (backend.has_auth_token, backend.secrets) == (True, (token["ANTHROPIC_AUTH_TOKEN"],))
        assert backend.url == "https://proxy.example.com"
        assert "0123456789" not in config.dump(configuration)
    ollama = {**token, "ANTHROPIC_AUTH_TOKEN": "ollama"}
    assert loaded(current_dir, ollama).catalog.billing("anthropic") is Billing.FLAT


def test_a_file_wins(current_dir: Path) -> None:
    (current_dir / "openfall.yaml").write_text("")
    assert loaded(current_dir, OPENAI).source == current_dir / "openfall.yaml"
    assert loaded(current_dir, OPENAI, {"OPENFALL_CONFIG": str(DEMO)}).source == DEMO
    assert config.load(DEMO, environ=OPENAI, cwd=current_dir).source == DEMO


def test_it_may_be_named_like_a_file(current_dir: Path) -> None:
    (current_dir / "openfall.yaml").write_text("")
    configuration = loaded(current_dir, OPENAI)
    assert config.load(Path(str(config.ENVIRONMENT)), environ=OPENAI, cwd=current_dir).source == config.ENVIRONMENT
    assert configuration.source != config.ENVIRONMENT


@pytest.mark.parametrize(
    ("upstream", "alias"),
    [
        ("qwen3-coder:cloud", "qwen3-coder-cloud"),
        ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("Llama 3 / Größe", "gr-e"),
        ("chat", "openai-chat"),
        ("…", "openai"),
        ("8", "8"),
        ("x" * 200, "x" * 48),
        ('it\'s: {a} [b] # "c"', "it-s-a-b-c"),
    ],
)
def test_a_model_is_called_after_its_own_name(current_dir: Path, upstream: str, alias: str) -> None:
    catalog = loaded(current_dir, {"OPENAI_API_KEY": "k", "OPENAI_MODEL": upstream}).catalog
    assert catalog.roles["chat"].chain == (alias,)
    assert catalog.models[alias].upstream == upstream


def test_two_models_of_one_name_get_different_aliases(current_dir: Path) -> None:
    both = {**OPENAI, **ANTHROPIC, "OPENAI_MODEL": "m", "ANTHROPIC_MODEL": "m"}
    assert loaded(current_dir, both).catalog.roles["chat"].chain == ("m", "anthropic-m")


def test_a_dump_names_its_source_and_no_secret(current_dir: Path) -> None:
    first = loaded(current_dir, OPENAI, ANTHROPIC)
    text = config.dump(first)
    assert text.startswith("# In force, from the environment: OPENAI_* and ANTHROPIC_*\n")
    assert "0123456789" not in text
    file = current_dir / "openfall.yaml"
    file.write_text(unmask(text))
    assert config.load(file, environ={}, cwd=current_dir).catalog.roles == first.catalog.roles


def test_a_wrong_variable_is_reported_by_its_name(current_dir: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(current_dir, {**OPENAI, "OPENAI_BASE_URL": "localhost:11434"})
    assert str(caught.value) == ("the environment OPENAI_BASE_URL: must be an address such as http://127.0.0.1:8080.")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8309/v1", "http://localhost:8309", "http://[::1]:8309/v1/"])
def test_the_address_of_the_own_gateway_is_refused(current_dir: Path, url: str) -> None:
    """Programs at the gateway have it in OPENAI_BASE_URL. In the shell of `openfall up` each call would ask itself."""
    own = {**OPENAI, "OPENAI_BASE_URL": url}
    (problem,) = check(environ=own, cwd=current_dir)
    start = "the environment OPENAI_BASE_URL: the gateway of this configuration listens there, so each call would ask"
    assert str(problem).startswith(start)
    assert loaded(current_dir, own, {"OPENFALL_PORT": "9000"}).catalog.backends["openai"].url.startswith(url[:16])


@pytest.mark.parametrize("name", ["OPENAI_API_BASE", "OPENAI_API_BASE_URL"])
def test_the_address_in_a_variable_of_another_program_is_not_passed_over(current_dir: Path, name: str) -> None:
    """The prompts that are meant for a server of the house would go to the provider."""
    other = {**OPENAI, name: "http://192.168.1.20:8000/v1"}
    (problem,) = check(environ=other, cwd=current_dir)
    start = f"the environment {name}: a variable of this name is not read, and calls would go to the address of openai"
    assert str(problem).startswith(start)
    assert loaded(current_dir, other, {"OPENAI_BASE_URL": "http://192.168.1.20:8000/v1"}).source == config.ENVIRONMENT


def test_an_ollama_at_the_port_that_the_gateway_takes_from_it_is_refused(tmp_path: Path) -> None:
    text = 'backends: {tower: {protocol: ollama, pool: gpu}}\ngateway: {listen: ["0.0.0.0:11434"]}'
    (file := tmp_path / "openfall.yaml").write_text(text)
    (problem,) = check(file, environ={}, cwd=tmp_path)
    assert str(problem).startswith("openfall.yaml:1 backends.tower: the gateway of this configuration listens there")
    file.write_text(text.replace("gpu}", "gpu, url: http://127.0.0.1:11435}"))
    assert config.load(file, environ={}, cwd=tmp_path).catalog.backends["tower"].url == "http://127.0.0.1:11435"


def test_the_variables_of_the_process_are_named_for_other_programs(current_dir: Path) -> None:
    (current_dir / ".env").write_text("ANTHROPIC_API_KEY=sk-ant-1\nANTHROPIC_MODEL=claude-haiku-4-5\n")
    configuration = loaded(current_dir, OPENAI, {"ANTHROPIC_BASE_URL": "", "OPENFALL_PORT": "9000"})
    assert configuration.provider_variables == ("OPENAI_API_KEY", "OPENAI_MODEL")
    assert config.load(DEMO, environ=OPENAI, cwd=current_dir).provider_variables == ()


def test_notices_go_to_the_address_in_the_variable(current_dir: Path) -> None:
    url = "https://discord.com/api/webhooks/1/hunter2"
    configuration = loaded(current_dir, OPENAI, {"DISCORD_WEBHOOK": url})
    assert configuration.settings.notify.discord == url
    assert "hunter2" not in config.dump(configuration)
    assert loaded(current_dir, OPENAI).settings.notify.discord is None


def test_a_wrong_notify_address_is_reported_by_its_variable_and_not_shown(current_dir: Path) -> None:
    (problem,) = check(environ={**OPENAI, "DISCORD_WEBHOOK": "hunter2"}, cwd=current_dir)
    assert str(problem).startswith("the environment DISCORD_WEBHOOK: must be the address of a Discord webhook, ")
    assert "hunter2" not in str(problem)


def test_a_password_in_an_address_is_not_shown(current_dir: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(current_dir, {**OPENAI, "OPENAI_BASE_URL": "http://u:hunter2@a"})
    assert "OPENAI_BASE_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_message_says_to_edit_the_environment(current_dir: Path) -> None:
    with pytest.raises(NoRedis, match=r"`redis:` in openfall\.yaml\)"):
        config.redis_server(loaded(current_dir, OPENAI).settings)


def test_an_environment_without_a_model_is_reported_with_what_to_set(current_dir: Path) -> None:
    (problem,) = check(config.ENVIRONMENT, environ={"OPENAI_API_KEY": "sk-abc"}, cwd=current_dir)
    assert str(problem) == (
        "the environment: it names no model and how to reach it. "
        "Set OPENAI_MODEL with OPENAI_API_KEY or OPENAI_BASE_URL, or the same of ANTHROPIC_."
    )
