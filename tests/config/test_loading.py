"""Loading a file: its values, variables, defaults and engines, and the address of Redis."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from openfall import config
from openfall.config import LoadedConfig, NoRedis
from openfall.config.paths import DEMO
from openfall.config.settings import EngineSettings
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import POOL_DEFAULTS, Pool
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, UrgencyPolicy
from openfall.router_core.vocabulary import Urgency
from tests.config.config_texts import load_text

FULL = """
redis: rediss://:hunter2@cache.example.invalid:6380/3
data: state
pools: {rack: {local: yes}, far: {}}
backends:
  tower: {protocol: openai, url: "http://127.0.0.1:8080", pool: rack, slots: 2, reserved_interactive: 1}
  maker: {url: "https://example.invalid/v1", pool: far, api_key: "${MAKER_KEY}"}
models:
  coder: {upstream: "coder:32b", backends: [tower], context: 32k, timeout: 400ms, max_tokens: 1k}
  haiku: {upstream: haiku-4-5, backends: [maker]}
roles:
  worker: {chain: [coder, haiku]}
  chat: {chain: [haiku], urgency: interactive}
urgency:
  interactive: {expires_after: 500ms}
  background: {min_share: 25%}
retention: {results: 7d, unread: 2d}
privacy: {keep_prompts: on}
limits: {max_prompt: 64KiB, max_memory: 70%}
workers: {slots: 3, shutdown_grace: 1.5s, processes: 2}
"""
KEY = "sk-ant-0123456789-x9Qk"


class TestValues:
    @pytest.fixture
    def full(self, tmp_path: Path) -> LoadedConfig:
        return load_text(tmp_path, FULL, {"MAKER_KEY": KEY})

    def test_the_catalog_has_the_values_of_the_file(self, full: LoadedConfig) -> None:
        catalog = full.catalog
        assert catalog.pools == {"rack": Pool(local=True), "far": Pool()}
        assert (catalog.backends["tower"].slots, catalog.backends["tower"].reserved_interactive) == (2, 1)
        assert catalog.backends["maker"].api_key.get_secret_value() == KEY
        coder = catalog.models["coder"]
        assert (coder.upstream, coder.backends, coder.context, coder.timeout) == ("coder:32b", ("tower",), 32_000, 0.4)
        assert (coder.max_tokens, catalog.models["haiku"].max_tokens) == (1000, None)
        assert catalog.roles["worker"].chain == ("coder", "haiku")
        assert catalog.roles["chat"].urgency is Urgency.INTERACTIVE

    def test_an_urgency_keeps_its_other_defaults(self, full: LoadedConfig) -> None:
        assert full.catalog.urgency == {
            **URGENCY_DEFAULTS,
            Urgency.INTERACTIVE: UrgencyPolicy(
                start_within=5, expires_after=0.5, reply_within=0.25, timeout=0.25, first_token_timeout=0.25,
                stall_timeout=0.25, max_queued=10_000,
            ),
            Urgency.BACKGROUND: UrgencyPolicy(start_within=30, expires_after=3600, timeout=300, min_share=0.25),
        }  # fmt: skip

    def test_the_settings_have_the_values_of_the_file(self, full: LoadedConfig, tmp_path: Path) -> None:
        settings = full.settings
        assert settings.redis.url == "rediss://:hunter2@cache.example.invalid:6380/3"
        assert settings.data_dir == tmp_path / "state"
        assert (settings.retention.results, settings.privacy.keep_prompts) == (604_800, True)
        assert settings.retention.unread == 172_800
        assert (settings.limits.max_prompt, settings.limits.max_memory) == (65_536, 0.7)
        assert (settings.workers.slots, settings.workers.shutdown_grace, settings.workers.processes) == (3, 1.5, 2)
        assert full.source == settings.source == tmp_path / "openfall.yaml"

    def test_no_secret_is_in_any_representation(self, full: LoadedConfig) -> None:
        assert KEY not in f"{full}{full!r}"
        assert "hunter2" not in f"{full}{full!r}"

    def test_a_configuration_cannot_be_changed(self, full: LoadedConfig) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            full.settings.workers.slots = 99


@pytest.mark.parametrize("text", ["", "# only a comment\n", "pools:\nbackends:\nmodels:\nroles:\nurgency:\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    configuration = load_text(tmp_path, text)
    settings = configuration.settings
    assert configuration.catalog == Catalog()
    assert configuration.catalog.pools == POOL_DEFAULTS
    assert (settings.redis.url, settings.data_dir) == (None, tmp_path / ".openfall")
    assert (settings.retention.results, settings.privacy.keep_prompts, settings.limits.max_prompt) == (
        86_400,
        False,
        4_194_304,
    )
    assert (settings.workers.slots, settings.workers.shutdown_grace, settings.workers.processes) == (16, 30, 1)
    assert settings.engines == {}
    assert (settings.retention.unread, settings.limits.max_memory) == (604_800, 0.85)
    assert (settings.notify.discord, settings.notify.webhook, settings.webhooks.secret) == (None, None, None)
    assert (settings.notify.rate_limit, settings.notify.on_recovery) == ((1, 600), True)
    assert (settings.webhooks.allow, settings.webhooks.private) == ((), False)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load_text(tmp_path, "\ufeffworkers: {slots: 2}").settings.workers.slots == 2


def test_a_name_may_be_a_word_that_yaml_takes_for_a_boolean(tmp_path: Path) -> None:
    assert load_text(tmp_path, "pools: {on: {local: yes}}").catalog.pools == {"on": Pool(local=True)}


class TestVariables:
    def redis(self, directory: Path, value: str, environ: Mapping[str, str]) -> str | None:
        return load_text(directory, f"redis: {value}", environ).settings.redis.url

    @pytest.mark.parametrize(
        ("environ", "url"),
        [({}, None), ({"R": ""}, None), ({"R": "redis://a"}, "redis://a"), ({"R": "embedded"}, None)],
    )
    def test_a_default_replaces_an_unset_variable(
        self, tmp_path: Path, environ: dict[str, str], url: str | None
    ) -> None:
        assert self.redis(tmp_path, "${R:-embedded}", environ) == url

    def test_the_environment_sets_redis_when_the_file_does_not(self, tmp_path: Path) -> None:
        assert load_text(tmp_path, "", {"REDIS_URL": "unix:///run/r.sock"}).settings.redis.url == "unix:///run/r.sock"

    def test_the_file_wins_over_the_environment(self, tmp_path: Path) -> None:
        assert self.redis(tmp_path, "redis://b", {"REDIS_URL": "redis://a"}) == "redis://b"

    def test_a_value_may_have_several_variables(self, tmp_path: Path) -> None:
        assert self.redis(tmp_path, "redis://${H}:${P:-6379}/0", {"H": "a"}) == "redis://a:6379/0"

    @pytest.mark.parametrize(
        ("written", "means"), [("$$", "$"), ("$${R}", "${R}"), ("a$b", "a$b"), ("$", "$"), ("$$$$", "$$"), ("${R}", "")]
    )
    def test_a_dollar_is_written_twice(self, tmp_path: Path, written: str, means: str) -> None:
        text = f"backends: {{a: {{pool: gpu, url: http://a, api_key: '{written}'}}}}"
        assert load_text(tmp_path, text, {"R": ""}).catalog.backends["a"].api_key.get_secret_value() == means

    def test_a_value_cannot_change_the_shape_of_the_file(self, tmp_path: Path) -> None:
        value = "x, slots: 9}\nworkers: {slots: 1} ${K}"
        text = 'backends: {a: {pool: gpu, url: "http://a"}}\nopen_fall: {canned_reply: "${K}"}'
        configuration = load_text(tmp_path, text, {"K": value})
        assert configuration.catalog.open_fall.canned_reply == value
        assert (configuration.catalog.backends["a"].slots, configuration.settings.workers.slots) == (4, 16)

    def test_a_variable_may_hold_a_number_a_time_or_a_yes(self, tmp_path: Path) -> None:
        text = "workers: {slots: '${N}', shutdown_grace: '${T}'}\nprivacy: {keep_prompts: '${Y}'}"
        settings = load_text(tmp_path, text, {"N": "7", "T": "2m", "Y": "yes"}).settings
        assert (settings.workers.slots, settings.workers.shutdown_grace, settings.privacy.keep_prompts) == (
            7,
            120,
            True,
        )


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("2m", 120),
        ("1h", 3600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("12", 12),
        ("1.5h", 5400),
        ("5 min", 300),
        ("2 hours", 7200),
        ("90 seconds", 90),
        ("1h30m", 5400),
        ("1h 30 min", 5400),
        ("1_000", 1000),
    ],
)
def test_a_duration_is_in_seconds_and_is_shown_in_words(tmp_path: Path, word: str, seconds: float) -> None:
    configuration = load_text(tmp_path, f"workers: {{shutdown_grace: {word}}}")
    assert configuration.settings.workers.shutdown_grace == seconds
    again = load_text(tmp_path, config.dump(configuration))
    assert again.settings.workers.shutdown_grace == seconds


@pytest.mark.parametrize("word", ["5 mins ago", "1h 30", "PT30S", "1:30", "5 M", "h", "1h,30m", "-5s"])
def test_text_that_is_no_duration_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(config.ConfigError, match="must be a duration"):
        load_text(tmp_path, f"workers: {{shutdown_grace: '{word}'}}")


MERGED = """
x-common: &common {protocol: openai, pool: gpu, slots: 7}
backends:
  one: {<<: *common, url: 'http://a'}
  two: {url: 'http://b', slots: 9, <<: [*common, {api_key: k}]}
