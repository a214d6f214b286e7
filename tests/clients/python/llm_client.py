"""The library behind the command `llm`, at the gateway: an answer, a stream, a tool."""

from llm.default_plugins.openai_models import Chat
from report import GATEWAY, TEXT, equal, run

MODEL = Chat("gateway", model_name="chat", api_base=f"{GATEWAY}/v1", supports_tools=True)
MODEL.key = "any"


def whole_answer() -> None:
    equal(MODEL.prompt("Haruka waves", stream=False).text(), TEXT)


def stream() -> None:
    equal("".join(MODEL.prompt("Haruka waves")), TEXT)


def tool() -> None:
    looked = []

    def look(at: str) -> str:
        looked.append(at)
        return "lanterns"

    equal((MODEL.chain("Look", tools=[look]).text(), looked), (TEXT, ["dusk"]))


run({check.__name__: check for check in (whole_answer, stream, tool)})
