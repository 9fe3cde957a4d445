"""The OpenAPI document describes what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving

from tasker_actors.web.dlq_requests import DlqUpdate
from tasker_actors.web.event_requests import NewEvent, RedriveBody
from tasker_actors.web.step_control_requests import StepControl
from tasker_actors.workflow.task_requests import NewTask, NewTasks


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(RecordingRuntime(None)) as opened:
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
        "namespace", "name", "version", "status", "initiator", "source_system", "correlation_id", "tag",
        "created_after", "created_before", "page", "per_page", "limit", "cursor",
    }  # fmt: skip


def test_every_operation_has_an_id_a_description_and_answers_that_are_described(document) -> None:
    found = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in found]
    assert len(ids) == len(set(ids)) > 35
    for operation in found:
        assert operation["description"]
        for status, answer in operation["responses"].items():
            assert all(kind.get("schema") for kind in answer["content"].values()), (operation["operationId"], status)
            assert answer["content"], (operation["operationId"], status)


def test_bodies_have_examples_that_fit(document) -> None:
    found = {name: schema for name, schema in document["components"]["schemas"].items() if "examples" in schema}
    assert {"NewTask", "StepControl", "DlqUpdate", "NewEvent", "ErrorBody"} <= found.keys()
    for model in (NewTask, StepControl, DlqUpdate, NewEvent):
        for example in found[model.__name__]["examples"]:
            model.model_validate(example)


def test_the_document_has_a_second_address(client, document) -> None:
    assert client.get("/api-docs/openapi.json").json() == document


def test_open_paths_ask_for_no_key_and_others_do(document) -> None:
    assert "security" not in document["paths"]["/metrics"]["get"]
    assert {"bearer": []} in document["paths"]["/metrics/events"]["get"]["security"]
