"""Ollama's client for Python at the gateway: models, an answer, a stream, a tool, a prompt, an error."""

from ollama import Client, ResponseError
from report import GATEWAY, TEXT, equal, run

CLIENT = Client(host=GATEWAY)
MESSAGES = [{"role": "user", "content": "Haruka waves"}]


def look(at: str) -> str:
    """Look at a moment.

    Args:
        at: the moment
    """
    return at


def models() -> None:
    equal("chat:latest" in [model.model for model in CLIENT.list().models], True)
    equal("tools" in (CLIENT.show("chat").capabilities or ()), True)


def whole_answer() -> None:
    equal(CLIENT.chat("chat", MESSAGES).message.content, TEXT)
    equal(CLIENT.generate("chat", "Haruka waves").response, TEXT)


def stream() -> None:
    parts = [part.message.content or "" for part in CLIENT.chat("chat", MESSAGES, stream=True)]
    equal("".join(parts), TEXT)


def tool() -> None:
    (call,) = CLIENT.chat("chat", MESSAGES, tools=[look]).message.tool_calls or ()
    equal((call.function.name, dict(call.function.arguments)), ("look", {"at": "dusk"}))


def unknown_model() -> None:
    try:
        CLIENT.chat("chatt", MESSAGES)
    except ResponseError as error:
        equal((error.status_code, "chat" in error.error), (404, True))
    else:
        raise AssertionError("it was answered")


run({check.__name__: check for check in (models, whole_answer, stream, tool, unknown_model)})
