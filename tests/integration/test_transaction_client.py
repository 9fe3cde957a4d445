"""Tasks and events inside an application's own transaction: with it or not at all, and it stays the application's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import AsyncConnection, Connection, IsolationLevel, RawCursor, sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from support.api_runtime import RecordingRuntime, serving
from support.flow import CHAIN, Flow, Worker, own_database
from support.leases import template
from support.servers import DatabaseServer
from support.waiting import until

from tasker_actors import AsyncTaskerClient, EventRequest, TaskerClient, TaskRequest
from tasker_actors.client.transaction import TransactionClient
from tasker_actors.errors import (
    DuplicateTaskError,
    InvalidRequestError,
    RequestRefusedError,
    UnknownTemplateError,
)
from tasker_actors.postgres import creation
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.in_transaction import SchemaMissingError, TransactionAbortedError
from tasker_actors.postgres.session import PermissionMissingError
from tasker_actors.postgres.templates import register_template
from tasker_actors.telemetry.span_ids import publish_durable_id, task_span_id
from tasker_actors.telemetry.trace_context import TraceContext, correlated, parse_traceparent

TRACE = TraceContext("ab" * 16, "cd" * 8, 1, "vendor=x")
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    for flow in own_database(embedded_server):
        with flow.pool.connection() as connection:
            connection.execute("CREATE TABLE notes (text text)")
        yield flow


@pytest.fixture
def flow(database: Flow) -> Iterator[Flow]:
    for flow in database.emptied():
        flow.rows("DELETE FROM notes RETURNING 1")
        flow.register(CHAIN)
        yield flow


class Blocking:
    """An application with a Connection."""

    def __init__(self, url: str, **options: Any) -> None:
        self.connection: Connection[Any] = psycopg.connect(url, **options)
        self.tasker = TaskerClient.in_transaction(self.connection)

    def do(self, call: Callable[[Any], Any]) -> Any:
        """Call something of the connection."""
        return call(self.connection)

    def close(self) -> None:
        self.connection.close()


class Awaiting:
    """The same with an AsyncConnection in an event loop."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self.connection: AsyncConnection[Any] = self._loop.run_until_complete(AsyncConnection.connect(url, **options))
        self._tasker = AsyncTaskerClient.in_transaction(self.connection)

    @property
    def tasker(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        made = getattr(self._tasker, name)
        return lambda *arguments, **options: self._loop.run_until_complete(made(*arguments, **options))

    def do(self, call: Callable[[Any], Any]) -> Any:
        return self._loop.run_until_complete(call(self.connection))

    def close(self) -> None:
        self.do(lambda connection: connection.close())
        self._loop.close()


Application = Blocking | Awaiting


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def application(request: pytest.FixtureRequest, flow: Flow) -> Iterator[Application]:
    opened: Application = request.param(flow.url)
    yield opened
    opened.close()


@pytest.fixture
def connection(flow: Flow) -> Iterator[Connection[Any]]:
    with psycopg.connect(flow.url) as opened:
        yield opened


def note(application: Application, text: str) -> None:
    """What the application does besides."""
    application.do(lambda connection: connection.execute("INSERT INTO notes VALUES (%s)", [text]))


def left(flow: Flow) -> dict[str, int]:
    """What is there for others."""
    counts = {
        table: flow.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"]  # noqa: S608  names of this test
        for table in ("notes", "tasker.tasks", "tasker.steps")
    }
    return {**counts, "events": len(flow.queue())}


NOTHING = {"notes": 0, "tasker.tasks": 0, "tasker.steps": 0, "events": 0}


def test_what_is_committed_together_is_there_together_and_runs(application: Application, flow: Flow) -> None:
    worker = Worker(flow)
    note(application, "mine")
    created = application.tasker.create_task("shop/work", {"n": 1}, tags=["a"], correlation_id=ONE.upper())
    more = application.tasker.create_tasks([TaskRequest("shop/work@1.0.0", {"n": n}) for n in range(3)])
    application.tasker.publish_event("note.made", {"text": "mine"}, namespace="shop")
    assert left(flow) == NOTHING
    assert worker.claim() == []

    application.do(lambda connection: connection.commit())

    assert left(flow) == {"notes": 1, "tasker.tasks": 4, "tasker.steps": 12, "events": 1}
    assert worker.run() == 12
    task = flow.task(created.task_uuid)
    assert (task["status"], task["context"], task["tags"], str(task["correlation_id"])) == (
        "complete", {"n": 1}, ["a"], created.correlation_id,
    )  # fmt: skip
    assert created.correlation_id == ONE
    assert [flow.task(one.task_uuid)["context"]["n"] for one in more] == [0, 1, 2]


def test_after_a_rollback_nothing_was_ever_there(application: Application, flow: Flow) -> None:
    application.tasker.create_task("shop/work", idempotency_key="k")  # the first statement, which begins it
    application.tasker.publish_event("note.made", {}, namespace="shop")
    note(application, "mine")
    application.do(lambda connection: connection.rollback())
    assert left(flow) == NOTHING
    application.tasker.publish_event("note.made", {}, namespace="shop")
    application.do(lambda connection: connection.rollback())
    assert left(flow) == NOTHING

    application.tasker.create_task("shop/work", idempotency_key="k")
    application.do(lambda connection: connection.commit())
    assert left(flow)["tasker.tasks"] == 1


def test_an_error_takes_back_its_own_call_and_the_transaction_goes_on(application: Application, flow: Flow) -> None:
    note(application, "before")
    application.tasker.create_task("shop/work", idempotency_key="k")
    with pytest.raises(DuplicateTaskError):
        application.tasker.create_task("shop/work", idempotency_key="k")
    with pytest.raises(DuplicateTaskError) as in_batch:
        application.tasker.create_tasks([TaskRequest("shop/work"), TaskRequest("shop/work", idempotency_key="k")])
    with pytest.raises(UnknownTemplateError):
        application.tasker.create_task("shop/wrk")
    with pytest.raises(InvalidRequestError):
        application.tasker.publish_event("Wrong Name", {}, namespace="shop")
    note(application, "after")
    application.do(lambda connection: connection.commit())

    assert in_batch.value.index == 1
    assert left(flow) == {"notes": 2, "tasker.tasks": 1, "tasker.steps": 3, "events": 0}


def test_a_transaction_that_has_failed_is_said_to_have_failed(application: Application, flow: Flow) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        application.do(lambda connection: connection.execute("SELECT 1 / 0"))
    for call in (
        lambda: application.tasker.create_task("shop/work"),
        lambda: application.tasker.publish_event("note.made", {}, namespace="shop"),
    ):
        with pytest.raises(TransactionAbortedError, match="roll it back"):
            call()
    application.do(lambda connection: connection.rollback())
    application.tasker.create_task("shop/work")


def test_a_savepoint_of_the_caller_is_a_savepoint(flow: Flow, connection: Connection[Any]) -> None:
    tasker = TaskerClient.in_transaction(connection)
    with connection.transaction():
        kept = tasker.create_task("shop/work")
        with connection.transaction():
            tasker.create_task("shop/work")
            tasker.publish_event("note.made", {}, namespace="shop")
            raise psycopg.Rollback
    assert [str(row["task_uuid"]) for row in flow.rows("SELECT task_uuid FROM tasker.tasks")] == [kept.task_uuid]
    assert flow.queue() == []


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_a_connection_in_autocommit_mode_commits_each_call(kind: type[Application], flow: Flow) -> None:
    application = kind(flow.url, autocommit=True)
    application.tasker.create_task("shop/work")
    assert left(flow)["tasker.tasks"] == 1
    application.do(lambda connection: connection.execute("BEGIN"))
    application.tasker.create_task("shop/work")
    assert left(flow)["tasker.tasks"] == 1
    application.do(lambda connection: connection.execute("ROLLBACK"))
    assert left(flow)["tasker.tasks"] == 1
    application.close()


@pytest.mark.parametrize(
    "options",
    [{"row_factory": dict_row}, {"prepare_threshold": 0}, {"prepare_threshold": None}, {"cursor_factory": RawCursor}],
    ids=["row factory", "always prepared", "never prepared", "cursors"],
)
def test_how_the_caller_uses_its_connection_does_not_matter(flow: Flow, options: dict[str, Any]) -> None:
    with psycopg.connect(flow.url, **options) as connection:
        connection.isolation_level = IsolationLevel.SERIALIZABLE
        set_json_loads(lambda _: "not what anybody expects", connection)
        tasker = TaskerClient.in_transaction(connection)
        for _ in range(8):
            tasker.create_task("shop/work")
        tasker.publish_event("note.made", {}, namespace="shop")
    assert left(flow) == {"notes": 0, "tasker.tasks": 8, "tasker.steps": 24, "events": 1}


def test_no_setting_of_the_session_changes_and_no_savepoint_is_left(flow: Flow, connection: Connection[Any]) -> None:
    query = "SELECT name, setting FROM pg_settings"
    before = dict(connection.execute(query).fetchall())
    tasker = TaskerClient.in_transaction(connection)
    tasker.create_task("shop/work")
    tasker.publish_event("note.made", {}, namespace="shop")
    with pytest.raises(UnknownTemplateError):
        tasker.create_task("shop/other")
    after = dict(connection.execute(query).fetchall())
    assert {name: after[name] for name in before} == before  # functions in PL/pgSQL bring its own settings along
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with pytest.raises(psycopg.errors.InvalidSavepointSpecification):
        connection.execute("RELEASE SAVEPOINT _pg3_1")


def test_supervisors_hear_of_tasks_with_the_commit_and_never_without(flow: Flow, connection: Connection[Any]) -> None:
    tasker = TaskerClient.in_transaction(connection)
    with connect(flow.url, application_name="listener") as listener:
        listener.execute("LISTEN tasker_work")
        tasker.create_task("shop/work")
        connection.rollback()
        tasker.create_tasks([TaskRequest("shop/work")] * 3)
        assert list(listener.notifies(timeout=0.05)) == []
        connection.commit()
        heard = []
        until(lambda: bool(heard.extend(listener.notifies(timeout=0.01)) or heard))
    assert [each.payload for each in heard] == ["application"]


BAD: list[list[TaskRequest]] = [
    [TaskRequest("shop/wrk")],
    [TaskRequest("shop/work@7.0.0")],
    [TaskRequest("shop/strict"), TaskRequest("shop/strict")],
    [TaskRequest("shop/provided", idempotency_key="k"), TaskRequest("shop/provided")],
    [TaskRequest("shop/order", {"amount": "x"})],
    [TaskRequest("shop/order", {"amount": float("inf")})],
    [TaskRequest("shop/work", tags=["a"] * 51)],
    [TaskRequest("shop/work", priority=1001)],
    [TaskRequest("shop/work", priority="1")],  # type: ignore[arg-type]  wrong on purpose, as below
    [TaskRequest("shop/work", reason="\0")],
    [TaskRequest("shop/work", unique_for_seconds=0)],
    [TaskRequest("shop/work", correlation_id="x")],
    [TaskRequest("shop/work", idempotency_key="")],
    [TaskRequest("shop/work")] * 1001,
    [],
]


@pytest.mark.parametrize("requests", BAD, ids=range(len(BAD)))
def test_the_rules_are_those_of_the_http_api(
    flow: Flow, connection: Connection[Any], requests: list[TaskRequest]
) -> None:
    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}}
    runtime = RecordingRuntime(flow.pool)
    for each in (
        template(CHAIN),
        template(CHAIN, name="strict", identity_strategy="strict"),
        template(CHAIN, name="provided", identity_strategy="caller_provided"),
        template(CHAIN, name="order").model_copy(update={"input_schema": schema}),
    ):
        with flow.pool.connection() as registering:
            runtime.registered.append(register_template(registering, each, accept_changed_content=False)[0])
    tasker = TaskerClient.in_transaction(connection)
    calls: list[tuple[Callable[[Any], Any]]] = [(lambda client: client.create_tasks(requests),)]
    if len(requests) == 1:
        calls.append((lambda client: client.create_task(**_arguments(requests[0])),))
    with serving(runtime) as server, TaskerClient(str(server.base_url)) as over_http:
        for (call,) in calls:
            with pytest.raises(RequestRefusedError) as expected:
                call(over_http)
            with pytest.raises(RequestRefusedError) as found:
                call(tasker)
            assert type(found.value) is type(expected.value)
            assert (found.value.status, found.value.code) == (expected.value.status, expected.value.code)
            assert found.value.faults == expected.value.faults
            assert found.value.index == expected.value.index


