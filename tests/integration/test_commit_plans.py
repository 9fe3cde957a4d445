"""The functions of the commit path read by key, whatever the planner thinks of the tables (DESIGN 3 rule 12, HAZARDS 32)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import Connection
from support.flow import Flow, Worker
from support.leases import DONE, NEVER, event, finish

from tasker_actors.delivery.batch import batch_json
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.workers import expire_leases

TASKS = 1000
GRAPH: dict[str, list[str]] = {
    **{f"root{number}": [] for number in range(10)},
    **{f"leaf{number}": [f"root{number}", f"root{(number + 1) % 10}"] for number in range(10)},
}


@pytest.fixture
def flow(any_database_url: str) -> Iterator[Flow]:
    """A database with 20,000 steps, half of them claimable."""
    with open_pool(any_database_url, application_name="tests", max_size=4) as pool:
        flow = Flow(any_database_url, pool)
        flow.create(flow.register(GRAPH, publishes_events=[event()]), count=TASKS)
        yield flow
        flow.close()


@contextmanager
def reading(connection: Connection[Any], most_rows: int) -> Iterator[None]:
    """Run the block in a transaction and fail if it read a whole table, or more rows than it needs."""
    with connection.transaction():
        yield
        rows = connection.execute(
            "SELECT relname, seq_scan, coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_xact_user_tables "
            "WHERE schemaname = 'tasker' AND relname IN ('steps', 'tasks')"
        ).fetchall()
    assert {name: scans for name, scans, _ in rows if scans} == {}, "a whole table was read"
    assert {name: read for name, _, read in rows if read > most_rows} == {}, "too many rows were read"


@pytest.mark.parametrize("statistics", ["none", "fresh", "stale"])
def test_20000_steps_cost_a_claim_and_a_commit_no_table_scan(flow: Flow, statistics: str):
    worker = Worker(flow)
    with connect(flow.url, application_name="tests") as connection:
        if statistics == "stale":  # as if autovacuum had come when the tables were still empty
            prepare_stale_statistics(connection)
        elif statistics == "fresh":
            connection.execute("ANALYZE tasker.steps, tasker.tasks, tasker.template_steps")
        steps = worker.claim(40)
        check_every_function(connection, worker, steps)


def prepare_stale_statistics(connection: Connection[Any]) -> None:
    connection.execute("ANALYZE tasker.template_steps")
    connection.execute("UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE oid = 'tasker.steps'::regclass")
    connection.execute("UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE oid = 'tasker.tasks'::regclass")


def check_every_function(connection: Connection[Any], worker: Worker, steps: list[Any]) -> None:
    call: Callable[..., Any] = connection.execute
    number = worker.worker_id
    with reading(connection, most_rows=200):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)", [number])
    with reading(connection, most_rows=400):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['shop', 'cafe', 'bakery'], 10, 30000, 1000000)", [number])
    with reading(connection, most_rows=10):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['nothing'], 10, 30000, 1000000)", [number])
    for seq, (outcome, places) in enumerate([(DONE, 0), (DONE, 20), (NEVER, 20)], start=1):
        batch, steps = steps[:10], steps[10:]
        document = worker.batch(*(finish(step, outcome) for step in batch), places=places, seq=seq).decode()
        with reading(connection, most_rows=1000):
            call("SELECT tasker.commit_batch_v1(%s::jsonb)", [document])
    held = [[getattr(step.task, "task_uuid") for step in steps], [step.plan.position for step in steps]]
    with reading(connection, most_rows=400):
        call(
            "SELECT tasker.extend_leases_v1(%s, %s::uuid[], %s::smallint[], %s::bigint[], 30000, 5000)",
            [number, *held, [step.token for step in steps]],
        )
    with reading(connection, most_rows=400):
        expire_leases(connection)
    with reading(connection, most_rows=100):
        call("SELECT tasker.cancel_task_v1(%s)", [steps[0].task.task_uuid])
    with reading(connection, most_rows=400):
        call("SELECT tasker.fence_worker_v1(%s, 'test')", [number])
        settled = batch_json([], worker_id=number, seq=0, lease_ms=0, places=0).decode()
        call("SELECT tasker.settle_results_v1(%s::jsonb)", [settled])
