"""LangChain's standard tests for chat models, with ChatAnthropic at the gateway."""

import os

from langchain_anthropic import ChatAnthropic
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatAnthropic(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatAnthropic]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"model": "chat", "base_url": os.environ["GATEWAY_URL"], "api_key": "any", "max_retries": 0}
