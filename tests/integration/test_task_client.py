"""The client over HTTP against the real API and a real database, from a thread and from a coroutine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.stored_work import FakeWorker, register

from tasker_actors import AsyncTaskerClient, TaskerClient, TaskRequest
from tasker_actors.errors import (
    AccessDeniedError,
    ConfigurationError,
    DuplicateTaskError,
    InvalidRequestError,
    RequestRefusedError,
    SupervisorUnavailableError,
    SupervisorUnreachableError,
    TaskFinishedError,
    TaskNotFoundError,
    UnavailableError,
    UnknownTemplateError,
)
from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.session import Pool
from tasker_actors.settings import Settings
from tasker_actors.settings.http import HttpSettings
from tasker_actors.telemetry.trace_context import TraceContext, correlated
from tasker_actors.web.runtime import PublishUnavailableError

TRACE = TraceContext("ab" * 16, "cd" * 8, 1, "vendor=x")


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with open_pool(database_url, application_name="tests", max_size=8) as opened:
        yield opened


@pytest.fixture
def runtime(pool: Pool) -> RecordingRuntime:
    recording = RecordingRuntime(pool)
    recording.registered.append(register(pool))
    return recording


@pytest.fixture
def server(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


class Awaited:
    """An AsyncTaskerClient behind the methods of a TaskerClient: both are held to the same tests."""

    def __init__(self, url: str, api_key: str | None = None, **options: Any) -> None:
        self._client = AsyncTaskerClient(url, api_key, **options)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Awaited:
        self._loop.run_until_complete(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run_until_complete(self._client.__aexit__(*error))
        self._loop.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made = getattr(self._client, name)(*arguments, **options)
            return self._loop.run_until_complete(_collected(made) if isinstance(made, AsyncIterator) else made)

        return call


async def _collected(tasks: AsyncIterator[Any]) -> list[Any]:
    return [task async for task in tasks]


@pytest.fixture(params=[TaskerClient, Awaited], ids=["blocking", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(kind: Any, server: httpx.Client) -> Iterator[Any]:
    with kind(str(server.base_url)) as opened:
        yield opened


def test_a_task_is_created_waited_for_and_looked_at(client: Any, pool: Pool, runtime: RecordingRuntime) -> None:
    created = client.create_task("shop/order", {"amount": 1}, priority=2, tags=["a"], initiator="me")
    assert runtime.created == [("shop", "order")]
    pending = client.get_task(created.task_uuid)
    assert (pending.status, pending.is_finished, pending.priority, pending.tags) == ("pending", False, 2, ("a",))
    worker = FakeWorker(pool)
    running = threading.Thread(target=worker.run)
    running.start()

    task = client.wait(created.task_uuid, timeout=60)

    running.join()
    assert (task.status, task.succeeded, task.completion_percentage) == ("complete", True, 100)
    steps = client.steps(created.task_uuid)
    assert [(step.name, step.result, step.dependencies) for step in steps] == [
        ("reserve", {"ok": 1}, ()), ("charge", {"ok": 2}, ("reserve",)), ("notify", {"ok": 3}, ("charge",)),
    ]  # fmt: skip
    step = client.get_step(created.task_uuid, steps[0].step_uuid)
    assert (step.result, step.is_done, step.task_uuid) == ({"ok": 1}, True, created.task_uuid)
    with pytest.raises(TaskFinishedError):
        client.cancel(created.task_uuid)


def test_all_pages_of_a_list_are_read(client: Any) -> None:
    created = client.create_tasks([TaskRequest("shop/order", {"amount": n}) for n in range(1, 451)])
    tagged = client.create_task("shop/order", {"amount": 1}, tags=["x"])

    found = list(client.list_tasks(namespace="shop", name="order"))

    assert {task.task_uuid for task in found} == {one.task_uuid for one in (*created, tagged)}
    assert [task.task_uuid for task in client.list_tasks(tag="x", status="pending")] == [tagged.task_uuid]


def test_a_cancel_can_be_repeated(client: Any) -> None:
    created = client.create_task("shop/order", {"amount": 1})
    first = client.cancel(created.task_uuid, cancelled_by="ann", reason="ordered twice")
    assert (first.status, first.cancelled_by, first.cancel_reason) == ("cancelled", "ann", "ordered twice")
    assert client.cancel(created.task_uuid) == first


@pytest.mark.parametrize("action", ["reset", "resolve", "complete"])
def test_a_failed_step_is_dealt_with(client: Any, pool: Pool, action: str) -> None:
    created = client.create_task("shop/order", {"amount": 1})
    FakeWorker(pool).run(outcome="error")
    (failed,) = [step for step in client.steps(created.task_uuid) if step.status == "error"]
    more = [{"charged": True}] if action == "complete" else []

    step = getattr(client, f"{action}_step")(created.task_uuid, failed.step_uuid, *more, by="me", reason="why")

    assert step.status == {"reset": "enqueued", "resolve": "resolved_manually", "complete": "complete"}[action]
    assert not client.get_task(created.task_uuid).is_finished


def test_an_event_is_published(client: Any, runtime: RecordingRuntime) -> None:
    with correlated(TRACE, None):
        event = client.publish_event("order.seen", {"n": 1}, namespace="shop", delivery_mode="broadcast")
    (published,) = runtime.published
    assert (published.name, published.payload, published.delivery_mode) == ("order.seen", {"n": 1}, "broadcast")
    assert published.correlation_id == event.correlation_id
    assert published.trace == TRACE


def test_refusals_have_types_with_what_programs_need(client: Any, runtime: RecordingRuntime) -> None:
    with pytest.raises(UnknownTemplateError, match="shop/order"):
        client.create_task("shop/ordr")
    with pytest.raises(InvalidRequestError) as invalid:
        client.create_task("shop/order", {"amount": "x"})
    assert (invalid.value.code, invalid.value.status) == ("invalid_context", 422)
    assert [fault.path for fault in invalid.value.faults] == ["/context/amount"]
    with pytest.raises(TaskNotFoundError):
        client.get_task(new_uuid7())
    client.create_task("shop/order", {"amount": 1}, idempotency_key="k")
    keyed = TaskRequest("shop/order", {"amount": 1}, idempotency_key="k")
    with pytest.raises(DuplicateTaskError) as duplicate:
        client.create_tasks([TaskRequest("shop/order", {"amount": 1}), keyed])
    assert duplicate.value.index == 1
    with pytest.raises(RequestRefusedError) as unknown:
        client.publish_event("order.seen", {}, namespace="nowhere")
    assert type(unknown.value) is RequestRefusedError
    assert unknown.value.index is None
    runtime.publish_error = PublishUnavailableError("no worker")
    with pytest.raises(SupervisorUnavailableError) as away:
        client.publish_event("order.seen", {}, namespace="shop")
    assert isinstance(away.value, UnavailableError)


def test_a_key_is_needed_where_there_is_one(kind: Any, pool: Pool) -> None:
    runtime = RecordingRuntime(pool, Settings(http=HttpSettings(api_key="s3cret")))
    with serving(runtime) as server:
        with kind(str(server.base_url)) as stranger, pytest.raises(AccessDeniedError):
            stranger.get_task(new_uuid7())
        with kind(str(server.base_url), "s3cret") as friend, pytest.raises(TaskNotFoundError):
            friend.get_task(new_uuid7())


def test_where_nobody_listens_the_error_says_so(kind: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with kind(f"http://127.0.0.1:{port}", retry_for=0.2) as client:
        with pytest.raises(SupervisorUnreachableError, match="as url") as caught:
            client.create_task("shop/order")
        assert not caught.value.was_sent


def test_an_address_that_is_none_is_named(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"url http://\[::1: "):
        kind("http://[::1")
