"""instructor at the gateway: a forced tool, a JSON schema, a partial stream."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from report import GATEWAY, equal, run

ASK = [{"role": "user", "content": "Where?"}]


class Place(BaseModel):
    at: str


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(OpenAI(base_url=f"{GATEWAY}/v1", api_key="any"), mode=mode)


def forced_tool() -> None:
    place = client(instructor.Mode.TOOLS).chat.completions.create(model="chat", messages=ASK, response_model=Place)
    equal(place.at, "dusk")


def json_schema() -> None:
    place = client(instructor.Mode.JSON_SCHEMA).chat.completions.create(
        model="chat", messages=ASK, response_model=Place
    )
    equal(place.at, "dusk")


def partial_stream() -> None:
    parts = client(instructor.Mode.TOOLS).chat.completions.create_partial(
        model="chat", messages=ASK, response_model=Place
    )
    equal(list(parts)[-1].at, "dusk")


run({check.__name__: check for check in (forced_tool, json_schema, partial_stream)})
