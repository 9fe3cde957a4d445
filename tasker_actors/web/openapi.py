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
_GUARDED = (401, 403, 503)
"""What the guard and an absent database answer on every path that is not open (`is_open`)."""
_WITH_BODY = (408, 413, 415)
"""What a body is refused with before it is read."""


def accepts(model: type[ApiModel]) -> dict[str, Any]:
    """Describe the body of an endpoint; `body_models` of `describe` must have the model."""
    reference = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def answers(
    status: int, view: type[BaseModel], *errors: int, links: Mapping[str, Mapping[str, str]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of an endpoint: its own, and the errors that it alone has.

    `links` maps names of other endpoints' functions to their parameters, as runtime expressions of OpenAPI: where to go
    from this answer.
    """
    own: dict[str, Any] = {"model": view}
    if links is not None:
        own["links"] = {name: {"operationId": name, "parameters": dict(where)} for name, where in links.items()}
    return {status: own, **{error: {"model": ErrorView} for error in errors}}


def describe(app: FastAPI, body_models: tuple[type[ApiModel], ...]) -> dict[str, Any]:
    """Return the OpenAPI document of the application as it is now."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    _, bodies = models_json_schema([(model, "validation") for model in body_models], ref_template=_REF)
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **bodies["$defs"]}
    components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations and not is_open(path):
                _guard(operations[method])
    return document


def _guard(operation: dict[str, Any]) -> None:
    # Either key will do, and none where the supervisor has none.
    operation["security"] = [{name: []} for name in _SCHEMES] + [{}]
    for status in (*_GUARDED, *(_WITH_BODY if "requestBody" in operation else ())):
        content = {"application/json": {"schema": {"$ref": _REF.format(model=ErrorView.__name__)}}}
        refusal = {"description": HTTPStatus(status).phrase, "content": content}
        operation["responses"].setdefault(str(status), refusal)
