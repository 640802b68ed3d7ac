"""The story of test_openai_clients.py through OpenAI's own SDK for Python."""

import json
import sys

import openai
from openai import OpenAI
from pydantic import BaseModel


class Place(BaseModel):
    city: str
    country: str


def main():
    how = json.loads(sys.argv[1])
    client = OpenAI(base_url=how["base_url"], api_key=how["key"], max_retries=0)
    model = how["model"]
    user = [{"role": "user", "content": how["question"]}]
    saw = {"models": [listed.id for listed in client.models.list()], "model": client.models.retrieve("auto").id}

    plain = client.chat.completions.create(model=model, messages=user, user="ada", metadata={"app": "story"})
    saw["plain"] = {"text": plain.choices[0].message.content, "tokens": plain.usage.total_tokens}
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=user, user="ada", extra_headers={"x-trace-id": "story-1"}
    )
    saw["headers"] = {name: raw.headers.get(name) for name in ("x-trace-id", "x-orchestra-cache")}

    stream = client.chat.completions.create(
        model=model, messages=user, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    saw["stream"] = {"text": "".join(pieces), "tokens": chunks[-1].usage.total_tokens}

    asked = [{"role": "user", "content": how["tool_question"]}]
    first = client.chat.completions.create(model=model, messages=asked, tools=how["tools"])
    call = first.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    second = client.chat.completions.create(
        model=model, messages=[*asked, first.choices[0].message, result], tools=how["tools"]
    )
    saw["tools"] = {
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "finish": first.choices[0].finish_reason,
        "then": second.choices[0].message.content,
    }
    with client.chat.completions.stream(model=model, messages=asked, tools=how["tools"]) as events:
        final = events.get_final_completion().choices[0].message.tool_calls[0].function
    saw["streamed_tools"] = {"name": final.name, "arguments": json.loads(final.arguments)}

    parsed = client.chat.completions.parse(model=model, messages=user, response_format=Place)
    saw["schema"] = parsed.choices[0].message.parsed.model_dump()

    picture = {"type": "image_url", "image_url": {"url": how["image"]}}
    content = [{"type": "text", "text": how["question"]}, picture]
    seen = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    saw["image"] = seen.choices[0].message.content

    saw["errors"] = []
    for wrong, changes in (
        (OpenAI(base_url=how["base_url"], api_key="wrong", max_retries=0), {}),
        (client, {"model": "no-such-model"}),
        (client, {"n": 2}),
    ):
        try:
            wrong.chat.completions.create(**{"model": model, "messages": user, **changes})
        except openai.APIStatusError as error:
            saw["errors"].append([error.status_code, error.code])
    print(json.dumps(saw))


main()
