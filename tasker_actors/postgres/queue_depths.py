"""How much waits in each queue, and for how long: cheap whatever the size, for gauges that are scraped often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from tasker_actors.postgres.dead_letters import DEAD_LETTERS_SUFFIX
from tasker_actors.postgres.events import EVENTS_SUFFIX, find_queues, queue_table
from tasker_actors.postgres.session import named_statements, statement_for

STEPS_QUEUE = "steps"
"""The name under which a namespace's claimable steps are shown: the steps table is the work queue."""

COUNTED_EXACTLY = 10_000

_QUEUES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages in one queue and the age of the oldest in seconds; `exact` is False for an estimate above 10,000."""

    namespace: str
    queue: str
    depth: int
    exact: bool
    oldest_age_s: float


def read_queue_depths(connection: Connection[TupleRow]) -> list[QueueDepth]:
    """Return the depth of every namespace's events, dead letters and claimable steps.

    A few ms for a few queues, some hundred for 1,000 namespaces: keep the answer for some seconds. Reads only, in one
    transaction; raises psycopg's errors.
    """
    with connection.transaction():
        connection.execute(named_statements()["only_by_index"])
        return _read(connection)


def _read(connection: Connection[TupleRow]) -> list[QueueDepth]:
    events = [(queue, queue.removesuffix(EVENTS_SUFFIX)) for queue in find_queues(connection, EVENTS_SUFFIX, None)]
    letters = [
        (queue, queue.removesuffix(DEAD_LETTERS_SUFFIX)) for queue in find_queues(connection, DEAD_LETTERS_SUFFIX, None)
    ]
    queues = events + letters
    depths = [
        depth
        for start in range(0, len(queues), _QUEUES_AT_ONCE)
        for depth in _queue_depths(connection, queues[start : start + _QUEUES_AT_ONCE])
    ]
    return depths + _step_depths(connection, [namespace for _, namespace in events])


def _queue_depths(connection: Connection[TupleRow], queues: Sequence[tuple[str, str]]) -> list[QueueDepth]:
    parts = [
        statement_for(
            "queue_depth",
            queue=sql.Literal(queue),
            namespace=sql.Literal(namespace),
            table=queue_table(queue),
            regclass=sql.Literal(queue_table(queue).as_string(connection)),
        )
        for queue, namespace in queues
    ]
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts), prepare=False).fetchall()
    return [_depth(namespace, queue, counted, estimate, age) for queue, namespace, counted, estimate, age in rows]


def _step_depths(connection: Connection[TupleRow], namespaces: list[str]) -> list[QueueDepth]:
    rows = connection.execute(named_statements()["step_backlog"], [namespaces]).fetchall()
    return [
        _depth(
            namespace,
            STEPS_QUEUE,
            counted,
            _estimated_steps(connection, namespace) if counted > COUNTED_EXACTLY else None,
            age,
        )
        for namespace, counted, age in rows
    ]


def _estimated_steps(connection: Connection[TupleRow], namespace: str) -> float:
    row = connection.execute(named_statements()["estimated_step_backlog"], [namespace]).fetchone()
    assert row is not None  # noqa: S101 - EXPLAIN always answers
    return float(row[0][0]["Plan"]["Plan Rows"])


def _depth(namespace: str, queue: str, counted: int, estimate: float | None, age: Decimal | None) -> QueueDepth:
    exact = counted <= COUNTED_EXACTLY
    return QueueDepth(
        namespace=namespace,
        queue=queue,
        depth=counted if exact else max(counted, round(estimate or 0.0)),
        exact=exact,
        # Clocks of sessions differ by microseconds, and a gauge of age must not go below zero.
        oldest_age_s=max(0.0, float(age)) if age is not None else 0.0,
    )
