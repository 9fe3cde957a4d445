"""`/v1/templates`: what tasks can be created from."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from tasker_actors.events.names import NAMESPACE_PATTERN
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.openapi import answers
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.status_views import TemplateDetail, TemplateList
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.request_model import ApiModel, Text
from tasker_actors.workflow.task_planning import missing_template
from tasker_actors.workflow.task_requests import NewTask
from tasker_actors.workflow.template import StepTemplate

PathNamespace = Annotated[str, Path(json_schema_extra={"pattern": NAMESPACE_PATTERN})]
"""A namespace in a path; one that is no namespace is unknown."""

_SHOWN_APART = frozenset({"name", "namespace_name", "version", "description", "steps", "input_schema"})


class TemplateQuery(ApiModel):
    """Which templates to list."""

    namespace: Text | None = None


def template_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/templates", tags=["templates"])

    @router.get("", responses=answers(200, TemplateList, 422))
    def list_templates(query: Annotated[TemplateQuery, Query()]) -> JsonResponse:
        """List the templates that tasks can be created from, of one namespace or of all."""
        known = runtime.templates()
        counts = Counter(each.template.namespace_name for each in known)
        namespaces = [
            {"name": name, "description": None, "template_count": count} for name, count in sorted(counts.items())
        ]
        shown = [_shown(each) for each in known if query.namespace in (None, each.template.namespace_name)]
        return JsonResponse({"namespaces": namespaces, "templates": shown, "total_count": len(known)})

    @router.get("/{namespace}/{name}/{version}", responses=answers(200, TemplateDetail, 404))
    def get_template(namespace: PathNamespace, name: str, version: str) -> JsonResponse:
        """Return one version of a template with all that it says, but not what its handlers are initialized with."""
        found = runtime.find_template(namespace, name, version)
        if found is None:
            wanted = NewTask.model_construct(namespace=namespace, name=name, version=version)
            raise missing_template(wanted, (each.template.identity for each in runtime.templates()), None)
        definition = found.template.definition()
        configuration = {key: value for key, value in definition.items() if key not in _SHOWN_APART}
        return JsonResponse({**_shown(found), "configuration": configuration})

    return router


def _shown(registered: RegisteredTemplate) -> dict[str, Any]:
    template = registered.template
    attempts = {step.name: step.max_attempts for step in registered.plan}
    return {
        "namespace": template.namespace_name,
        "name": template.name,
        "version": template.version,
        "description": template.description,
        "input_schema": template.input_schema,
        "step_count": len(template.steps),
        "steps": [_shown_step(step, attempts[step.name]) for step in template.steps],
    }


def _shown_step(step: StepTemplate, max_attempts: int) -> dict[str, Any]:
    return {
        "name": step.name,
        "description": step.description,
        "type": step.type,
        "handler": step.handler.callable,
        "dependencies": step.dependencies,
        "max_attempts": max_attempts,
        "default_max_attempts": max_attempts,
        "default_retryable": step.retry.retryable,
        "result_schema": step.result_schema,
        "publishes_events": [
            {"name": event.name, "delivery_mode": event.delivery_mode, "condition": event.condition}
            for event in step.publishes_events
        ],
    }
