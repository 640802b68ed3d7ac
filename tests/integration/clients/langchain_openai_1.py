"""The story of test_openai_clients.py through LangChain's client for OpenAI. Runs in a virtual environment of its own."""

import json
import sys

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Place(BaseModel):
    city: str
    country: str


def main():
    how = json.loads(sys.argv[1])

    def chat(**changes):
        settings = {"base_url": how["base_url"], "api_key": how["key"], "model": how["model"], "max_retries": 0}
        return ChatOpenAI(**{**settings, **changes})

    model = chat()
    plain = model.invoke(how["question"])
    saw = {"plain": {"text": plain.text, "tokens": plain.usage_metadata["total_tokens"]}}

    chunks = list(chat(stream_usage=True).stream(how["question"]))
    tokens = [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata]
    saw["stream"] = {"text": "".join(chunk.text for chunk in chunks), "tokens": tokens[-1]}

    handy = model.bind_tools(how["tools"])
    asked = HumanMessage(how["tool_question"])
    first = handy.invoke([asked])
    call = first.tool_calls[0]
    second = handy.invoke([asked, first, ToolMessage("rain", tool_call_id=call["id"])])
    finish = first.response_metadata["finish_reason"]
    saw["tools"] = {"name": call["name"], "arguments": call["args"], "finish": finish, "then": second.text}
    gathered = None
    for chunk in handy.stream([asked]):
        gathered = chunk if gathered is None else gathered + chunk
    saw["streamed_tools"] = {"name": gathered.tool_calls[0]["name"], "arguments": gathered.tool_calls[0]["args"]}

    saw["schema"] = model.with_structured_output(Place).invoke(how["question"]).model_dump()
    picture = {"type": "image_url", "image_url": {"url": how["image"]}}
    saw["image"] = model.invoke([HumanMessage([{"type": "text", "text": how["question"]}, picture])]).text

    saw["errors"] = []
    for wrong in (chat(api_key="wrong"), chat(model="no-such-model"), chat(n=2)):
        try:
            wrong.invoke(how["question"])
        except openai.APIStatusError as error:
            saw["errors"].append([error.status_code, error.code])
    print(json.dumps(saw))


main()