def _arguments(request: TaskRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in TaskRequest.__slots__}


def test_the_newest_version_is_taken_with_the_content_it_was_registered_with_last(
    flow: Flow, connection: Connection[Any]
) -> None:
    tasker = TaskerClient.in_transaction(connection)
    for version in ("1.10.0", "1.9.0"):
        with flow.pool.connection() as registering:
            newer = template({"only": []}).model_copy(update={"version": version})
            register_template(registering, newer, accept_changed_content=False)
    first = tasker.create_task("shop/work")
    named = tasker.create_task("shop/work@1.0.0")
    with flow.pool.connection() as registering:
        changed = template({"a": [], "b": []}).model_copy(update={"version": "1.10.0"})
        register_template(registering, changed, accept_changed_content=True)
    second = tasker.create_task("shop/work")
    connection.commit()

    assert [flow.task(one.task_uuid)["version"] for one in (first, named, second)] == ["1.10.0", "1.0.0", "1.10.0"]
    assert [list(flow.steps(one.task_uuid)) for one in (first, named, second)] == [["only"], list(CHAIN), ["a", "b"]]


def test_a_task_belongs_to_the_trace_of_its_caller(
    flow: Flow, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasker = TaskerClient.in_transaction(connection)
    with correlated(TRACE, None):
        called = tasker.create_task("shop/work")
    alone = tasker.create_task("shop/work")
    monkeypatch.setenv("TELEMETRY_ENABLED", "true")
    sampled = tasker.create_task("shop/work")
    connection.commit()

    task = flow.task(called.task_uuid)
    assert (task["traceparent"], task["tracestate"]) == (TRACE.traceparent, "vendor=x")
    for created, flag in ((alone, False), (sampled, True)):
        own = parse_traceparent(flow.task(created.task_uuid)["traceparent"])
        assert own is not None
        assert (own.span_id, own.sampled) == (task_span_id(created.task_uuid), flag)


def test_an_event_is_as_the_http_api_would_publish_it(flow: Flow, connection: Connection[Any]) -> None:
    tasker = TaskerClient.in_transaction(connection)
    with correlated(TRACE, None):
        called = tasker.publish_event(
            "note.made", {"n": 1}, namespace="shop", correlation_id=ONE.upper(), parent_correlation_id=ONE
        )
    alone = tasker.publish_event("note.made", None, namespace="shop", delivery_mode="durable")
    connection.commit()

    first, second = flow.queue()
    message = first["message"]
    assert (message["event_id"], message["event_name"], message["payload"], message["execution"]) == (
        called.event_id, "note.made", {"n": 1}, None,
    )  # fmt: skip
    metadata = message["metadata"]
    assert (metadata["namespace"], metadata["correlation_id"], metadata["parent_correlation_id"]) == ("shop", ONE, ONE)
    assert (metadata["fired_by"], metadata["task_uuid"], metadata["step_name"]) == ("external", None, None)
    assert first["headers"] == {
        "traceparent": TRACE.traceparent, "tracestate": "vendor=x", "correlation_id": ONE, "event_id": called.event_id,
        "event_name": "note.made", "content_type": "application/json",
    }  # fmt: skip
    own = parse_traceparent(second["headers"]["traceparent"])
    assert own is not None
    assert own.span_id == publish_durable_id(alone.event_id)
    assert second["headers"]["correlation_id"] == alone.correlation_id


def test_events_published_together_are_there_in_their_order_or_not_at_all(
    application: Application, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "_MAX_STATEMENT_BYTES", 2_000)  # so that they need several statements
    requests = [EventRequest("note.made", {"n": n, "text": "x" * 300}, "shop", correlation_id=ONE) for n in range(20)]
    with pytest.raises(InvalidRequestError) as refused:
        application.tasker.publish_events([*requests, EventRequest("note.made", {"a": float("nan")}, "shop")])
    assert refused.value.faults[0].path == "/events/20/payload/a"
    with pytest.raises(RequestRefusedError, match="there is no namespace nowhere"):
        application.tasker.publish_events([*requests, EventRequest("note.made", {}, "nowhere")])
    with pytest.raises(InvalidRequestError, match="has 1001 entries, and 1000 are the most"):
        application.tasker.publish_events(requests[:1] * 1_001)

    made = application.tasker.publish_events(requests)
    assert left(flow)["events"] == 0
    application.do(lambda connection: connection.commit())

    assert [message["message"]["payload"]["n"] for message in flow.queue()] == [*range(20)]
    assert [message["headers"]["event_id"] for message in flow.queue()] == [one.event_id for one in made]
    assert application.tasker.publish_events([]) == []


SPACES = ("shop", "cafe")


def many(count: int = 1_000) -> list[EventRequest]:
    """So many that the server stores the first while the last are made."""
    return [EventRequest("note.made", {"n": n}, "shop") for n in range(count)]


def test_what_is_wrong_with_the_last_of_many_takes_back_the_first(application: Application, flow: Flow) -> None:
    note(application, "before")
    with pytest.raises(InvalidRequestError) as refused:
        application.tasker.publish_events([*many(999), EventRequest("note.made", {"a": float("nan")}, "shop")])
    assert refused.value.faults[0].path == "/events/999/payload/a"
    made = application.tasker.publish_events(many())
    application.do(lambda connection: connection.commit())

    assert [message["message"]["payload"]["n"] for message in flow.queue()] == [*range(1_000)]
    assert [message["headers"]["event_id"] for message in flow.queue()] == [one.event_id for one in made]
    assert left(flow)["notes"] == 1


@pytest.mark.parametrize("wrong", [3, 500, 999])
def test_what_the_server_refuses_of_many_takes_back_all(application: Application, flow: Flow, wrong: int) -> None:
    rule = "ALTER TABLE pgmq.q_shop_domain_events ADD CONSTRAINT ours CHECK (message #>> '{payload,n}' <> '%s')"
    with flow.pool.connection() as connection:
        connection.execute(sql.SQL(rule % wrong))  # type: ignore[arg-type]  # made of a number
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            application.tasker.publish_events(many())
        note(application, "the transaction goes on")
        application.tasker.publish_events(many(3))
        application.do(lambda connection: connection.commit())
    finally:
        with flow.pool.connection() as connection:
            connection.execute("ALTER TABLE pgmq.q_shop_domain_events DROP CONSTRAINT ours")
    assert left(flow) == {**NOTHING, "notes": 1, "events": 3}


def test_a_role_that_may_not_write_events_is_told_so_of_many_too(flow: Flow, connection: Connection[Any]) -> None:
    role = "CREATE ROLE reader; GRANT USAGE ON SCHEMA tasker, pgmq TO reader;"
    connection.execute(f"{role} GRANT SELECT ON ALL TABLES IN SCHEMA tasker, pgmq TO reader; SET ROLE reader")
    with pytest.raises(PermissionMissingError, match="db grant"):
        TaskerClient.in_transaction(connection).publish_events(many())
    connection.rollback()


def test_calls_go_through_a_pipeline_of_the_caller(flow: Flow, connection: Connection[Any]) -> None:
    with connection.pipeline():
        connection.execute("INSERT INTO notes VALUES ('before')")
        TaskerClient.in_transaction(connection).publish_events(many())
        TaskerClient.in_transaction(connection).create_task("shop/work")
        connection.execute("INSERT INTO notes VALUES ('after')")
    connection.commit()
    left_there = left(flow)
    assert (left_there["notes"], left_there["tasker.tasks"], left_there["events"]) == (2, 1, 1_000)


def test_what_is_wrong_with_the_callers_own_statement_in_a_pipeline_is_said_as_it_is(
    flow: Flow, connection: Connection[Any]
) -> None:
    def call() -> None:
        with connection.pipeline():
            connection.execute("INSERT INTO guests VALUES (1)")
            TaskerClient.in_transaction(connection).publish_events(many())

    with pytest.raises(psycopg.errors.UndefinedTable, match="guests"):
        call()
    connection.rollback()
    assert left(flow) == NOTHING


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_many_events_of_a_connection_in_autocommit_mode_are_all_there_or_none(
    kind: type[Application], flow: Flow
) -> None:
    flow.register({"a": []}, namespace="cafe")
    requests = [EventRequest("note.made", {"n": n}, "cafe" if n > 200 and n % 2 else "shop") for n in range(600)]
    application = kind(flow.url, autocommit=True)
    try:
        with pytest.raises(RequestRefusedError, match="there is no namespace nowhere"):
            application.tasker.publish_events([*requests, EventRequest("note.made", {}, "nowhere")])
        assert left(flow) == NOTHING
        application.tasker.publish_events(requests)
    finally:
        application.close()
    stored = {name: [one["message"]["payload"]["n"] for one in flow.queue(f"{name}_domain_events")] for name in SPACES}
    assert stored == {name: [each.payload["n"] for each in requests if each.namespace == name] for name in SPACES}


def test_many_events_go_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    with connect(pgbouncer_url, application_name="tests") as registering:
        register_template(registering, template(CHAIN), accept_changed_content=False)
    with psycopg.connect(pgbouncer_url, prepare_threshold=None) as pooled:
        for _ in range(3):
            TaskerClient.in_transaction(pooled).publish_events(many())
            pooled.commit()
        ((stored,),) = pooled.execute("SELECT count(*) FROM pgmq.q_shop_domain_events").fetchall()
    assert stored == 3_000


@pytest.mark.parametrize(
    ("name", "payload", "options", "code", "path"),
    [
        ("note.made", {}, {"delivery_mode": "fast"}, "not_durable", "/delivery_mode"),
        ("note.made", {}, {"delivery_mode": "broadcast"}, "not_durable", "/delivery_mode"),
        ("Note", {}, {}, "invalid_event_name", "/name"),
        ("note.made", {}, {"namespace": "Shop"}, "invalid_namespace", "/namespace"),
        ("note.made", {"a": float("nan")}, {}, "nan_or_infinity", "/payload/a"),
        ("note.made", "x" * 2**20, {}, "too_large", "/payload"),
        ("note.made", {}, {"correlation_id": "x"}, "invalid", "/correlation_id"),
        ("note.made", {}, {"parent_correlation_id": "x"}, "invalid", "/parent_correlation_id"),
    ],
)
def test_an_event_that_cannot_be_published_is_an_error_and_no_dead_letter(
    flow: Flow, connection: Connection[Any], name: str, payload: Any, options: dict[str, str], code: str, path: str
) -> None:
    tasker = TaskerClient.in_transaction(connection)
    with pytest.raises(InvalidRequestError) as caught:
        tasker.publish_event(name, payload, **{"namespace": "shop", **options})
    connection.commit()
    assert (caught.value.code, caught.value.faults[0].path) == (code, path)
    assert flow.queue() == flow.queue("shop_domain_events_dlq") == []


def test_an_event_of_a_namespace_that_nobody_registered_is_refused(connection: Connection[Any]) -> None:
    with pytest.raises(RequestRefusedError, match="nowhere") as caught:
        TaskerClient.in_transaction(connection).publish_event("note.made", {}, namespace="nowhere")
    assert (caught.value.status, caught.value.code) == (404, "unknown_namespace")


def every_call(tasker: TransactionClient) -> list[Callable[[], Any]]:
    return [
        lambda: tasker.create_task("shop/work"),
        lambda: tasker.publish_event("note.made", {}, namespace="shop"),
    ]


def test_a_database_of_something_else_is_said_to_be_none(embedded_server: DatabaseServer) -> None:
    with embedded_server.database(migrated=False) as url, psycopg.connect(url) as connection:
        for call in every_call(TaskerClient.in_transaction(connection)):
            with pytest.raises(SchemaMissingError, match="db migrate") as caught:
                call()
            assert caught.value.exit_code == 3
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("change", ["DELETE FROM tasker.migrations WHERE version >= 12", "TRUNCATE tasker.migrations"])
def test_an_older_schema_is_said_to_be_older(connection: Connection[Any], change: str) -> None:
    connection.execute(change.encode())
    for call in every_call(TaskerClient.in_transaction(connection)):
        with pytest.raises(SchemaMissingError, match="and 12 is needed"):
            call()
    connection.rollback()


def test_a_role_without_rights_is_told_which_right_it_lacks(flow: Flow, connection: Connection[Any]) -> None:
    connection.execute("CREATE ROLE application_without_rights")
    connection.execute("SET LOCAL ROLE application_without_rights")
    for call in every_call(TaskerClient.in_transaction(connection)):
        with pytest.raises(PermissionMissingError, match="db grant"):
            call()
    connection.rollback()


def test_an_error_of_the_database_comes_as_it_is(flow: Flow, connection: Connection[Any]) -> None:
    tasker = TaskerClient.in_transaction(connection)
    connection.execute("SET TRANSACTION READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        tasker.create_task("shop/work")
    connection.rollback()
    name = sql.Identifier("tasks_wrong")
    connection.execute(sql.SQL("CREATE UNIQUE INDEX {} ON tasker.tasks ((1))").format(name))
    tasker.create_task("shop/work")
    with pytest.raises(psycopg.errors.UniqueViolation):
        tasker.create_task("shop/work")
    connection.rollback()


def test_http_and_transaction_share_identities(flow: Flow, connection: Connection[Any]) -> None:
    runtime = RecordingRuntime(flow.pool)
    runtime.registered.append(flow.register(CHAIN))
    TaskerClient.in_transaction(connection).create_task("shop/work", idempotency_key="k")
    connection.commit()
    with serving(runtime) as server:
        body = {"namespace": "shop", "name": "work", "idempotency_key": "k"}
        response: httpx.Response = server.post("/v1/tasks", json=body)
    assert response.status_code == 409
