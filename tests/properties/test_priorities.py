"""One point of priority is one hour of age: a small model says what follows, and the database agrees with it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.servers import DatabaseServer

from tasker_actors.workflow.task_requests import MAX_PRIORITY

priorities = st.integers(0, MAX_PRIORITY)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task of the model; `created` counts hours."""

    created: float
    priority: int

    @property
    def place(self) -> float:
        return self.created - self.priority


def waited(backlog: int, urgency: int, each: int) -> float:
    """How many hours the last of a backlog waits where one step an hour runs and `each` urgent ones come an hour."""
    queue = [(place, number) for number, place in enumerate([0.0] * backlog)]
    numbers = itertools.count(backlog)
    hour = 0
    while queue:
        for _ in range(each):
            heapq.heappush(queue, (Waiting(hour, urgency).place, next(numbers)))
        _, number = heapq.heappop(queue)
        hour += 1
        if number == backlog - 1:
            return hour
    raise AssertionError("the last of the backlog never ran")


@given(backlog=st.integers(1, 50), urgency=st.integers(0, 60), each=st.integers(1, 3))
def test_a_stream_of_urgent_tasks_that_takes_all_there_is_starves_no_backlog(backlog, urgency, each):
    """What may go before the last of the backlog: all of it, and what came before the urgency was used up."""
    assert waited(backlog, urgency, each) <= backlog + each * (urgency + 1)


@given(st.tuples(priorities, priorities), st.floats(0, 2000), st.floats(0, 2000))
def test_no_task_goes_before_one_that_is_older_by_more_than_their_priorities_differ(both, first, second):
    one, other = Waiting(first, both[0]), Waiting(second, both[1])
    if second - first > max(0, other.priority - one.priority):
        assert one.place < other.place


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@pytest.fixture
def flow(database: Flow) -> Iterator[Flow]:
    yield from database.emptied()


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tasks=st.lists(st.tuples(st.integers(0, 3000), priorities), min_size=1, max_size=12),
    at_once=st.integers(1, 12),
)
def test_the_database_claims_in_the_order_of_the_model(flow: Flow, tasks: list[tuple[int, int]], at_once: int):
    flow.rows("DELETE FROM tasker.tasks RETURNING 1")
    flow.rows("DELETE FROM tasker.steps RETURNING 1")
    registered = flow.register({"only": []})
    model: dict[str, tuple[float, int]] = {}
    for number, (age, priority) in enumerate(tasks):
        (row,) = flow.create(registered, priority=priority)
        model[row.task_uuid] = (Waiting(-age, priority).place, number)
        flow.rows(
            "UPDATE tasker.steps SET run_at = run_at - make_interval(hours => %s) WHERE task_uuid = %s RETURNING 1",
            age,
            row.task_uuid,
        )
    worker = Worker(flow)

    order: list[str] = []
    while steps := worker.claim(at_once):
        order += [step.task.task_uuid for step in steps]

    assert order == sorted(model, key=model.__getitem__)
    worker.close()
