"""LangChain's standard tests for chat models, with ChatOpenAI at the gateway."""

import os

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatOpenAI(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, object]:
        base_url = f"{os.environ['GATEWAY_URL']}/v1"
        return {"model": "chat", "base_url": base_url, "api_key": "any", "stream_usage": True, "max_retries": 0}

    @property
    def supports_json_mode(self) -> bool:
        return False  # the scripted provider answers every request of JSON mode with {}
