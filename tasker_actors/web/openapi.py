"""The OpenAPI document: FastAPI's, with the bodies that are read by `json_body` and the ways to send the key."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tasker_actors.web.security import is_open
from tasker_actors.web.views import ErrorView
from tasker_actors.workflow.request_model import ApiModel

_REF = "#/components/schemas/{model}"
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_METHODS = ("get", "post", "put", "patch", "delete")
_GUARDED = (401, 403, 406, 422, 503)
"""What the guard, a parameter too many and an absent database give on every path that is not open (`is_open`)."""
_NOT_OURS = frozenset({"HTTPValidationError", "ValidationError"})
"""What FastAPI itself would answer parameters with that cannot be used."""
_WITH_BODY = (408, 413, 415)
"""What a body is refused with before it is read."""


def accepts(model: type[ApiModel]) -> dict[str, Any]:
    """Describe the body of an endpoint; `body_models` of `describe` must have the model."""
    reference = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def answers(
    status: int,
    view: type[BaseModel],
    *errors: int,
    other: Mapping[int, type[BaseModel]] | None = None,
    links: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of an endpoint: its own, the errors that it alone has, and `other` ones that say more.

    `links` maps names of other endpoints' functions to their parameters, as runtime expressions of OpenAPI: where to go
    from this answer.
    """
    own: dict[str, Any] = {"model": view}
    if links is not None:
        own["links"] = {name: {"operationId": name, "parameters": dict(where)} for name, where in links.items()}
    refusals = {**dict.fromkeys(errors, ErrorView), **(other or {})}
    return {status: own, **{error: {"model": model} for error, model in refusals.items()}}


def describe(app: FastAPI, body_models: tuple[type[ApiModel], ...]) -> dict[str, Any]:
    """Return the OpenAPI document of the application as it is now."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    _, bodies = models_json_schema([(model, "validation") for model in body_models], ref_template=_REF)
    components = document.setdefault("components", {})
    schemas = {name: schema for name, schema in components.get("schemas", {}).items() if name not in _NOT_OURS}
    components["schemas"] = {**schemas, **bodies["$defs"]}
    components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _drop_what_is_not_ours(operations[method]["responses"])
                if not is_open(path):
                    _guard(operations[method])
    return document


def _drop_what_is_not_ours(responses: dict[str, Any]) -> None:
    for status, answer in list(responses.items()):
        if any(f"/{name}" in str(answer) for name in _NOT_OURS):
            del responses[status]


def _guard(operation: dict[str, Any]) -> None:
    # Either key will do, and none where the supervisor has none.
    operation["security"] = [{name: []} for name in _SCHEMES] + [{}]
    for status in (*_GUARDED, *(_WITH_BODY if "requestBody" in operation else ())):
        content = {"application/json": {"schema": {"$ref": _REF.format(model=ErrorView.__name__)}}}
        refusal = {"description": HTTPStatus(status).phrase, "content": content}
        operation["responses"].setdefault(str(status), refusal)
