"""The shapes of the gateway's answers, for whoever reads its description."""

from typing import Any, Literal

from pydantic import BaseModel


class Choice(BaseModel):
    index: int
    message: dict[str, Any]
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class ChatAnswer(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | None
    orchestra: dict[str, Any]


class ListedModel(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ListedModel]
