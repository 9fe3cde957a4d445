"""Tasks in the database: created all or none, listed in stable pages, shown with what their steps say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import psycopg
import pytest
from psycopg import sql
from support.stored_work import FakeWorker, create, register, result, task_row

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres import task_list, tasks
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.session import DatabaseBusyError, Pool, QueryTimeoutError, session
from tasker_actors.workflow.states import TaskState
from tasker_actors.workflow.summary import HealthStatus


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        yield opened


def uuids(page: task_list.TaskPage) -> list[str]:
    return [record.columns["task_uuid"] for record in page.tasks]


def statuses(pool: Pool) -> dict[TaskState, set[str]]:
    """What each filter by status finds."""
    return {
        status: set(uuids(task_list.list_tasks(pool, task_list.TaskFilter(status=status), 100))) for status in TaskState
    }


def test_a_created_task_is_read_back_as_it_was_given(pool: Pool) -> None:
    registered = register(pool)
    row = create(
        pool, registered, context='{"amount":1,"text":"Ünï","big":18446744073709551615}'.encode(), tags=("a", "b"),
        initiator="ann", reason="why", priority=3, parent_correlation_id=new_uuid7(),
    )  # fmt: skip

    record = tasks.find_task(pool, row.task_uuid)

    assert record is not None
    columns = record.columns
    assert orjson.loads(columns["context"]) == {"amount": 1, "text": "Ünï", "big": 18446744073709551615}
    assert columns["tags"] == ["a", "b"]
    assert (columns["initiator"], columns["reason"], columns["priority"]) == ("ann", "why", 3)
    assert columns["correlation_id"] == row.correlation_id
    assert columns["parent_correlation_id"] == row.parent_correlation_id
    assert columns["version"] == "1.0.0"
    assert [step["name"] for step in orjson.loads(columns["steps"])] == ["reserve", "charge", "notify"]
    assert [step["step_uuid"] for step in orjson.loads(columns["steps"])] == list(row.step_uuids)


def test_creation_returns_the_moment_that_is_stored(pool: Pool) -> None:
    row = task_row(register(pool))
    created_at = tasks.create_tasks(pool, [row])
    record = tasks.find_task(pool, row.task_uuid)
    assert record is not None
    assert record.columns["created_at"] == created_at
    assert record.columns["updated_at"] == created_at


def test_a_repeated_key_in_a_batch_creates_nothing_and_is_named(pool: Pool) -> None:
    registered = register(pool)
    other = create(pool, registered, identity_hash="a" * 64)
    rows = [
        task_row(registered),
        task_row(registered, identity_hash="b" * 64),
        task_row(registered, identity_hash="a" * 64),
    ]

    with pytest.raises(tasks.IdentityTakenError) as caught:
        tasks.create_tasks(pool, rows)

    assert caught.value.index == 2
    assert uuids(task_list.list_tasks(pool, task_list.TaskFilter(), 10)) == [other.task_uuid]


def test_the_same_key_of_another_template_is_another_key(pool: Pool) -> None:
    create(pool, register(pool), idempotency_key="k")
    create(pool, register(pool, name="refund"), idempotency_key="k")


def test_unknown_tasks_are_none(pool: Pool) -> None:
    nobody = new_uuid7()
    assert tasks.find_task(pool, nobody) is None
    assert tasks.cancel_task(pool, nobody) is None
    assert tasks.read_steps(pool, nobody) is None


def test_a_task_shows_what_its_steps_came_to(pool: Pool) -> None:
    worker = FakeWorker(pool)
    row = create(pool, register(pool))
    (reserve,) = worker.claim()
    worker.commit(result(reserve))

    record = tasks.find_task(pool, row.task_uuid)
    assert record is not None
    assert record.summary.status is TaskState.IN_PROGRESS
    assert (record.summary.completed_steps, record.summary.in_progress_steps, record.summary.pending_steps) == (1, 0, 2)
    assert record.summary.ready_steps == 1
    assert record.summary.completion_percentage == 33.33

    (charge,) = worker.claim()
    worker.commit(result(charge, "error"))

    record = tasks.find_task(pool, row.task_uuid)
    assert record is not None
    assert record.summary.status is TaskState.ERROR
    assert record.summary.health_status is HealthStatus.BLOCKED
    assert record.columns["completed_at"] is not None
    by_name = {step["name"]: step for step in orjson.loads(record.columns["steps"])}
    assert by_name["notify"]["blocked"] is True
    assert by_name["charge"]["error"]["type"] == "handler_error"


def test_a_filter_by_status_finds_each_task_under_the_state_it_shows(pool: Pool) -> None:
    registered = register(pool)
    worker = FakeWorker(pool)
    waiting = create(pool, registered)
    worker.commit(*(result(step, "waiting_for_retry") for step in worker.claim()))
    complete = create(pool, registered)
    worker.run()
    failed = create(pool, registered)
    worker.run(outcome="error")
    running = create(pool, registered)
    worker.claim()
    cancelled = create(pool, registered)
    tasks.cancel_task(pool, cancelled.task_uuid)
    pending = create(pool, registered)

    found = statuses(pool)

    assert found == {
        TaskState.PENDING: {pending.task_uuid},
        TaskState.IN_PROGRESS: {running.task_uuid},
        TaskState.WAITING_FOR_RETRY: {waiting.task_uuid},
        TaskState.BLOCKED_BY_FAILURES: set(),
        TaskState.COMPLETE: {complete.task_uuid},
        TaskState.ERROR: {failed.task_uuid},
        TaskState.CANCELLED: {cancelled.task_uuid},
        TaskState.RESOLVED_MANUALLY: set(),
    }
    for status, found_uuids in found.items():
        for task_uuid in found_uuids:
            record = tasks.find_task(pool, task_uuid)
            assert record is not None
            assert record.summary.status is status


def test_pages_have_every_task_once_though_others_are_created_meanwhile(pool: Pool) -> None:
    registered = register(pool)
    rows = [create(pool, registered) for _ in range(7)]
    seen: list[str] = []
    below = None
    for _ in range(3):
        page = task_list.list_tasks(pool, task_list.TaskFilter(below=below), 3)
        seen.extend(uuids(page))
        below = page.next_below
        create(pool, registered)
    assert seen == [row.task_uuid for row in reversed(rows)]
    assert below is None


def test_a_full_last_page_says_that_it_is_the_last(pool: Pool) -> None:
    registered = register(pool)
    for _ in range(3):
        create(pool, registered)
    assert task_list.list_tasks(pool, task_list.TaskFilter(), 3).next_below is None
    assert task_list.list_tasks(pool, task_list.TaskFilter(), 2).next_below is not None


def test_a_page_ends_before_its_contexts_are_too_large(pool: Pool) -> None:
    registered = register(pool)
    large = orjson.dumps({"amount": 1, "text": "x" * 1_500_000})
    rows = [create(pool, registered, context=large) for _ in range(3)]
    first = task_list.list_tasks(pool, task_list.TaskFilter(), 10)
    assert uuids(first) == [rows[2].task_uuid, rows[1].task_uuid]
    second = task_list.list_tasks(pool, task_list.TaskFilter(below=first.next_below), 10)
    assert uuids(second) == [rows[0].task_uuid]
    assert second.next_below is None


def test_a_state_that_follows_from_steps_is_looked_for_in_chunks(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_list, "_LISTING_CHUNK", 2)
    monkeypatch.setattr(task_list, "_MAX_LISTING_CHUNKS", 2)
    registered = register(pool)
    worker = FakeWorker(pool)
    pending = create(pool, registered)
    for _ in range(5):
        create(pool, registered, priority=1)
    assert len(worker.claim(5)) == 5

    first = task_list.list_tasks(pool, task_list.TaskFilter(status=TaskState.PENDING), 10)
    assert uuids(first) == []
    assert first.next_below is not None

    second = task_list.list_tasks(pool, task_list.TaskFilter(status=TaskState.PENDING, below=first.next_below), 10)
    assert uuids(second) == [pending.task_uuid]
    assert second.next_below is None


def test_filters(pool: Pool) -> None:
    order, refund = register(pool), register(pool, name="refund", version="2.0.0")
    one = create(pool, order, tags=("red", "blue"))
    two = create(pool, refund)
    now = datetime.now(UTC)

    def found(**wanted: object) -> list[str]:
        return uuids(task_list.list_tasks(pool, task_list.TaskFilter(**wanted), 10))  # type: ignore[arg-type]  # one of each

    assert found(name="order") == [one.task_uuid]
    assert found(version="2.0.0") == [two.task_uuid]
    assert found(namespace="shop") == [two.task_uuid, one.task_uuid]
    assert found(namespace="other") == []
    assert found(tag="blue") == [one.task_uuid]
    assert found(correlation_id=two.correlation_id) == [two.task_uuid]
    assert found(created_after=now - timedelta(hours=1)) == [two.task_uuid, one.task_uuid]
    assert found(created_after=now + timedelta(hours=1)) == []
    assert found(created_before=now + timedelta(hours=1)) == [two.task_uuid, one.task_uuid]
    assert found(created_before=now - timedelta(hours=1)) == []
    assert found(created_before=datetime.max.replace(tzinfo=UTC)) == [two.task_uuid, one.task_uuid]
    assert found(created_after=datetime.min.replace(tzinfo=UTC)) == [two.task_uuid, one.task_uuid]


def test_a_time_filter_finds_what_another_host_with_a_wrong_clock_created(pool: Pool) -> None:
    # Its ids lie eight hours in the past, its created_at is the server's.
    registered = register(pool)
    stamp = int((datetime.now(UTC) - timedelta(hours=8)).timestamp() * 1000)
    task_uuid = f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7000-8000-000000000001"
    create(pool, registered, task_uuid=task_uuid)
    page = task_list.list_tasks(pool, task_list.TaskFilter(created_after=datetime.now(UTC) - timedelta(minutes=5)), 10)
    assert uuids(page) == [task_uuid]


def test_cancelling_ends_leases_and_is_told_apart_from_being_finished(pool: Pool) -> None:
    registered = register(pool)
    worker = FakeWorker(pool)
    row = create(pool, registered)
    (step,) = worker.claim()

    first = tasks.cancel_task(pool, row.task_uuid, by="ann", reason="ordered twice")
    assert first is not None
    assert first.cancelled
    assert (first.task_uuid, first.namespace, first.name) == (row.task_uuid, row.namespace, row.name)
    assert (first.correlation_id, first.traceparent) == (row.correlation_id, row.traceparent)
    assert first.leases == (tasks.Lease(step["token"], worker.worker_id),)

    again = tasks.cancel_task(pool, row.task_uuid, by="bob", reason="me too")
    kept = tasks.find_task(pool, row.task_uuid)
    assert kept is not None
    assert (kept.columns["cancelled_by"], kept.columns["cancel_reason"]) == ("ann", "ordered twice")
    assert again == replace(first, status="cancelled", cancelled=False, leases=())

    create(pool, registered)
    worker.run()
    finished = task_list.list_tasks(pool, task_list.TaskFilter(status=TaskState.COMPLETE), 1).tasks[0]
    refused = tasks.cancel_task(pool, finished.columns["task_uuid"])
    assert refused is not None
    assert (refused.status, refused.cancelled, refused.leases) == ("complete", False, ())


def test_a_task_that_another_session_holds_is_reported_as_busy(pool: Pool) -> None:
    row = create(pool, register(pool))
    with pool.connection() as other, other.transaction():
        other.execute("SELECT FROM tasker.tasks WHERE task_uuid = %s FOR UPDATE", [row.task_uuid])
        with pytest.raises(DatabaseBusyError):
            tasks.cancel_task(pool, row.task_uuid)


def test_steps_have_results_dependencies_and_attempts(pool: Pool) -> None:
    worker = FakeWorker(pool)
    row = create(pool, register(pool))
    (reserve,) = worker.claim()
    worker.commit(result(reserve, "waiting_for_retry", delay_ms=0))
    worker.run()

    steps = tasks.read_steps(pool, row.task_uuid)
    assert steps is not None
    assert [(step["name"], step["dependencies"]) for step in steps] == [
        ("reserve", []), ("charge", ["reserve"]), ("notify", ["charge"]),
    ]  # fmt: skip
    assert [orjson.loads(step["result"]) for step in steps] == [{"ok": 1}, {"ok": 2}, {"ok": 3}]

    attempts = tasks.read_attempts(pool, row.task_uuid, row.step_uuids[0])
    assert [(each["attempt"], each["outcome"]) for each in attempts] == [(1, "waiting_for_retry"), (2, "complete")]
    assert orjson.loads(attempts[0]["error"])["type"] == "handler_error"


def test_large_results_are_left_out_of_the_list_and_not_of_the_step(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_PAGE_BYTES", 20)
    worker = FakeWorker(pool)
    row = create(pool, register(pool))
    while steps := worker.claim():
        worker.commit(*(result(step, result={"text": "x" * 5}, bytes=12) for step in steps))

    listed = tasks.read_steps(pool, row.task_uuid)
    assert listed is not None
    assert [step["result"] is None for step in listed] == [False, True, True]
    assert [step["result_omitted"] for step in listed] == [False, True, True]

    (alone,) = tasks.read_steps(pool, row.task_uuid, row.step_uuids[2]) or []
    assert orjson.loads(alone["result"]) == {"text": "xxxxx"}
    assert alone["result_omitted"] is False
    assert tasks.read_steps(pool, row.task_uuid, new_uuid7()) == []


def test_a_list_by_one_filter_reads_an_index_and_not_the_tasks_before_it(pool: Pool) -> None:
    common, rare = register(pool), register(pool, namespace_name="tea", name="rare", version="2.0.0")
    wanted = create(pool, rare, tags=("gold",))
    tasks.create_tasks(pool, [task_row(common) for _ in range(3_000)])
    tasks.cancel_task(pool, wanted.task_uuid)
    indexes = {
        "correlation_id": (wanted.correlation_id, "tasks_correlation_id"),
        "namespace": ("tea", "tasks_template"),
        "name": ("rare", "tasks_template"),
        "version": ("2.0.0", "tasks_template"),
        "status": (TaskState.CANCELLED, "tasks_status"),
        "tag": ("gold", "tasks_tags"),
    }
    with pool.connection() as connection:
        connection.execute("VACUUM ANALYZE tasker.tasks")
        for name, (value, index) in indexes.items():
            one = task_list.TaskFilter(**{name: value})
            parameters = task_list._parameters(one, task_list._templates(connection, one), None, 50)
            query = sql.SQL("EXPLAIN ") + task_list._filtered("list_tasks")
            plan = "\n".join(line for (line,) in connection.execute(query, parameters, prepare=False))
            assert index in plan, f"{name}\n{plan}"
            assert uuids(task_list.list_tasks(pool, one, 10)) == [wanted.task_uuid]


def test_a_common_filter_reads_no_more_than_a_page(pool: Pool) -> None:
    """The newest tasks are at the end of an index in the order of the page: nothing is sorted."""
    common = register(pool)
    tasks.create_tasks(pool, [task_row(common) for _ in range(1_000)])
    with pool.connection() as connection:
        connection.execute("VACUUM ANALYZE tasker.tasks")
        for one in (task_list.TaskFilter(name="order"), task_list.TaskFilter(status=TaskState.COMPLETE)):
            parameters = task_list._parameters(one, task_list._templates(connection, one), None, 50)
            query = sql.SQL("EXPLAIN ") + task_list._filtered("list_tasks")
            plan = "\n".join(line for (line,) in connection.execute(query, parameters, prepare=False))
            assert "Sort" not in plan, plan


def test_a_query_past_its_time_limit_is_told_apart(pool: Pool) -> None:
    slow = "SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(10)"
    with pytest.raises(QueryTimeoutError), session(pool) as connection, connection.transaction():
        connection.execute(slow)
    with session(pool) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_fault_of_a_statement_is_no_outage(pool: Pool) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), session(pool) as connection:
        connection.execute("SELECT FROM nothing")


def test_a_page_by_number_counts_no_further_than_a_bound(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = register(pool)
    rows = [create(pool, registered) for _ in range(7)]
    newest = [row.task_uuid for row in reversed(rows)]

    def found(page: int, per_page: int, **wanted: TaskState) -> tuple[list[str], int, bool, bool]:
        numbered = task_list.numbered_page(pool, task_list.TaskFilter(**wanted), page, per_page)
        return uuids(numbered), numbered.total, numbered.is_exact, numbered.next_below is not None

    assert found(1, 3) == (newest[:3], 7, True, True)
    monkeypatch.setattr(task_list, "MAX_COUNTED", 4)
    assert found(1, 3) == (newest[:3], 5, False, True)
    assert found(2, 3) == (newest[3:6], 7, False, True)
    assert found(3, 3) == (newest[6:], 7, True, False)
    assert found(9, 3) == ([], 5, False, False)
    monkeypatch.setattr(task_list, "_LISTING_CHUNK", 2)
    monkeypatch.setattr(task_list, "_MAX_LISTING_CHUNKS", 2)
    assert found(1, 3, status=TaskState.PENDING) == (newest[:3], 4, False, True)
    assert found(2, 3, status=TaskState.PENDING) == (newest[3:4], 4, False, False)


def test_a_page_by_number_leaves_out_contexts_and_no_tasks(pool: Pool) -> None:
    registered = register(pool)
    large = orjson.dumps({"amount": 1, "text": "x" * 1_500_000})
    rows = [create(pool, registered, context=large) for _ in range(3)]
    page = task_list.numbered_page(pool, task_list.TaskFilter(), 1, 10)
    assert uuids(page) == [row.task_uuid for row in reversed(rows)]
    assert [record.columns["context"] is None for record in page.tasks] == [False, False, True]


def test_a_page_by_number_passes_over_tasks_by_an_index(pool: Pool) -> None:
    common = register(pool)
    tasks.create_tasks(pool, [task_row(common) for _ in range(3_000)])
    with pool.connection() as connection:
        connection.execute("VACUUM ANALYZE tasker.tasks")
        for one in (
            task_list.TaskFilter(),
            task_list.TaskFilter(name="order"),
            task_list.TaskFilter(status=TaskState.COMPLETE),
        ):
            parameters = task_list._parameters(one, task_list._templates(connection, one), None, 50, 1_000)
            query = sql.SQL("EXPLAIN ") + task_list._filtered("list_tasks")
            plan = "\n".join(line for (line,) in connection.execute(query, parameters, prepare=False))
            assert "Sort" not in plan, plan
