"""Tasks that are the same as another are refused by the database, whoever creates them, and whenever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from typing import Any

import httpx
import orjson
import pytest
from support.api_runtime import RecordingRuntime, in_threads, serving
from support.flow import Flow, own_database
from support.leases import template
from support.servers import DatabaseServer
from support.stored_work import task_row
from support.waiting import until

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.migrate import load_migrations, migrate
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.tasks import IdentityTakenError, create_tasks, task_document
from tasker_actors.postgres.templates import register_template
from tasker_actors.workflow.identity import task_identity
from tasker_actors.workflow.registered import RegisteredTemplate

GRAPH: dict[str, list[str]] = {"only": []}
STRICT = {"namespace": "shop", "name": "strict"}


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@pytest.fixture
def flow(database: Flow) -> Iterator[Flow]:
    yield from database.emptied()


@pytest.fixture
def client(flow: Flow) -> Iterator[httpx.Client]:
    runtime = RecordingRuntime(flow.pool)
    for strategy in ("strict", "caller_provided", "always_unique"):
        runtime.registered.append(flow.register(GRAPH, name=strategy, identity_strategy=strategy))
    runtime.registered.append(flow.register(GRAPH, name="silent"))
    with serving(runtime) as opened:
        yield opened


def refused(response: httpx.Response, status: int = 409, code: str = "duplicate_task") -> dict[str, Any]:
    """The error of an answer, which must be this one."""
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert found["code"] == code
    return found


def test_a_strict_template_refuses_a_context_that_it_has_and_tells_nothing(client: httpx.Client) -> None:
    first = client.post("/v1/tasks", json={**STRICT, "context": {"secret": 1, "b": [1, {"x": 2, "y": 3}]}})
    text = b'{"name":"strict","namespace":"shop","context":{"b":[1.0,{"y":3,"x":2e0}],"secret":1}}'
    again = client.post("/v1/tasks", content=text, headers={"content-type": "application/json"})

    assert first.status_code == 201
    assert refused(again).keys() == {"code", "message"}
    assert not any(value in again.text for value in ("secret", first.json()["task_uuid"]))
    assert client.post("/v1/tasks", json={**STRICT, "context": {"secret": 1, "b": [{"x": 2, "y": 3}, 1]}}).is_success


def test_another_version_of_a_template_shares_its_identities(flow: Flow) -> None:
    runtime = RecordingRuntime(flow.pool)
    older = template(GRAPH, name="strict", identity_strategy="strict")
    for version in ("1.0.0", "2.0.0"):
        with flow.pool.connection() as connection:
            changed = older.model_copy(update={"version": version})
            runtime.registered.append(register_template(connection, changed, accept_changed_content=False)[0])
    with serving(runtime) as client:
        assert client.post("/v1/tasks", json={**STRICT, "version": "1.0.0"}).is_success
        refused(client.post("/v1/tasks", json={**STRICT, "version": "2.0.0"}))


def test_a_template_that_wants_keys_refuses_a_request_without_one(client: httpx.Client) -> None:
    body = {"namespace": "shop", "name": "caller_provided"}

    fault = refused(client.post("/v1/tasks", json=body), 400, "missing_idempotency_key")
    in_batch = refused(
        client.post("/v1/tasks/batch", json={"tasks": [{**body, "idempotency_key": "k"}, body]}),
        400,
        "missing_idempotency_key",
    )

    assert "caller_provided" in fault["message"]
    assert fault["faults"] == [{"path": "/idempotency_key", "message": "is missing"}]
    assert (in_batch["index"], in_batch["faults"][0]["path"]) == (1, "/tasks/1/idempotency_key")
    assert client.post("/v1/tasks", json={**body, "idempotency_key": "k"}).is_success
    refused(client.post("/v1/tasks", json={**body, "idempotency_key": "k", "context": {"other": 1}}))


@pytest.mark.parametrize("name", ["always_unique", "silent"])
def test_nothing_is_refused_where_nothing_was_said_but_a_key_always_decides(client: httpx.Client, name: str) -> None:
    body = {"namespace": "shop", "name": name}
    assert [client.post("/v1/tasks", json=body).status_code for _ in range(2)] == [201, 201]
    keyed = {**body, "idempotency_key": "k"}
    assert [client.post("/v1/tasks", json=keyed).status_code for _ in range(2)] == [201, 409]


@pytest.mark.parametrize("keys", [{}, {"idempotency_key": "k"}])
def test_a_task_is_unique_for_a_period_by_the_clock_of_the_database(
    client: httpx.Client, flow: Flow, keys: dict[str, str]
) -> None:
    body = {"namespace": "shop", "name": "silent", **keys, "unique_for_seconds": 31_536_000}
    task = client.post("/v1/tasks", json=body).json()

    refused(client.post("/v1/tasks", json=body))
    other_period = client.post("/v1/tasks", json={**body, "unique_for_seconds": 31_535_999})

    assert other_period.is_success
    stored = flow.task(task["task_uuid"])
    _, seconds, number = stored["identity_hash"].split("/")
    assert int(seconds) == 31_536_000
    assert int(number) == math.floor(stored["created_at"].timestamp() / 31_536_000)


def test_when_the_period_is_over_the_next_task_can_come(client: httpx.Client) -> None:
    body = {"namespace": "shop", "name": "silent", "unique_for_seconds": 1}
    assert client.post("/v1/tasks", json=body).is_success
    until(lambda: client.post("/v1/tasks", json=body).is_success)


@pytest.mark.parametrize("seconds", [0, -1, 31_536_001, "60", 1.5, True])
def test_a_period_out_of_range_is_refused(client: httpx.Client, seconds: object) -> None:
    response = client.post("/v1/tasks", json={**STRICT, "unique_for_seconds": seconds})
    assert refused(response, 422, "invalid")["faults"][0]["path"] == "/unique_for_seconds"


def test_a_batch_names_its_own_task_and_creates_nothing(client: httpx.Client, flow: Flow) -> None:
    new, known = {**STRICT, "context": {"n": 1}}, {**STRICT, "context": {"n": 2}, "unique_for_seconds": 1_000_000}
    assert client.post("/v1/tasks", json=known).is_success

    taken = refused(client.post("/v1/tasks/batch", json={"tasks": [new, {**STRICT, "context": {"n": 3}}, known]}))
    twice = refused(client.post("/v1/tasks/batch", json={"tasks": [new, {**STRICT, "context": {"n": 3}}, new]}))

    assert (taken["index"], twice["index"]) == (2, 2)
    assert len(flow.rows("SELECT FROM tasker.tasks")) == 1


def keyed_row(registered: RegisteredTemplate, key: str = "k", **columns: Any) -> Any:
    """A row of a task with a key, as `plan_task` makes it."""
    names = {"namespace": registered.template.namespace_name, "name": registered.template.name}
    hashed = task_identity(None, **names, idempotency_key=key, unique_for_seconds=None, context={})
    return task_row(registered, idempotency_key=key, identity_hash=hashed, **columns)


def test_of_creations_at_the_same_time_over_different_connections_one_wins(flow: Flow) -> None:
    registered = flow.register(GRAPH)

    def create(_: int) -> bool:
        with connect(flow.url, application_name="creator") as connection:
            try:
                connection.execute("SELECT tasker.create_tasks_v1(%s::jsonb)", [task_document([keyed_row(registered)])])
            except Exception:  # noqa: BLE001  whatever it is, it did not create the task
                return False
        return True

    for _ in range(5):
        assert sum(in_threads(create, 6)) == 1
        flow.rows("DELETE FROM tasker.tasks RETURNING 1")


@pytest.mark.parametrize("commits", [True, False])
def test_a_creation_waits_for_another_that_is_not_committed_yet(flow: Flow, commits: bool) -> None:
    registered = flow.register(GRAPH)
    first, second = keyed_row(registered), keyed_row(registered)
    outcome: list[bool] = []

    def create(index: int) -> None:
        if index == 0:
            with flow.in_flight("SELECT tasker.create_tasks_v1(%s::jsonb)", task_document([first])) as connection:
                started.append(True)
                flow.wait_until_blocked()
                if not commits:
                    connection.rollback()
            return
        until(lambda: bool(started))
        try:
            create_tasks(flow.pool, [second])
        except IdentityTakenError:
            outcome.append(False)
        else:
            outcome.append(True)

    started: list[bool] = []
    in_threads(create, 2)

    winner = first if commits else second
    assert outcome == [not commits]
    assert [str(row["task_uuid"]) for row in flow.rows("SELECT task_uuid FROM tasker.tasks")] == [winner.task_uuid]


def test_pruning_a_task_frees_its_identity(flow: Flow) -> None:
    registered = flow.register(GRAPH)
    row = keyed_row(registered)
    create_tasks(flow.pool, [row])
    flow.cancel(row.task_uuid)
    with pytest.raises(IdentityTakenError):
        create_tasks(flow.pool, [keyed_row(registered)])

    with flow.pool.connection() as connection:
        assert prune(connection, Prunable.FINISHED_TASKS, timedelta(0)) == 1

    create_tasks(flow.pool, [keyed_row(registered)])


def test_a_supervisor_of_the_release_before_gives_a_key_and_no_identity(flow: Flow) -> None:
    registered = flow.register(GRAPH)
    for key in ("ordinary", 'ünïcode "quoted" \\ \t'):
        row = keyed_row(registered, key)
        older = orjson.loads(task_document([row]))
        del older[0]["identity_hash"]
        flow.rows("SELECT tasker.create_tasks_v1(%s::jsonb)::text", orjson.dumps(older).decode())
        assert flow.task(row.task_uuid)["identity_hash"] == row.identity_hash
        with pytest.raises(IdentityTakenError) as caught:
            create_tasks(flow.pool, [task_row(registered), keyed_row(registered, key)])
        assert caught.value.index == 1


def test_tasks_from_before_keep_their_keys(embedded_server: DatabaseServer) -> None:
    migrations = load_migrations(files("tasker_actors.postgres") / "migrations")
    with embedded_server.database(migrated=False) as url, connect(url, application_name="tests") as connection:
        before = tuple(each for each in migrations if each.version < 12)
        migrate(connection, before)
        columns = (
            "template_id, namespace, name, version, open_steps, context, context_bytes, correlation_id, traceparent, "
            "created_at, updated_at"
        )
        values = "1, 'shop', 'work', '1.0.0', 1, '{}', 2, gen_random_uuid(), '', now(), now()"
        for key in ("'k'", "NULL"):
            connection.execute(
                f"INSERT INTO tasker.tasks (task_uuid, idempotency_key, {columns}) "  # noqa: S608  texts of this test
                f"VALUES (gen_random_uuid(), {key}, {values})".encode()
            )

        migrate(connection, migrations)

        found = connection.execute("SELECT identity_hash FROM tasker.tasks ORDER BY idempotency_key").fetchall()
        hashed = task_identity(
            None, namespace="shop", name="work", idempotency_key="k", unique_for_seconds=None, context={}
        )
        assert found == [(hashed,), (None,)]
