"""Valid requests, answers, streams and errors of every dialect, from which the fuzz makes invalid ones."""

from __future__ import annotations

from typing import Any

from tests.native_responses import CALL, MESSAGE, REASONING, REFUSAL, SEARCH, events_of, native

_TOOL = {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {"c": {}}}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"c":"Köln"}'}}
_CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"c": "Köln"}}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _chat_line(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False, **more}


REQUESTS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
            ],
            "tools": [{"type": "function", "function": _TOOL}],
            "tool_choice": "auto",
            "max_tokens": 10,
            "stop": ["x"],
            "temperature": 0.5,
            "seed": 3,
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        }
    ],
    "anthropic": [
        {
            "model": "m",
            "max_tokens": 10,
            "system": [{"type": "text", "text": "Be brief."}],
            "stop_sequences": ["x"],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, _USE]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"}]},
            ],
            "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
        }
    ],
    "ollama": [
        {
            "model": "m",
            "options": {"num_predict": 5, "temperature": 0.1},
            "format": "json",
            "think": True,
            "messages": [
                {"role": "user", "content": "hi", "images": ["iVBORw0KGgo="]},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"c": 1}}}],
                },
                {"role": "tool", "content": "sun", "tool_name": "f"},
            ],
            "tools": [{"type": "function", "function": _TOOL}],
        }
    ],
}

RESPONSES_REQUEST: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "max_output_tokens": 10,
    "reasoning": {"effort": "low"},
    "top_logprobs": 2,
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                {"type": "input_file", "file_data": "eA==", "filename": "f"},
            ],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sun"}]},
        {"type": "reasoning", "id": "r", "summary": []},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "web_search"}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
}

ANSWERS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "logprobs": None,
                    "message": {
                        "role": "assistant",
                        "content": "It is sunny.",
                        "refusal": None,
                        "reasoning_content": "hm",
                    },
                }
            ],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 1},
            },
        },
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                }
            ],
        },
    ],
    "anthropic": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "It is sunny."},
                _USE,
            ],
            "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 1},
        }
    ],
    "ollama": [
        _chat_line(
            {
                "role": "assistant",
                "content": "It is sunny.",
                "thinking": "hm",
                "tool_calls": [{"function": {"name": "f", "arguments": {"c": 1}}}],
            },
            done=True,
            done_reason="stop",
            prompt_eval_count=3,
            eval_count=4,
        )
    ],
}

STREAMS: dict[str, list[list[Any]]] = {
    "openai": [
        [
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"reasoning_content": "hm"}),
            _chunk({"content": "It is "}),
            _chunk({"content": "sunny 🌞."}),
            _chunk({}, "stop"),
            {**_CHUNK, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
            "[DONE]",
        ],
        [
            _chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": ""},
                        }
                    ],
                }
            ),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"c":'}}]}),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Köln"}'}}]}),
            _chunk({}, "tool_calls"),
            "[DONE]",
        ],
    ],
    "anthropic": [
        [
            {
                "type": "message_start",
                "message": {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 3, "output_tokens": 1},
                },
            },
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is "}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "sunny."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": {**_USE, "input": {}}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"c":'}},
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": '"Köln"}'},
            },
            {"type": "content_block_stop", "index": 1},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"output_tokens": 4},
            },
            {"type": "message_stop"},
        ]
    ],
    "ollama": [
        [
            _chat_line({"role": "assistant", "content": "", "thinking": "hm"}),
            _chat_line({"role": "assistant", "content": "It is "}),
            _chat_line({"role": "assistant", "content": "sunny."}),
            _chat_line(
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"c": 1}}}]}
            ),
            _chat_line(
                {"role": "assistant", "content": ""}, done=True, done_reason="stop", prompt_eval_count=3, eval_count=4
            ),
        ]
    ],
}

REQUESTS["responses"] = [RESPONSES_REQUEST]
ANSWERS["responses"] = [native(REASONING, SEARCH, MESSAGE, CALL), native(REFUSAL)]
STREAMS["responses"] = [events_of(REASONING, SEARCH, MESSAGE, CALL), events_of(REFUSAL)]

ERRORS: list[Any] = [
    {"error": {"message": "Slow down.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"},
    {"error": "model 'm' not found"},
    [
        {
            "error": {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "message": "q",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}],
            }
        }
    ],
    {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing", "input": "x"}]},
    {"errors": [{"message": "m"}], "base_resp": {"status_code": 1004, "status_msg": "no"}},
]
