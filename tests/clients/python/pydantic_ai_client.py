"""pydantic-ai at the gateway: chat completions and Responses, a tool, a structured output, a stream."""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from report import GATEWAY, TEXT, equal, run

LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)  # of every check: the connections of the provider belong to it
PROVIDER = OpenAIProvider(base_url=f"{GATEWAY}/v1", api_key="any")
MODELS = {
    "chat": OpenAIChatModel("chat", provider=PROVIDER),
    "responses": OpenAIResponsesModel("chat", provider=PROVIDER),
}


class Place(BaseModel):
    at: str


def answer(model: object) -> None:
    equal(Agent(model).run_sync("Haruka waves").output, TEXT)


def structured(model: object) -> None:
    equal(Agent(model, output_type=Place).run_sync("Where?").output, Place(at="dusk"))


def tool(model: object) -> None:
    looked = []
    agent = Agent(model)

    @agent.tool_plain
    def look(at: str) -> str:
        looked.append(at)
        return "lanterns"

    equal((agent.run_sync("Look").output, looked), (TEXT, ["dusk"]))


def stream(model: object) -> None:
    async def read() -> str:
        async with Agent(model).run_stream("Haruka waves") as streamed:
            return "".join([text async for text in streamed.stream_text(delta=True)])

    equal(LOOP.run_until_complete(read()), TEXT)


run(
    {
        f"{name}: {check.__name__}": lambda check=check, model=model: check(model)
        for name, model in MODELS.items()
        for check in (answer, structured, tool, stream)
    }
)
