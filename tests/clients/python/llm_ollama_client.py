"""The plugin llm-ollama of the command `llm`, at the gateway: its models, an answer, a stream."""

import os

from report import GATEWAY, TEXT, equal, run

os.environ["OLLAMA_HOST"] = GATEWAY

import llm  # the plugin reads the variable when it is imported


def models() -> None:
    equal(any(model.model_id == "chat:latest" for model in llm.get_models()), True)


def whole_answer() -> None:
    equal(llm.get_model("chat:latest").prompt("Haruka waves", stream=False).text(), TEXT)


def stream() -> None:
    equal("".join(llm.get_model("chat:latest").prompt("Haruka waves")), TEXT)


run({check.__name__: check for check in (models, whole_answer, stream)})
