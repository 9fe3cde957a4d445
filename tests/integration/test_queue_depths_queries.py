"""Depth and age of queues: exact while that is cheap, estimated above."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import Connection
from support.stored_work import FakeWorker, create, dead_letter, message, register, send

from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.queue_depths import QueueDepth, read_queue_depths
from tasker_actors.postgres.session import Pool

ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        yield opened


def depths(pool: Pool) -> dict[tuple[str, str], QueueDepth]:
    with pool.connection() as connection:
        return {(depth.namespace, depth.queue): depth for depth in read_queue_depths(connection)}


def execute(pool: Pool, statement: str) -> None:
    with pool.connection() as connection:
        connection.execute(statement)


def test_a_database_without_namespaces_has_no_queues(pool: Pool) -> None:
    assert depths(pool) == {}


def test_each_namespace_has_events_dead_letters_and_steps(pool: Pool) -> None:
    registered = register(pool)
    register(pool, namespace_name="air")
    send(pool, "shop_domain_events", *(message(ONE, fired_at=FIRED_AT) for _ in range(3)))
    send(pool, "air_domain_events_dlq", dead_letter(message(ONE, fired_at=FIRED_AT)))
    create(pool, registered)
    create(pool, registered)
    execute(pool, "UPDATE pgmq.q_shop_domain_events SET enqueued_at = now() - interval '60 s' WHERE msg_id = 1")

    found = depths(pool)

    assert {key: depth.depth for key, depth in found.items()} == {
        ("shop", "shop_domain_events"): 3, ("shop", "shop_domain_events_dlq"): 0, ("shop", "steps"): 2,
        ("air", "air_domain_events"): 0, ("air", "air_domain_events_dlq"): 1, ("air", "steps"): 0,
    }  # fmt: skip
    assert all(depth.exact for depth in found.values())
    assert 60 <= found["shop", "shop_domain_events"].oldest_age_s < 120
    assert found["air", "air_domain_events"].oldest_age_s == 0.0


def test_steps_that_run_or_wait_for_a_retry_are_no_backlog(pool: Pool) -> None:
    registered = register(pool)
    create(pool, registered)
    FakeWorker(pool).claim()
    assert depths(pool)["shop", "steps"].depth == 0


def test_priority_does_not_make_the_backlog_look_older(pool: Pool) -> None:
    create(pool, register(pool), priority=1000)
    assert depths(pool)["shop", "steps"].oldest_age_s < 60


def test_a_large_queue_is_estimated_and_never_below_what_was_counted(pool: Pool) -> None:
    register(pool)
    fill = "INSERT INTO pgmq.q_shop_domain_events (vt, message) SELECT now(), '{}' FROM generate_series(1, 30000)"
    execute(pool, fill)
    unknown = depths(pool)["shop", "shop_domain_events"]
    assert not unknown.exact
    assert unknown.depth >= 10_001

    execute(pool, "ANALYZE pgmq.q_shop_domain_events")
    assert depths(pool)["shop", "shop_domain_events"].depth == pytest.approx(30_000, rel=0.02)

    execute(pool, fill)
    assert depths(pool)["shop", "shop_domain_events"].depth == pytest.approx(60_000, rel=0.05)


FILL_STEPS = """
INSERT INTO tasker.steps (task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts,
                          run_at, updated_at)
SELECT gen_random_uuid(), 1, gen_random_uuid(), 'shop', 'first', 'enqueued', 0, 3, now(), now()
FROM generate_series(1, 30000)
"""


def test_a_large_backlog_of_steps_is_what_the_statistics_say_and_never_below_what_was_counted(pool: Pool) -> None:
    register(pool)
    execute(pool, FILL_STEPS)
    unknown = depths(pool)["shop", "steps"]
    assert not unknown.exact
    assert unknown.depth >= 10_001

    execute(pool, "ANALYZE tasker.steps")
    assert depths(pool)["shop", "steps"].depth == pytest.approx(30_000, rel=0.05)


def test_steps_are_not_read_as_a_whole_though_the_statistics_know_of_many_that_could_run(pool: Pool) -> None:
    register(pool)
    execute(pool, FILL_STEPS)
    execute(pool, "ANALYZE tasker.steps")
    execute(pool, "UPDATE tasker.steps SET state = 'complete', run_at = NULL")

    def rows_scanned(connection: Connection) -> int:
        row = connection.execute(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE schemaname = 'tasker' AND relname = 'steps'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    with pool.connection() as connection, connection.transaction():
        before = rows_scanned(connection)
        assert {depth.depth for depth in read_queue_depths(connection)} == {0}
        assert rows_scanned(connection) == before


def test_a_large_queue_is_never_read_as_a_whole(pool: Pool) -> None:
    register(pool)
    execute(
        pool, "INSERT INTO pgmq.q_shop_domain_events (vt, message) SELECT now(), '{}' FROM generate_series(1, 100000)"
    )
    execute(pool, "VACUUM ANALYZE pgmq.q_shop_domain_events")

    def rows_read(connection: Connection) -> int:
        row = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'q_shop_domain_events'"
        ).fetchone()
        return 0 if row is None else int(row[0])

    with pool.connection() as connection, connection.transaction():
        # Parallel workers and index-only scans are counted elsewhere.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        connection.execute("SET LOCAL enable_indexonlyscan = off")
        before = rows_read(connection)
        read_queue_depths(connection)
        assert rows_read(connection) - before <= 10_010
