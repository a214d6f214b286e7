"""LlamaIndex at the gateway: its Ollama, and its class for servers in OpenAI's form. Answers, streams, tools."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from report import GATEWAY, TEXT, equal, run

MESSAGES = [ChatMessage(role="user", content="Haruka waves")]
OLLAMA = Ollama(model="chat", base_url=GATEWAY, request_timeout=30)
OPENAI = OpenAILike(
    model="chat", api_base=f"{GATEWAY}/v1", api_key="any", is_chat_model=True, is_function_calling_model=True
)


def look(at: str) -> str:
    """Look at a moment."""
    return at


def called(llm: Ollama | OpenAILike) -> None:
    response = llm.chat_with_tools([FunctionTool.from_defaults(look)], user_msg="look")
    (call,) = llm.get_tool_calls_from_response(response)
    equal((call.tool_name, call.tool_kwargs), ("look", {"at": "dusk"}))


def streamed(llm: Ollama | OpenAILike) -> None:
    equal("".join(part.delta or "" for part in llm.stream_chat(MESSAGES)), TEXT)


run({
    "context of ollama": lambda: equal(OLLAMA.metadata.context_window > 0, True),
    "ollama, whole": lambda: equal(OLLAMA.chat(MESSAGES).message.content, TEXT),
    "ollama, a prompt": lambda: equal(OLLAMA.complete("Haruka waves").text, TEXT),
    "ollama, a stream": lambda: streamed(OLLAMA),
    "ollama, a tool": lambda: called(OLLAMA),
    "openai, whole": lambda: equal(OPENAI.chat(MESSAGES).message.content, TEXT),
    "openai, a stream": lambda: streamed(OPENAI),
    "openai, a tool": lambda: called(OPENAI),
})  # fmt: skip
