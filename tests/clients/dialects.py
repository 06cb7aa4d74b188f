"""The four languages in which agent clients ask a model, each reduced to what a scripted model needs of it.

A dialect finds in a request which tools are offered, and turns one step of a script into the events of an answer.
Source: the references of Anthropic's Messages, OpenAI's Responses and Chat Completions, and Gemini's generateContent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

Json = Any  # Any: JSON of four vendors
Events = list[tuple[str, Json]]  # the name of each server-sent event ("": it has none) and its data
NUMBERS = count(1)


class Offered(NamedTuple):
    """A tool that a request offers; `group` is the namespace that it is listed under, "" for none."""

    name: str
    group: str = ""


class Reply(NamedTuple):
    """What the model does in one turn: it calls `tool`, or says `text`."""

    text: str = ""
    tool: Offered | None = None
    arguments: Json = None


class Dialect(NamedTuple):
    """How one vendor's requests are read and answered."""

    offered: Callable[[Json], Iterable[Offered]]
    answer: Callable[[Json, Reply], Events]
    whole: Callable[[Events], Json]  # the same answer to a client that does not stream


def dialect(path: str) -> Dialect | None:
    """Return the dialect of what is posted to `path`, None if that is no question to a model."""
    if path.endswith("/messages"):
        return MESSAGES
    if path.endswith("/responses"):
        return RESPONSES
    if path.endswith("/chat/completions"):
        return CHAT
    return GEMINI if "enerateContent" in path else None


def _messages_offered(body: Json) -> Iterable[Offered]:
    return [Offered(tool["name"]) for tool in body.get("tools") or [] if "name" in tool]


def _messages(body: Json, reply: Reply) -> Events:
    block: Json = {"type": "text", "text": ""}
    delta: Json = {"type": "text_delta", "text": reply.text}
    if reply.tool is not None:
        block = {"type": "tool_use", "id": f"toolu_{next(NUMBERS)}", "name": reply.tool.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(reply.arguments)}
    message = {
        "id": f"msg_{next(NUMBERS)}", "type": "message", "role": "assistant", "model": body.get("model", "scripted"),
        "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 9},
    }  # fmt: skip
    end = {"stop_reason": "tool_use" if reply.tool else "end_turn", "stop_sequence": None}
    events: Events = [
        ("message_start", {"message": message}),
        ("content_block_start", {"index": 0, "content_block": block}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": end, "usage": {"output_tokens": 9}}),
        ("message_stop", {}),
    ]
    return [(name, {"type": name} | data) for name, data in events]


def _whole_message(events: Events) -> Json:
    (_, start), (_, opened), (_, grown), _, (_, end), _ = events
    block, delta = opened["content_block"], grown["delta"]
    told = {"text": delta["text"]} if block["type"] == "text" else {"input": json.loads(delta["partial_json"])}
    return start["message"] | end["delta"] | {"content": [block | told]}


def _responses_offered(body: Json) -> Iterable[Offered]:
    for tool in body.get("tools") or []:
        if tool.get("type") == "namespace":
            yield from (Offered(each["name"], tool["name"]) for each in tool.get("tools", []) if "name" in each)
        elif "name" in tool:
            yield Offered(tool["name"])


def _responses(body: Json, reply: Reply) -> Events:
    number = next(NUMBERS)
    if reply.tool is not None:
        item: Json = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed",
                "name": reply.tool.name, "arguments": json.dumps(reply.arguments)}  # fmt: skip
        if reply.tool.group:
            item["namespace"] = reply.tool.group
    else:
        part: Json = {"type": "output_text", "text": reply.text, "annotations": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18} | details
    response = {"id": f"resp_{number}", "object": "response", "created_at": int(time.time()), "status": "completed",
                "model": body.get("model", "scripted"), "output": [item], "usage": usage}  # fmt: skip
    begun = response | {"status": "in_progress", "output": []}
    events: Events = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item | {"status": "in_progress"}}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response}),
    ]
    return [(name, {"type": name, "sequence_number": place} | data) for place, (name, data) in enumerate(events)]


def _chat_offered(body: Json) -> Iterable[Offered]:
    return [Offered(tool["function"]["name"]) for tool in body.get("tools") or [] if "function" in tool]


def _chat(body: Json, reply: Reply) -> Events:
    said: Json = {"role": "assistant", "content": reply.text}
    if reply.tool is not None:
        function = {"name": reply.tool.name, "arguments": json.dumps(reply.arguments)}
        call = {"index": 0, "id": f"call_{next(NUMBERS)}", "type": "function", "function": function}
        said = {"role": "assistant", "content": None, "tool_calls": [call]}
    chunk = {"id": f"chatcmpl-{next(NUMBERS)}", "object": "chat.completion.chunk", "created": int(time.time()),
             "model": body.get("model", "scripted")}  # fmt: skip
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    finish = "tool_calls" if reply.tool else "stop"
    return [
        ("", chunk | {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}),
        ("", chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}),
        ("", chunk | {"choices": [], "usage": usage}),
        ("", "[DONE]"),
    ]


def _whole_chat(events: Events) -> Json:
    (_, said), (_, end), (_, last), _ = events
    choice = end["choices"][0] | {"message": said["choices"][0]["delta"]}
    return last | {"object": "chat.completion", "choices": [choice]}


def _gemini_offered(body: Json) -> Iterable[Offered]:
    for tool in body.get("tools") or []:
        yield from (Offered(each["name"]) for each in tool.get("functionDeclarations") or [])


def _gemini(_: Json, reply: Reply) -> Events:
    call = {"functionCall": {"name": reply.tool.name, "args": reply.arguments}} if reply.tool else {"text": reply.text}
    candidate = {"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [call]}}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    return [("", {"candidates": [candidate], "usageMetadata": usage})]


MESSAGES = Dialect(_messages_offered, _messages, _whole_message)
RESPONSES = Dialect(_responses_offered, _responses, lambda events: events[-1][1]["response"])
CHAT = Dialect(_chat_offered, _chat, _whole_chat)
GEMINI = Dialect(_gemini_offered, _gemini, lambda events: events[0][1])
