"""Every wrong request gets its status and a message that helps, and changes nothing (SPEC 8, DESIGN G10)."""

from __future__ import annotations

import pytest
from support.project import Project
from support.supervised import supervised

from tasker_actors.identifiers import new_uuid7

HANDLERS = "from tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    return {}\n"

TASK = {"name": "strict", "namespace": "inputs", "context": {"amount": 1, "items": [{"sku": "a"}]}}
EVENT = {"name": "outside.event", "namespace": "inputs", "payload": {}}
SCHEMA = {
    "type": "object",
    "required": ["amount", "items"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1},
        "items": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
    },
}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("inputs") / "project")
    project.module("input_handlers", HANDLERS)
    project.template(
        "strict", {"go": {"publishes_events": [{"name": "went.well"}]}}, namespace="inputs", input_schema=SCHEMA
    )
    with embedded_server.database(migrated=True) as url, supervised(project, url, workers=1) as found:
        yield found


@pytest.fixture
def unchanged(one):
    """Whatever the test does: no task, no event, no dead letter, no figure, and the supervisor goes on."""

    def state():
        tables = "tasker.tasks", "tasker.steps", "pgmq.q_inputs_domain_events", "pgmq.q_inputs_domain_events_dlq"
        counts = [one.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables]  # noqa: S608 - ours
        return counts, one.event_stats()["router"], one.worker_pids()

    before = state()
    yield
    assert state() == before
    assert one.http.get("/health/ready").status_code == 200


def refused(answer, status, code):
    """Assert the status and code of an error, and return it."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b"", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b'{"name": NaN}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"name": "strict", "namespace": "inputs", "context": {"text": "a\\u0000b"}}', "bad_json"),
        (b'{"name": "strict", "namespace": "inputs", "context": {"text": "\\ud800"}}', "bad_json"),
    ],
    ids=["cut", "empty", "bytes", "nan", "deep", "nul", "surrogate"],
)
def test_a_body_that_cannot_be_read_is_400(one, unchanged, body, code):
    refused(one.http.post("/v1/tasks", content=body, headers=JSON), 400, code)


def test_a_body_of_another_type_is_415_and_one_that_is_too_large_413(one, unchanged):
    refused(one.http.post("/v1/tasks", content=b"name=strict"), 415, "unsupported_media_type")
    large = {**TASK, "reason": "x" * (2 * 1024 * 1024)}
    refused(one.http.post("/v1/tasks", json=large), 413, "body_too_large")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"nmae": "strict"}, "/nmae"),
        ({"name": 5}, "/name"),
        ({"priority": -1}, "/priority"),
        ({"tags": "a"}, "/tags"),
        ({"correlation_id": "not-a-uuid"}, "/correlation_id"),
        ({"context": []}, "/context"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_or_unknown_key_is_422_with_its_path(one, unchanged, change, path):
    error = refused(one.http.post("/v1/tasks", json={**TASK, **change}), 422, "invalid")

    assert path in [fault["path"] for fault in error["faults"]]


def test_a_context_against_the_schema_is_422_with_the_path_of_each_fault(one, unchanged):
    context = {"amount": 0, "items": [{"sku": "a"}, {}]}

    error = refused(one.http.post("/v1/tasks", json={**TASK, "context": context}), 422, "invalid_context")

    assert {fault["path"] for fault in error["faults"]} == {"/context/amount", "/context/items/1/sku"} or {
        fault["path"] for fault in error["faults"]
    } == {"/context/amount", "/context/items/1"}


@pytest.mark.parametrize(
    "change", [{"name": "strcit"}, {"namespace": "nowhere"}, {"version": "9.9.9"}], ids=["name", "namespace", "version"]
)
def test_an_unknown_template_is_404_and_named(one, unchanged, change):
    error = refused(one.http.post("/v1/tasks", json={**TASK, **change}), 404, "unknown_template")

    assert next(iter(change.values())) in error["message"]


def test_one_bad_task_refuses_its_whole_batch_and_is_named_by_its_place(one, unchanged):
    batch = {"tasks": [TASK, TASK, {**TASK, "context": {"amount": 0, "items": []}}]}
    error = refused(one.http.post("/v1/tasks/batch", json=batch), 422, "invalid_context")
    assert error["faults"][0]["path"] == "/tasks/2/context/amount"

    batch = {"tasks": [TASK, {**TASK, "name": "other"}]}
    assert refused(one.http.post("/v1/tasks/batch", json=batch), 404, "unknown_template")["index"] == 1
    refused(one.http.post("/v1/tasks/batch", json={"tasks": [TASK] * 1001}), 422, "invalid")
    refused(one.http.post("/v1/tasks/batch", json={"tasks": []}), 422, "invalid")


@pytest.mark.parametrize("path", ["/v1/tasks/{}", "/v1/tasks/{}/workflow_steps", "/v1/tasks/{}/workflow_steps/{}"])
def test_an_unknown_uuid_is_404_and_a_malformed_one_says_so(one, unchanged, path):
    unknown, malformed = path.replace("{}", new_uuid7()), path.replace("{}", "not-a-uuid")

    refused(one.http.get(unknown), 404, "unknown_task")
    assert "uuid" in refused(one.http.get(malformed), 400, "bad_path")["message"].lower()
    if path == "/v1/tasks/{}":
        refused(one.http.delete(unknown), 404, "unknown_task")


def test_unknown_things_are_404_and_wrong_methods_405(one, unchanged):
    refused(one.http.get("/v1/nothing"), 404, "not_found")
    assert one.http.put("/v1/tasks", json=TASK).status_code == 405
    refused(one.http.get("/v1/events", params={"namespace": "nowhere"}), 404, "unknown_namespace")


@pytest.mark.parametrize(
    ("query", "path"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("status=lost", "status"), ("corelation_id=1", "corelation_id"),
     ("correlation_id=%00", "correlation_id")],
)  # fmt: skip
def test_a_wrong_query_is_422_and_named(one, unchanged, query, path):
    error = refused(one.http.get(f"/v1/tasks?{query}"), 422, "invalid")

    assert path in str(error)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "NoDots"}, 422),
        ({"name": "a." + "b" * 300}, 422),
        ({"namespace": "Bad-Name"}, 422),
        ({"namespace": "nowhere"}, 404),
        ({"delivery_mode": "pigeon"}, 422),
        ({"correlation_id": "x"}, 422),
        ({"surplus": 1}, 422),
    ],
    ids=lambda value: f"{next(iter(value))}" if isinstance(value, dict) else "",
)
def test_an_event_that_is_not_one_is_refused(one, unchanged, change, status):
    answer = one.http.post("/v1/events", json={**EVENT, **change})

    assert answer.status_code == status
    assert next(iter(change)) in answer.text


def test_a_payload_with_nul_is_refused_before_anything_is_written(one, unchanged):
    error = refused(one.http.post("/v1/events", json={**EVENT, "payload": {"text": "a\0b"}}), 400, "bad_json")

    assert "NUL" in error["message"] or "NUL" in str(error.get("faults"))
