"""The OpenAPI document describes what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving

from tasker_actors.web.event_requests import NewEvent, RedriveBody
from tasker_actors.workflow.task_requests import NewTask, NewTasks


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(RecordingRuntime(None)) as opened:  # type: ignore[arg-type]  # nothing here reaches the database
        yield opened


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return client.get("/api-docs").json()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere(document) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_every_endpoint_of_the_specification_is_described(document) -> None:
    operations = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert operations >= {
        ("GET", "/metrics"), ("GET", "/metrics/events"), ("GET", "/health"), ("GET", "/health/live"),
        ("GET", "/health/ready"), ("POST", "/v1/tasks"), ("POST", "/v1/tasks/batch"), ("GET", "/v1/tasks"),
        ("GET", "/v1/tasks/{task_uuid}"), ("GET", "/v1/tasks/{task_uuid}/workflow_steps"),
        ("GET", "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}"), ("DELETE", "/v1/tasks/{task_uuid}"),
        ("GET", "/v1/events"), ("POST", "/v1/events"), ("GET", "/v1/templates"), ("GET", "/v1/workers"),
        ("GET", "/config"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/tasks", NewTask),
        ("/v1/tasks/batch", NewTasks),
        ("/v1/events", NewEvent),
        ("/v1/events/dlq/redrive", RedriveBody),
    ],
)
def test_bodies_are_described(document, path, model) -> None:
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    assert name == model.__name__
    assert set(document["components"]["schemas"][name]["properties"]) == set(model.model_fields)


def test_filters_are_described(document) -> None:
    names = {parameter["name"] for parameter in document["paths"]["/v1/tasks"]["get"]["parameters"]}
    assert names == {
        "namespace", "name", "version", "status", "correlation_id", "tag", "created_after", "created_before", "limit",
        "cursor",
    }  # fmt: skip


def test_open_paths_ask_for_no_key_and_others_do(document) -> None:
    assert "security" not in document["paths"]["/metrics"]["get"]
    assert {"bearer": []} in document["paths"]["/metrics/events"]["get"]["security"]
