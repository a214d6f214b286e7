"""What a backend may not contradict in itself: its credentials, and how long it keeps its models."""

from __future__ import annotations

import pytest

from tests.router_core.catalog.test_validation import BACKENDS, problems_of

VARIABLE = "it is the name of a variable, or a placeholder: write the variable as ${NAME}, in quotes"
QUOTED = "quotes around it: remove them where its value stands (`docker --env-file` keeps quotes)"


class TestKeys:
    @pytest.mark.parametrize(
        ("keys", "problem"),
        [
            pytest.param({"api_keys": ["a", "", "b"]}, None, id="an empty one is skipped"),
            pytest.param(
                {"api_keys": ["", ""]},
                "none of its keys has a value: set their variables, or remove api_keys",
                id="all are empty",
            ),
            pytest.param(
                {"api_keys": ["a", "b", "a"]}, "it lists a key twice: two variables may have the same value", id="twice"
            ),
            pytest.param(
                {"api_key": "c", "api_keys": ["a", "b"]},
                "there is an api_key too: write all keys in api_keys",
                id="a single key too",
            ),
            pytest.param(
                {"auth_token": "t", "api_keys": ["a", "b"]},
                "there is an auth_token too, which would be sent in place of every key: remove one",
                id="a token too",
            ),
            pytest.param({"auth_token": "t", "api_key": "c"}, None, id="a token wins over a single key"),
        ],
    )
    def test_several_keys_are_different_have_values_and_are_written_in_one_place(self, keys, problem) -> None:
        provider = {**BACKENDS["provider"].model_dump(), **keys}
        shown = [] if problem is None else [f"backends.provider.api_keys: {problem}"]
        assert problems_of(backends=BACKENDS | {"provider": provider}) == shown

    @pytest.mark.parametrize("field", ["api_key", "api_keys", "auth_token"])
    @pytest.mark.parametrize(
        ("key", "problem"),
        [
            pytest.param("sk-1\r\nx", "it has characters that no key has: copy it again", id="a line end"),
            pytest.param(
                "Bearer sk-1", 'it begins with "Bearer", which openfall writes itself: remove that word', id="a header"
            ),
            pytest.param("sk-1 2", "it has characters that no key has: copy it again", id="a blank"),
            pytest.param(
                "\u201csk-1\u201d", "it has characters that no key has: copy it again", id="quotes of an editor"
            ),
            pytest.param("sk-1\0", "it has characters that no key has: copy it again", id="NUL"),
            pytest.param('"sk-1"', f"it has {QUOTED}", id="double quotes"),
            pytest.param("'sk-1'", f"it has {QUOTED}", id="single quotes"),
            pytest.param("$API_KEY", VARIABLE, id="a variable of a shell"),
            pytest.param("%API_KEY%", VARIABLE, id="a variable of Windows"),
            pytest.param("os.environ/API_KEY", VARIABLE, id="a variable of LiteLLM"),
            pytest.param("{env:API_KEY}", VARIABLE, id="a variable of a coding agent"),
            pytest.param("{{ env.API_KEY }}", VARIABLE, id="a variable of a template"),
            pytest.param("<your key>", VARIABLE, id="a placeholder"),
            pytest.param("$2b$10$aB", None, id="a dollar and more"),
            pytest.param(" sk-1\n", None, id="white space around it"),
            pytest.param("a\"b'c", None, id="quotes within it"),
            pytest.param("  ", None, id="only blanks"),
        ],
    )
    def test_a_key_that_was_not_copied_as_it_is_shown_is_refused_and_not_repeated(self, field, key, problem) -> None:
        provider = {**BACKENDS["provider"].model_dump(), field: [key] if field == "api_keys" else key}
        shown = [] if problem is None else [f"backends.provider.{field}: {problem}"]
        assert problems_of(backends=BACKENDS | {"provider": provider}) == shown


def test_only_a_server_of_the_openai_protocol_takes_responses() -> None:
    tower = BACKENDS["tower"].model_copy(update={"responses": True, "protocol": "ollama"})
    assert problems_of(backends=BACKENDS | {"tower": tower}) == [
        "backends.tower.responses: only a server of the openai protocol takes it: remove it"
    ]
    openai = BACKENDS["tower"].model_copy(update={"responses": True})
    assert problems_of(backends=BACKENDS | {"tower": openai}) == []


def test_only_an_ollama_takes_an_order_to_keep_its_models() -> None:
    tower = BACKENDS["tower"].model_copy(update={"keep_in_memory": 60.0, "protocol": "openai"})
    assert problems_of(backends=BACKENDS | {"tower": tower}) == [
        "backends.tower.keep_in_memory: only an Ollama takes it: write protocol: ollama, or remove it"
    ]
    assert not problems_of(backends=BACKENDS | {"tower": tower.model_copy(update={"protocol": "ollama"})})
