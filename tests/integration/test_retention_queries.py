"""Pruning: what is old goes with all that belongs to it, in batches, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import Connection
from support.stored_work import FakeWorker, create, dead_letter, message, queue_rows, register, result, send

from tasker_actors.postgres import retention
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.tasks import cancel_task

ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"
DAY = timedelta(days=1)


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        yield opened


@pytest.fixture
def connection(pool: Pool) -> Iterator[Connection]:
    with pool.connection() as opened:
        yield opened


def rows(connection: Connection, table: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM tasker.{table}").fetchone()  # noqa: S608  names of this test
    assert found is not None
    return int(found[0])


def age(connection: Connection, table: str, column: str, **where: object) -> None:
    """Make the rows of a table two days older."""
    connection.execute(f"UPDATE {table} SET {column} = {column} - interval '2 days'")  # noqa: S608  names of this test


def test_finished_tasks_go_with_their_steps_and_attempts_and_running_ones_stay(
    pool: Pool, connection: Connection
) -> None:
    registered = register(pool)
    worker = FakeWorker(pool)
    for _ in range(3):
        create(pool, registered)
    worker.run()
    create(pool, registered)
    worker.run(outcome="error")
    cancelled = create(pool, registered)
    cancel_task(pool, cancelled.task_uuid)
    age(connection, "tasker.tasks", "completed_at")
    age(connection, "tasker.tasks", "created_at")
    running = create(pool, registered)
    worker.commit(*(result(step) for step in worker.claim()))
    age(connection, "tasker.tasks", "created_at")
    recent = create(pool, registered)
    cancel_task(pool, recent.task_uuid)
    told: list[int] = []

    deleted = prune(connection, Prunable.FINISHED_TASKS, DAY, progress=told.append, batch=2)

    assert deleted == 5
    assert told == [2, 4, 5]
    left = {str(row[0]) for row in connection.execute("SELECT task_uuid FROM tasker.tasks")}
    assert left == {running.task_uuid, recent.task_uuid}
    assert rows(connection, "steps") == 6
    assert rows(connection, "step_attempts") == 1


def test_attempts_go_by_their_own_age_and_steps_keep_what_they_know(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_PAGES_AT_ONCE", 1)
    registered = register(pool)
    worker = FakeWorker(pool)
    for _ in range(60):
        create(pool, registered)
    worker.run()
    age(connection, "tasker.step_attempts", "finished_at")
    create(pool, registered)
    worker.run()

    assert prune(connection, Prunable.ATTEMPTS, DAY) == 180
    assert rows(connection, "step_attempts") == 3
    found = connection.execute("SELECT min(attempts) FROM tasker.steps").fetchone()
    assert found == (1,)


def test_dead_letters_go_and_durable_events_never_do(pool: Pool, connection: Connection) -> None:
    register(pool)
    register(pool, namespace_name="air")
    for namespace in ("shop", "air"):
        for _ in range(5):
            send(pool, f"{namespace}_domain_events", message(ONE, fired_at=FIRED_AT))
            send(pool, f"{namespace}_domain_events_dlq", dead_letter(message(ONE, fired_at=FIRED_AT)))
        age(connection, f"pgmq.q_{namespace}_domain_events", "enqueued_at")
        age(connection, f"pgmq.q_{namespace}_domain_events_dlq", "enqueued_at")
        send(pool, f"{namespace}_domain_events_dlq", dead_letter(message(ONE, fired_at=FIRED_AT)))

    for what in Prunable:
        prune(connection, what, DAY, batch=2)

    for namespace in ("shop", "air"):
        assert len(queue_rows(pool, f"{namespace}_domain_events")) == 5
        assert len(queue_rows(pool, f"{namespace}_domain_events_dlq")) == 1


def test_pruning_stops_when_told_to_and_keeps_what_it_did(pool: Pool, connection: Connection) -> None:
    registered = register(pool)
    worker = FakeWorker(pool)
    for _ in range(4):
        create(pool, registered)
    worker.run()
    assert prune(connection, Prunable.FINISHED_TASKS, timedelta(0), batch=1, stop=lambda: True) == 1
    assert rows(connection, "tasks") == 3


def test_a_task_that_somebody_holds_is_passed_over(pool: Pool, connection: Connection) -> None:
    registered = register(pool)
    row = create(pool, registered)
    FakeWorker(pool).run()
    with pool.connection() as other, other.transaction():
        other.execute("SELECT FROM tasker.tasks WHERE task_uuid = %s FOR UPDATE", [row.task_uuid])
        assert prune(connection, Prunable.FINISHED_TASKS, timedelta(0)) == 0
    assert prune(connection, Prunable.FINISHED_TASKS, timedelta(0)) == 1


def test_a_negative_age_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        prune(connection, Prunable.FINISHED_TASKS, timedelta(seconds=-1))
