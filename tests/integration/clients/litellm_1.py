"""The story of test_openai_clients.py through LiteLLM as a client. Runs in a virtual environment of its own."""

import json
import sys

import litellm
from pydantic import BaseModel


class Place(BaseModel):
    city: str
    country: str


def main():
    how = json.loads(sys.argv[1])
    litellm.suppress_debug_info = True

    def ask(**changes):
        settings = {
            "base_url": how["base_url"],
            "api_key": how["key"],
            "model": how["model"],
            "custom_llm_provider": "openai",
            "messages": [{"role": "user", "content": how["question"]}],
            "max_retries": 0,
        }
        return litellm.completion(**{**settings, **changes})

    plain = ask()
    saw = {"plain": {"text": plain.choices[0].message.content, "tokens": plain.usage.total_tokens}}

    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    counted = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    saw["stream"] = {"text": "".join(pieces), "tokens": counted[-1].total_tokens}

    asked = [{"role": "user", "content": how["tool_question"]}]
    first = ask(messages=asked, tools=how["tools"])
    call = first.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    second = ask(messages=[*asked, first.choices[0].message, result], tools=how["tools"])
    saw["tools"] = {
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "finish": first.choices[0].finish_reason,
        "then": second.choices[0].message.content,
    }
    whole = litellm.stream_chunk_builder(list(ask(messages=asked, tools=how["tools"], stream=True)))
    final = whole.choices[0].message.tool_calls[0].function
    saw["streamed_tools"] = {"name": final.name, "arguments": json.loads(final.arguments)}

    saw["schema"] = Place.model_validate_json(
        ask(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": Place.model_json_schema()},
            }
        )
        .choices[0]
        .message.content
    ).model_dump()
    picture = {"type": "image_url", "image_url": {"url": how["image"]}}
    content = [{"type": "text", "text": how["question"]}, picture]
    saw["image"] = ask(messages=[{"role": "user", "content": content}]).choices[0].message.content

    saw["errors"] = []
    for changes in ({"api_key": "wrong"}, {"model": "no-such-model"}, {"n": 2}):
        try:
            ask(**changes)
        except Exception as error:  # noqa: BLE001 - LiteLLM has a class of its own for each
            saw["errors"].append([error.status_code, type(error).__name__])
    print(json.dumps(saw))


main()