"""


def test_a_mapping_is_merged_into_others_whose_own_keys_win(tmp_path: Path) -> None:
    backends = load_text(tmp_path, MERGED).catalog.backends
    assert [(each.url, each.slots, each.pool) for each in backends.values()] == [
        ("http://a", 7, "gpu"), ("http://b", 9, "gpu"),
    ]  # fmt: skip
    assert backends["two"].secrets == ("k",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "x-a: &a {slots: 1}\nx-b: &b {<<: *a}\nworkers: {<<: *b}",
            "3 workers: a mapping that is merged must not merge",
        ),
        ("workers: &a {<<: *a}", "1 workers: a mapping that is merged must not merge another one."),
        ("workers: {<<: 7}", "1 workers: must be a mapping of keys to values, not a single value."),
        ("x-a: &a {slits: 1}\nworkers: {<<: *a}", '1 workers: unknown key "slits". Did you mean "slots"?'),
        ("workers: {x-a: 1}", '1 workers: unknown key "x-a".'),
    ],
)
def test_a_merge_that_cannot_be_read_is_reported_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        load_text(tmp_path, text)
    assert problem in str(caught.value)


@pytest.mark.parametrize("url", [" http://a:8080/v1 ", "HTTP://a:8080/v1"])
def test_an_address_may_have_blanks_around_it_and_a_scheme_in_capitals(tmp_path: Path, url: str) -> None:
    configuration = load_text(tmp_path, f"backends: {{a: {{pool: gpu, url: '{url}'}}}}")
    assert configuration.catalog.backends["a"].url == "http://a:8080/v1"


@pytest.mark.parametrize(
    ("word", "size"),
    [
        ("4096", 4096),
        ("32k", 32_000),
        ("32K", 32_000),
        ("1.5k", 1500),
        ("2M", 2_000_000),
        ("2MB", 2_000_000),
        ("1G", 10**9),
        ("8KiB", 8192),
        ("4MiB", 4 * 2**20),
        ("1Gi", 2**30),
        ("2 GiB", 2**31),
    ],
)
def test_a_size_is_a_whole_number_and_is_shown_in_words(tmp_path: Path, word: str, size: int) -> None:
    configuration = load_text(tmp_path, f"limits: {{max_prompt: {word}}}")
    assert configuration.settings.limits.max_prompt == size
    assert load_text(tmp_path, config.dump(configuration)).settings.limits.max_prompt == size


class TestEngines:
    def engine(self, directory: Path, engine: str, environ: Mapping[str, str] | None = None) -> EngineSettings:
        text = f"backends: {{a: {{pool: gpu, url: http://127.0.0.1:1, slots: 3, embedded: yes{engine}}}}}"
        return load_text(directory, text, environ).settings.engines["a"]

    def test_an_embedded_backend_runs_the_shipped_model_with_a_lane_for_each_slot(self, tmp_path: Path) -> None:
        assert self.engine(tmp_path, "") == EngineSettings(model="smollm2", parallel=3, threads=None, gpu_layers=0)

    def test_an_engine_has_the_values_of_the_file(self, tmp_path: Path) -> None:
        result = self.engine(tmp_path, ", engine: {context: 4k, threads: 2, parallel: 1, gpu_layers: 99}")
        assert result == EngineSettings(context=4000, threads=2, parallel=1, gpu_layers=99)

    @pytest.mark.parametrize(
        ("written", "path"),
        [
            ("toy.gguf", "{directory}/toy.gguf"),
            ("models/toy", "{directory}/models/toy"),
            ("/srv/toy.gguf", "/srv/toy.gguf"),
            ("~/toy.gguf", "/home/haruka/toy.gguf"),
        ],
    )
    def test_a_model_file_is_found_from_the_configuration(self, tmp_path: Path, written: str, path: str) -> None:
        result = self.engine(tmp_path, f", engine: {{model: {written}}}", {"HOME": "/home/haruka"})
        assert result.model == path.format(directory=tmp_path)

    def test_a_backend_that_is_not_embedded_has_no_engine(self, tmp_path: Path) -> None:
        assert load_text(tmp_path, FULL, {"MAKER_KEY": ""}).settings.engines == {}


class TestRedisAddress:
    def test_the_configured_address_is_used(self, tmp_path: Path) -> None:
        assert config.redis_server(load_text(tmp_path, "redis: redis://:pw@a").settings).url == "redis://:pw@a"

    def test_the_embedded_redis_has_its_address_in_the_data_directory(self, tmp_path: Path) -> None:
        settings = load_text(tmp_path, "redis: embedded\ndata: d").settings
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "redis.url").write_text("unix:///run/openfall.sock\n")
        assert config.redis_server(settings).url == "unix:///run/openfall.sock"

    @pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
    def test_without_an_address_the_error_names_the_remedy(self, tmp_path: Path, content: bytes | None) -> None:
        settings = load_text(tmp_path, "").settings
        if content is not None:
            settings.data_dir.mkdir()
            (settings.data_dir / "redis.url").write_bytes(content)
        with pytest.raises(NoRedis) as caught:
            config.redis_server(settings)
        assert str(caught.value) == (
            f"No Redis: `openfall up` does not run here ({tmp_path}/.openfall/redis.url names no server). Start it, "
            f"or set REDIS_URL (or `redis:` in {tmp_path}/openfall.yaml) to the address of a server. If it runs in "
            "another folder, set the variable that it prints there: OPENFALL_CONFIG or REDIS_URL."
        )

    def test_a_program_in_another_folder_reaches_the_embedded_redis_with_one_variable(self, tmp_path: Path) -> None:
        own = load_text(tmp_path, "redis: embedded").settings
        shipped = config.load(DEMO, environ={}, cwd=tmp_path).settings
        for settings in (own, shipped):
            settings.data_dir.mkdir(exist_ok=True)
            (settings.data_dir / "redis.url").write_text("unix:///run/openfall.sock?db=0\n")
            (variable,) = shlex.split(config.variable_for_other_folders(settings))
            name, _, value = variable.partition("=")
            (other := tmp_path / "other").mkdir(exist_ok=True)
            there = config.load(environ={name: value}, cwd=other).settings
            assert config.redis_server(there).url == "unix:///run/openfall.sock?db=0"

    @pytest.mark.parametrize("folder", ["plain", "two words", "it's", "Grüße", "$HOME"])
    def test_a_shell_takes_the_variable_of_any_folder(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / folder).mkdir()
        settings = load_text(tmp_path / folder, "redis: embedded").settings
        (word,) = shlex.split(config.variable_for_other_folders(settings))
        assert word == f"OPENFALL_CONFIG={tmp_path / folder / 'openfall.yaml'}"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can read as another user")
    def test_a_directory_of_another_user_is_not_called_a_server_that_does_not_run(self, tmp_path: Path) -> None:
        settings = load_text(tmp_path, "redis: embedded").settings
        settings.data_dir.mkdir()
        (settings.data_dir / "redis.url").write_text("unix:///run/openfall.sock\n")
        settings.data_dir.chmod(0o700)
        for directory in (tmp_path, *tmp_path.parents[:2]):
            directory.chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(NoRedis, match="belongs to another user and cannot be read"):
                config.redis_server(settings)
        finally:
            os.seteuid(0)

    def test_no_message_says_to_edit_the_shipped_demo(self, tmp_path: Path) -> None:
        with pytest.raises(NoRedis, match=r"`redis:` in openfall\.yaml\) to"):
            config.redis_server(config.load(DEMO, environ={}, cwd=tmp_path).settings)
