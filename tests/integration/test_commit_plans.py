"""The functions of the commit path read by key, whatever the planner thinks of the tables.

DESIGN 3 rule 12, HAZARDS 32. The server's own counters say what was read, statements inside of functions included.
`EXPERIMENT_SCALE=50` makes 20,000 steps a million; what may be read stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import Connection
from support.backlog import add_backlog
from support.dynamic import chosen, divided, slice_done
from support.flow import Flow, Worker
from support.leases import DONE, NEVER, event, finish
from support.reading import reading
from support.scale import SCALE

from tasker_actors.delivery.batch import batch_json
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.workers import expire_leases
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.workflow.registered import RegisteredTemplate

TASKS = 1000 * SCALE
GRAPH: dict[str, list[str]] = {
    **{f"root{number}": [] for number in range(10)},
    **{f"leaf{number}": [f"root{number}", f"root{(number + 1) % 10}"] for number in range(10)},
}
BRANCHES: dict[str, list[str]] = {
    "route": [],
    "left": ["route"],
    "right": ["route"],
    "analyze": [],
    "work": ["analyze"],
    "end": ["left", "right", "work"],
}
BRANCH_TYPES = {
    "route": {"type": "decision"},
    "analyze": {"type": "batchable"},
    "work": {"type": "batch_worker", "batch_config": {"worker_template": "work", "failure_strategy": "fail_fast"}},
    "end": {"type": "deferred_convergence"},
}


@pytest.fixture
def flow(any_database_url: str) -> Iterator[Flow]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as pool:
        flow = Flow(any_database_url, pool)
        yield flow
        flow.close()


STATISTICS = ["none", "fresh", "of an emptied table", "of an emptied table that kept its pages"]


def leave_statistics_of_an_emptied_table(flow: Flow, registered: RegisteredTemplate, truncate: bool) -> None:
    """Let the planner believe in a handful of rows: the tables were full, pruned, vacuumed, and are full again.

    A vacuum that cannot have the table for itself at its end leaves the empty pages, and the planner guesses one row.
    """
    add_backlog(flow, registered, TASKS)
    with connect(flow.url, application_name="tests") as connection:
        (last,) = connection.execute("SELECT max(task_uuid::text) FROM tasker.tasks").fetchone() or ("",)
        connection.execute("DELETE FROM tasker.steps WHERE task_uuid <> %s", [last])
        connection.execute("DELETE FROM tasker.tasks WHERE task_uuid <> %s", [last])
        connection.execute(f"VACUUM (ANALYZE, TRUNCATE {truncate}) tasker.steps, tasker.tasks, tasker.template_steps")


@pytest.mark.parametrize("statistics", STATISTICS)
def test_20000_steps_cost_a_claim_and_a_commit_no_table_scan(flow: Flow, statistics: str):
    registered = flow.register(GRAPH, publishes_events=[event()])
    if statistics.startswith("of an emptied table"):
        leave_statistics_of_an_emptied_table(flow, registered, truncate=statistics.endswith("table"))
    add_backlog(flow, registered, TASKS)
    with connect(flow.url, application_name="tests") as connection:
        if statistics == "fresh":
            connection.execute("ANALYZE tasker.steps, tasker.tasks, tasker.template_steps")
        check_every_function(connection, Worker(flow))


def check_every_function(connection: Connection[Any], worker: Worker) -> None:
    call: Callable[..., Any] = connection.execute
    number = worker.worker_id
    with reading(connection, most_rows=200):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)", [number])
    with reading(connection, most_rows=200):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['shop', 'cafe', 'bakery'], 10, 30000, 1000000)", [number])
    with reading(connection, most_rows=10):
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['nothing'], 10, 30000, 1000000)", [number])
    steps = worker.claim(40)
    call("UPDATE tasker.steps SET run_at = run_at + interval '1 day' WHERE state = 'enqueued'")
    with reading(connection, most_rows=10):  # nothing is due, and 10,000 steps are on their way
        call("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)", [number])
    for seq, (outcome, places) in enumerate([(DONE, 0), (DONE, 20), (NEVER, 20)], start=1):
        batch, steps = steps[:10], steps[10:]
        document = worker.batch(*(finish(step, outcome) for step in batch), places=places, seq=seq).decode()
        with reading(connection, most_rows=1000):
            call("SELECT tasker.commit_batch_v1(%s::jsonb)", [document])
    held = [[step.task.task_uuid for step in steps], [step.plan.position for step in steps]]
    with reading(connection, most_rows=200):
        call(
            "SELECT tasker.extend_leases_v1(%s, %s::uuid[], %s::smallint[], %s::bigint[], 30000, 5000)",
            [number, *held, [step.token for step in steps]],
        )
    with reading(connection, most_rows=10):
        call(
            "SELECT tasker.begin_alone_v1(%s, %s, %s::smallint, %s)",
            [number, steps[0].task.task_uuid, steps[0].plan.position, steps[0].token],
        )
    with reading(connection, most_rows=200):
        expire_leases(connection, grace_ms=0)
    with reading(connection, most_rows=100):
        call("SELECT tasker.cancel_task_v1(%s)", [steps[0].task.task_uuid])
    with reading(connection, most_rows=200):
        call("SELECT tasker.fence_worker_v2(%s, 'test')", [number])
        settled = batch_json([], worker_id=number, seq=0, lease_ms=0, places=0).decode()
        call("SELECT tasker.settle_results_v1(%s::jsonb)", [settled])


@pytest.mark.parametrize("statistics", STATISTICS)
def test_what_decisions_and_batches_cost_grows_with_their_task_and_not_with_the_table(flow: Flow, statistics: str):
    registered = flow.register(BRANCHES, steps=BRANCH_TYPES)
    if statistics.startswith("of an emptied table"):
        leave_statistics_of_an_emptied_table(flow, registered, truncate=statistics.endswith("table"))
    add_backlog(flow, registered, TASKS)
    with connect(flow.url, application_name="tests") as connection:
        if statistics == "fresh":
            connection.execute("ANALYZE tasker.steps, tasker.tasks, tasker.template_steps")
        check_dynamic_steps(connection, Worker(flow))


def check_dynamic_steps(connection: Connection[Any], worker: Worker) -> None:
    """Ten tasks of a dozen steps: each statement may look at all of these, more than once, and at nothing else."""

    def commit(*finished: FinishedStep, places: int = 0) -> None:
        document = worker.batch(*finished, places=places).decode()
        with reading(connection, most_rows=2000):
            connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [document])
        worker.seq += 1

    connection.execute(
        "UPDATE tasker.steps SET run_at = run_at - interval '1 day' WHERE state = 'enqueued' AND task_uuid IN ("
        " SELECT task_uuid FROM tasker.tasks ORDER BY task_uuid DESC LIMIT 10)"
    )
    steps = worker.claim(20)
    routes = [step for step in steps if step.name == "route"]
    divides = [step for step in steps if step.name == "analyze"]
    assert (len(routes), len(divides)) == (10, 10)
    commit(*(finish(step, chosen("left")) for step in routes))
    commit(*(finish(step, divided(5)) for step in divides))
    connection.execute("UPDATE tasker.steps SET run_at = run_at - interval '2 days' WHERE definition IS NOT NULL")
    with reading(connection, most_rows=1000):
        connection.execute("SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)", [worker.worker_id])
    instances = worker.claim(10)
    assert {step.plan.name for step in instances} == {"work"}
    commit(*(finish(step, slice_done(1)) for step in instances[:3]), places=3)
    commit(*(finish(step, NEVER) for step in instances[3:6]))
    commit(*(finish(step) for step in instances[6:]))


@pytest.mark.parametrize("statistics", ["none", "fresh"])
def test_50000_steps_that_wait_for_a_place_are_in_nobodys_way(flow: Flow, statistics: str):
    limits = [{"scope": "step", "max_concurrent": 5}, {"scope": "step", "rate": 100, "period_seconds": 3600}]
    add_backlog(flow, flow.register({"only": []}, name="limited", limits=limits), 50_000 * SCALE)
    worker = Worker(flow)
    held = worker.claim_all()
    plain = flow.register({"only": []})
    claim = "SELECT tasker.claim_steps_v1(%s, ARRAY['shop'], 10, 30000, 1000000)"
    with connect(flow.url, application_name="tests") as connection:
        if statistics == "fresh":
            connection.execute("ANALYZE tasker.steps, tasker.tasks")
        with reading(connection, most_rows=10):  # nothing can run
            connection.execute(claim, [worker.worker_id])
        flow.create(plain, count=10)
        with reading(connection, most_rows=100):
            connection.execute(claim, [worker.worker_id])
        document = worker.batch(*(finish(step) for step in held[:3])).decode()
        with reading(connection, most_rows=100):
            connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [document])
        with reading(connection, most_rows=300):  # three places are free
            connection.execute(claim, [worker.worker_id])
    states = "SELECT name, count(*) AS n FROM tasker.steps WHERE state = 'in_progress' GROUP BY 1"
    assert flow.rows(states) == [{"name": "only", "n": 15}]


def test_no_function_that_turns_plans_off_is_compiled_for_what_they_seem_to_cost(flow: Flow):
    """Up to PostgreSQL 17 a plan type that is off costs 10^10, and from 10^5 on a server compiles: at each call.

    The embedded server has compilation off, most others have it on.
    """
    with connect(flow.url, application_name="tests") as connection:
        rows = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'tasker'::regnamespace"
            " AND proconfig::text LIKE '%enable_%' AND NOT 'jit=off' = ANY (proconfig)"
        ).fetchall()
    assert rows == []


def test_only_the_first_and_the_last_commit_of_a_task_write_to_its_indexes(flow: Flow):
    """What lies between stays within the row's page (HOT), whatever a list of tasks is filtered by."""
    flow.create(flow.register({"one": [], "two": ["one"], "three": ["two"], "four": ["three"]}), tags=("blue",))
    worker = Worker(flow)
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relid = 'tasker.tasks'::regclass"
    seen = []
    with connect(flow.url, application_name="tests") as connection:
        for seq in range(1, 5):
            document = worker.batch(*(finish(step) for step in worker.claim()), seq=seq).decode()
            with connection.transaction():
                (before,) = connection.execute(updates).fetchall()
                connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [document])
                (after,) = connection.execute(updates).fetchall()
            seen.append((after[0] - before[0], after[1] - before[1]))

    assert seen == [(1, 0), (1, 1), (1, 1), (1, 0)]
