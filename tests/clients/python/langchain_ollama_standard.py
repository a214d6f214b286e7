"""LangChain's standard tests for chat models, with ChatOllama at the gateway."""

import os

from langchain_ollama import ChatOllama
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatOllama(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatOllama]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"model": "chat", "base_url": os.environ["GATEWAY_URL"], "validate_model_on_init": True}

    @property
    def supports_json_mode(self) -> bool:
        return False  # the scripted provider answers every request of JSON mode with {}
