"""What a model takes in a request, by its name."""

import pytest

from openfall.router_core.catalog.capabilities import Thinking, known_capabilities
from openfall.router_core.catalog.model_entry import ModelSpec


@pytest.mark.parametrize(
    ("upstream", "thinking", "sampling"),
    [
        ("claude-3-5-sonnet-20241022", Thinking.NONE, True),
        ("claude-2.1", Thinking.NONE, True),
        ("claude-3-7-sonnet-latest", Thinking.BUDGET, True),
        ("claude-opus-4-20250514", Thinking.BUDGET, True),
        ("claude-sonnet-4-5-20250929", Thinking.BUDGET, True),
        ("anthropic/claude-haiku-4.5", Thinking.BUDGET, True),
        ("us.anthropic.claude-opus-4-6-v1:0", Thinking.ADAPTIVE, True),
        ("claude-opus-4-7", Thinking.ADAPTIVE, False),
        ("claude-sonnet-5", Thinking.ADAPTIVE, False),
        ("gpt-5-mini", None, False),
        ("openai/o3", None, False),
        ("gpt-5-chat-latest", None, True),
        ("gpt-4o", None, True),
        ("gpt-oss-120b", None, True),
        ("phi-o1:7b", None, True),
        ("glm-5", None, True),
    ],
)
def test_a_known_name_has_known_capabilities(upstream, thinking, sampling):
    known = known_capabilities(upstream)
    assert (known.thinking, known.sampling_params) == (thinking, sampling)


def test_the_configuration_says_more_than_the_name():
    spec = ModelSpec(upstream="claude-opus-4-7", backends=("a",), sampling_params=True, thinking=Thinking.NONE)
    assert (spec.capabilities.thinking, spec.capabilities.sampling_params) == (Thinking.NONE, True)
    plain = ModelSpec(upstream="claude-opus-4-7", backends=("a",))
    assert (plain.capabilities.thinking, plain.capabilities.sampling_params) == (Thinking.ADAPTIVE, False)
