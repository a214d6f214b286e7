"""A path in place of an image is refused when the request is made: at night no person would correct it."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.producers.errors import BadRequest
from openfall.producers.prompt import build_body

PNG = "iVBORw0KGgoAAAANSUhEUg=="


def user(*parts: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts) or "what is it?", **more}]


def chat(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def source(**fields: str) -> dict[str, Any]:
    return {"type": "image", "source": fields}


@pytest.mark.parametrize(
    ("dialect", "messages", "place"),
    [
        ("openai", user(chat("frames/ep07/0011.png")), r"messages\[0\]\.content\[0\]\.image_url"),
        ("openai", user(chat("C:\\frames\\0012.png")), "image_url"),
        ("openai", user(chat("~/frames/0013.jpg")), "image_url"),
        ("openai", user(chat("/srv/frames/0014.webp")), "image_url"),
        ("openai", user({"type": "image_url", "image_url": "0015.png"}), "image_url"),
        ("openai", user({"type": "image", "image": "0019.png"}), r"content\[0\]\.image"),
        ("openai", user(chat("www.example.com/a.png")), "image_url"),
        ("responses", user({"type": "input_image", "image_url": "0016.png"}), r"input\[0\]\.content\[0\]\.image_url"),
        ("anthropic", user(source(type="url", url="0017.png")), r"content\[0\]\.source\.url"),
        ("anthropic", user(source(type="base64", media_type="image/png", data="0018.png")), r"source\.data"),
        (
            "anthropic",
            user({"type": "tool_result", "tool_use_id": "t", "content": [source(type="url", url="0019.png")]}),
            r"content\[0\]\.content\[0\]\.source\.url",
        ),
        ("ollama", user(images=["frames/0020.png"]), r"messages\[0\]\.images\[0\]"),
    ],
)
def test_an_image_by_its_path_is_refused(dialect: Any, messages: list[Any], place: str) -> None:
    name = "input" if dialect == "responses" else "messages"
    with pytest.raises(BadRequest, match=rf"{place} is the path of a file, and no model can read your files: write"):
        build_body({name: messages}, dialect, {})


@pytest.mark.parametrize(
    ("dialect", "messages"),
    [
        ("openai", user(chat("https://example.com/a.png"))),
        ("openai", user(chat(f"data:image/png;base64,{PNG}"))),
        ("openai", user(chat(PNG))),
        ("openai", user(chat("/9j/4AAQSkZJRg=="))),
        ("openai", user(chat(" https://example.com/a.png"))),
        ("openai", user(chat("iVBORw0KGgo\r\n AAAANSUhEUg=="))),
        ("openai", user(chat("file:///srv/frames/0011.png"))),
        ("openai", user(chat("gs://frames/0011.png"))),
        ("openai", user({"type": "text", "text": "C:\\frames\\0012.png"})),
        ("anthropic", user({"type": "document", "source": {"type": "text", "data": "frames/0011.png"}})),
        ("anthropic", user(source(type="base64", media_type="image/png", data=PNG))),
        ("ollama", user(images=[PNG])),
    ],
)
def test_a_url_and_data_pass(dialect: Any, messages: list[Any]) -> None:
    assert build_body({"messages": messages}, dialect, {})["messages"] == messages
