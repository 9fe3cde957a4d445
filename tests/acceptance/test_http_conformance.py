"""A real supervisor does what its own OpenAPI document says, for requests that fit it and for those that do not.

Schemathesis makes the requests: at the bounds of every parameter and body, at random, and along the links of answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_url
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi import checks as openapi_checks
from support.effort import examples
from support.project import Project
from support.supervised import Supervised, supervised

HANDLERS = (
    "from tasker_actors import step_handler\n@step_handler('go')\ndef go(context):\n    return context.input_data\n"
)
EVENTS = [{"name": "went.well", "schema": {"maxProperties": 2}}]

CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.unsupported_method,
    openapi_checks.allow_header_conformance,
]
BEYOND_A_SCHEMA = (
    "cannot be stored", "redrive", "exactly one of", "goes with", "at least one", "levels deep",
    "must say something", "run_at or delay_seconds, not both", "before the year 9999", "the schedule cannot be used",
)  # fmt: skip
"""Why a request that fits the document may be refused: rules that JSON Schema has no words for, or not short ones."""


@schemathesis.check
def positive_requests_are_taken(_context: CheckContext, response: Response, case: Case) -> bool | None:
    """What fits the document is refused only for what it cannot say: NUL in free JSON, one way to choose of three."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return True
    if response.status_code in (400, 422):
        message = response.json()["error"]["message"]
        assert any(reason in message for reason in BEYOND_A_SCHEMA), message
    return None


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server) -> Iterator[Supervised]:
    project = Project(tmp_path_factory.mktemp("conformance") / "project")
    project.module("conformance_handlers", HANDLERS)
    project.template("echo", {"go": {"publishes_events": EVENTS}}, namespace="conformance")
    with embedded_server.database(migrated=True) as url, supervised(project, url, workers=1) as found:
        yield found


@pytest.fixture(scope="module")
def schema(one: Supervised) -> BaseSchema:
    found = from_url(f"{one.url}/api-docs")
    found.config.generation.update(modes=list(GenerationMode))
    return found


def aim(case: Case) -> None:
    """Let good bodies name what there is: else every task would be one of an unknown template."""
    body: Any = case.body
    is_good = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
    if is_good and case.method == "PUT" and isinstance(body, dict):
        body.update(namespace="conformance", template="echo", version=None, cron="30 2 * * MON", timezone="UTC")
    made = ("/v1/tasks", "/v1/tasks/batch", "/v1/events", "/v1/events/dlq/redrive")
    if not (is_good and case.method == "POST" and case.operation.path in made and isinstance(body, dict)):
        return
    for each in body.get("tasks", [body]):
        each["namespace"] = "conformance"
        if case.path.startswith("/v1/tasks"):
            each["name"] = "echo"
            each.pop("version", None)
            for unique in ("idempotency_key", "unique_for_seconds"):  # two examples may be the same
                each.pop(unique, None)


def operations(schema: BaseSchema) -> list[APIOperation]:
    return [found.ok() for found in schema.get_all_operations()]


def check(response: Response, case: Case) -> None:
    """Hold an answer against the document."""
    # With another method /v1/tasks/batch is the task "batch", whose id is no UUID: 400 and not 405; so is reset.
    left_out = [openapi_checks.unsupported_method] if case.path in ("/v1/tasks/batch", "/v1/tasks/reset") else []
    case.validate_response(
        response, checks=CHECKS, additional_checks=[positive_requests_are_taken], excluded_checks=left_out
    )


def ask(case: Case) -> None:
    """Send a request and check its answer."""
    aim(case)
    check(case.call(timeout=30), case)


@pytest.fixture
def unharmed(one: Supervised) -> Iterator[None]:
    """Whatever the test asks for, the supervisor and its worker go on, and no fault of ours is logged."""
    before = one.worker_pids()
    yield
    assert one.http.get("/health/ready").status_code == 200
    assert one.worker_pids() == before
    assert one.logged("HTTP request failed") == []


def test_requests_at_the_bounds_of_the_document(schema: BaseSchema, unharmed: None) -> None:
    for operation in operations(schema):
        for case in schema.iter_coverage_cases(
            operation,
            generation_modes=list(GenerationMode),
            generation_config=schema.config.generation_for(operation=operation, phase="coverage"),
        ):
            ask(case)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_random_requests(schema: BaseSchema, unharmed: None, mode: GenerationMode) -> None:
    for operation in operations(schema):
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue  # nothing in such a request can be wrong

        @settings(
            max_examples=examples(10),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask_all(case: Case) -> None:
            ask(case)

        ask_all()


def as_doubles(text: bytes | str) -> Any:
    """Read JSON as JavaScript does: PostgreSQL writes 1e16 as 10000000000000000."""
    return json.loads(text, parse_int=float)


def test_what_a_new_task_links_to_is_there(schema: BaseSchema, unharmed: None) -> None:
    created: list[str] = []

    def follow(path: str, method: str, **ids: str) -> Response:
        case = schema[path][method].Case(path_parameters=ids)
        response = case.call(timeout=30)
        check(response, case)
        return response

    @settings(
        max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @given(schema["/v1/tasks"]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def create(case: Case) -> None:
        aim(case)
        response = case.call(timeout=30)
        check(response, case)
        if response.status_code != 201:
            return
        uuid = response.json()["task_uuid"]
        created.append(uuid)
        found = follow("/v1/tasks/{task_uuid}", "GET", task_uuid=uuid).content
        assert as_doubles(found)["context"] == as_doubles(json.dumps(case.body)).get("context", {})
        (step,) = follow("/v1/tasks/{task_uuid}/workflow_steps", "GET", task_uuid=uuid).json()
        place = {"task_uuid": step["task_uuid"], "step_uuid": step["step_uuid"]}
        assert follow("/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}", "GET", **place).status_code == 200
        assert follow("/v1/tasks/{task_uuid}", "DELETE", task_uuid=uuid).status_code in (200, 409)

    create()
    assert created
    links = schema.raw_schema["paths"]["/v1/tasks"]["post"]["responses"]["201"]["links"]
    assert set(links) == {"get_task", "list_steps", "cancel_task"}
