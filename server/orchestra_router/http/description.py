"""GET /openapi.json: the table of endpoints, as other people's tools read one."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.types import ASGIApp

from orchestra_router.http.endpoint import Endpoint
from orchestra_router.http.refusals import JsonAnswer, Problem

Json = dict[str, Any]
REF = "#/components/schemas/{model}"


class Description:
    """`endpoints` are described where they have a summary."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        row = Endpoint("/openapi.json", ("GET",), "status", self.answer, summary="This description.")
        self.endpoints = (*endpoints, row)

    async def answer(self, _: Request) -> ASGIApp:
        return JsonAnswer(self.document)

    @cached_property
    def document(self) -> Json:
        described = [endpoint for endpoint in self.endpoints if endpoint.summary]
        models = {model for endpoint in described for model in _models(endpoint)}
        _, defined = models_json_schema(
            [(model, "validation") for model in sorted((*models, Problem), key=lambda model: model.__name__)],
            ref_template=REF,
        )
        paths: Json = {}
        for endpoint in described:
            operations = {method.lower(): _operation(endpoint) for method in endpoint.methods}
            paths.setdefault(_path(endpoint), {}).update(operations)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Orchestra",
                "version": version("orchestra-router"),
                "summary": "One dependable way to call every language model.",
            },
            "security": [{"key": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "schemas": defined.get("$defs", {}),
            },
        }


def _models(endpoint: Endpoint) -> Iterable[type[BaseModel]]:
    return (*endpoint.uses, *(model for model in (endpoint.body, endpoint.answer) if model is not None))


def _operation(endpoint: Endpoint) -> Json:
    answers: Json = {"application/json": {"schema": _ref(endpoint.answer)}}
    if endpoint.streams:
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    operation: Json = {
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "The answer.", "content": answers},
            "default": {
                "description": "What went wrong, and what to do.",
                "content": {"application/json": {"schema": _ref(Problem)}},
            },
        },
    }
    if endpoint.verb is None:
        operation["security"] = []
    if parameters := [*_in_path(endpoint), *_in_query(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"application/json": {"schema": _ref(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path(endpoint: Endpoint) -> str:
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)


def _in_path(endpoint: Endpoint) -> Iterable[Json]:
    for name in re.findall(r"\{(\w+)", endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(endpoint: Endpoint) -> Iterable[Json]:
    if endpoint.query is None:
        return
    for name, schema in endpoint.query.model_json_schema()["properties"].items():
        known = {key: value for key, value in schema.items() if key not in {"title", "default", "description"}}
        # An empty one counts as left out.
        wanted = {"anyOf": [known, {"const": ""}]}
        yield {"name": name, "in": "query", "description": schema.get("description", ""), "schema": wanted}


def _ref(model: type[BaseModel] | None) -> Json:
    return {"type": "object"} if model is None else {"$ref": REF.format(model=model.__name__)}
