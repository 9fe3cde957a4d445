"""Random workflows with random outcomes and accidents, run by the real functions and compared with a model of them.

Three workers claim, commit, commit twice because a reply was lost, give back, let leases expire, forget leases, die
with this or that step running, and meet cancels, in any order. After each of these the stored state must be the
model's; at the end everything has run, each step has one result, and the queue holds exactly the events of those.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.dag_model import EVENTS, MAX_ATTEMPTS, Model, ModelTask
from support.flow import Flow, Worker, own_database
from support.leases import AGAIN, DONE, NEVER, event, finish, returned
from support.servers import DatabaseServer

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import expire_leases
from tasker_actors.steps.lease import LeasedStep

OUTCOMES = {"done": DONE, "again": AGAIN, "never": NEVER}
DECLARED = [event(name, "broadcast" if name == "on.end" else "durable", when) for name, when in EVENTS.items()]
FATES = [("done",) * 3, ("never",) * 3, ("again",) * 3, ("again", "done", "done"), ("again", "never", "never")]
"""What the three attempts of a step come to."""

_numbers = itertools.count()

few = st.integers(0, 3)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """A DAG of three to eight steps: each but the first two may need any of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(3, 8)))]
    return {
        name: sorted(draw(st.sets(st.sampled_from(names[:place]), max_size=3))) if place > 1 else []
        for place, name in enumerate(names)
    }


def is_busy(machine: DagExecution) -> bool:
    """Whether any worker has something in hand: accidents of idle workers are dull."""
    return any(machine.held) or any(machine.model.leases(number) for number in range(3))


class DagExecution(RuleBasedStateMachine):
    """The database and the model, side by side."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.workers = [Worker(flow) for _ in range(3)]
        self.held: list[dict[int, LeasedStep]] = [{} for _ in self.workers]
        self.model = Model([])

    @initialize(graph=graphs(), count=st.integers(1, 3), data=st.data())
    def create(self, graph: dict[str, list[str]], count: int, data: st.DataObject) -> None:
        """Create tasks of one template, and decide what every attempt will come to."""
        registered = self.flow.register(
            graph,
            name=f"work{next(_numbers)}",
            publishes_events=DECLARED,
            retry={"backoff": "none", "max_attempts": MAX_ATTEMPTS},
        )
        self.model = Model(
            ModelTask.of(row.task_uuid, graph, {name: data.draw(st.sampled_from(FATES), label=name) for name in graph})
            for row in self.flow.create(registered, count)
        )

    @rule(number=st.integers(0, 2), limit=st.integers(1, 8))
    def claim(self, number: int, limit: int) -> None:
        """A worker claims what the model says can run, as much of it as it asked for."""
        claimable = self.model.claimable()
        steps = self.workers[number].claim(limit)
        assert len(steps) == min(limit, len(claimable))
        for step in steps:
            assert (step.task.task_uuid, step.plan.name) in claimable
            model = self.model.find(step.task.task_uuid, step.plan.name)
            assert (step.attempt, step.suspect) == (model.attempts + 1, model.suspect)
            self._take(number, step)

    @precondition(is_busy)
    @rule(whose=few, count=st.integers(1, 8), places=few, is_reply_lost=st.booleans())
    def commit(self, whose: int, count: int, places: int, is_reply_lost: bool) -> None:
        """A worker commits what it holds, whether the leases still stand or not; maybe it has to ask twice."""
        number = self._busy(whose)
        held = [self.held[number].pop(token) for token in list(self.held[number])[:count]]
        worker = self.workers[number]
        results = [finish(step, OUTCOMES[self._outcome(step)]) for step in held]
        batch = worker.batch(*results, places=places)
        reply = worker.committer.commit(batch)
        continued = [worker.plans.lease(row, self._step_of(row, held).task) for row in reply.steps]
        if is_reply_lost:
            assert worker.committer.commit(batch).won == reply.won
        worker.seq += 1
        assert reply.won == {step.token for step in held if self._holds(number, step)}
        before = {uuid: task.status for uuid, task in self.model.tasks.items()}
        for step in held:
            if step.token in reply.won:
                task = self.model.tasks[step.task.task_uuid]
                task.finish(task.steps[step.plan.name], self._outcome(step))
        released = [(task, step) for task in self.model.tasks.values() if not task.cancelled for step in task.release()]
        assert (len(continued), reply.released) == (min(places, len(released)), max(0, len(released) - places))
        assert {(one.task.task_uuid, one.plan.name) for one in continued} <= {
            (task.task_uuid, step.name) for task, step in released
        }
        for step in continued:
            self._take(number, step, is_known=not is_reply_lost)
        after = {uuid: task.status for uuid, task in self.model.tasks.items()}
        assert reply.finished_tasks == {
            uuid: status for uuid, status in after.items() if status in ("complete", "error") and status != before[uuid]
        }

    @precondition(is_busy)
    @rule(whose=few, count=st.integers(1, 3))
    def give_back(self, whose: int, count: int) -> None:
        """A worker returns steps that it has not begun."""
        number = self._busy(whose)
        held = [self.held[number].pop(token) for token in list(self.held[number])[:count]]
        reply = self.workers[number].commit(*map(returned, held))
        assert reply.won == {step.token for step in held if self._holds(number, step)}
        for step in held:
            if step.token in reply.won:
                self.model.find(step.task.task_uuid, step.plan.name).give_back()

    @precondition(is_busy)
    @rule(whose=few, count=st.integers(1, 3), taker=st.sampled_from([0, 1, 2, None]))
    def expire(self, whose: int, count: int, taker: int | None) -> None:
        """Some leases of a worker were not extended in time; maybe somebody takes the steps before it notices."""
        number = self._busy(whose)
        leases = dict(list(self.model.leases(number).items())[:count])
        self._age(list(leases), "31 s")
        with session(self.flow.pool) as connection:
            assert expire_leases(connection, grace_ms=0) == len(leases)
        for _, step in leases.values():
            step.give_back(suspect=True)
        if taker is not None:
            self.claim(taker, limit=100)

    @precondition(is_busy)
    @rule(whose=few)
    def extend(self, whose: int) -> None:
        """A worker says what it holds, hears what it has lost, and what it does not know of goes back."""
        number = self._busy(whose)
        leases = self.model.leases(number)
        self._age(list(leases), "6 s")
        lost = self.workers[number].claimer.extend(list(self.held[number].values()))
        assert lost is not None
        assert set(lost) == set(self.held[number]) - set(leases)
        for token, (_, step) in leases.items():
            if token not in self.held[number]:
                step.give_back()
        for token in lost:
            del self.held[number][token]

    @precondition(is_busy)
    @rule(whose=few, running=st.sampled_from([1, 2, 0, None]), publishes_late=st.booleans())
    def kill(self, whose: int, running: int | None, publishes_late: bool) -> None:
        """A worker dies while it runs some of what it holds, is settled, and a new one takes its slot."""
        number = self._busy(whose)
        held, dead = self.held[number], self.workers[number]
        tokens = None if running is None else set(list(held)[:running])
        self.flow.settlement().settle(dead.worker_id, running=tokens, reason="SIGKILL")
        self.model.settle(number, tokens)
        if publishes_late and held:
            with pytest.raises(WorkerFencedError):
                dead.commit(*map(finish, held.values()))
        dead.close()
        self.workers[number], self.held[number] = Worker(self.flow), {}
        for task in self.model.tasks.values():
            assert not task.cancelled or task.release() == []

    @rule(whose=few)
    def cancel(self, whose: int) -> None:
        """A client cancels a task."""
        task = list(self.model.tasks.values())[whose % len(self.model.tasks)]
        was_open = task.status in ("pending", "in_progress")
        running = {step.token for step in task.steps.values() if step.token}
        cancellation = self.flow.cancel(task.task_uuid)
        task.cancel()
        assert (cancellation.cancelled, {lease.token for lease in cancellation.leases}) == (
            was_open,
            running if was_open else set(),
        )

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        """Compare every step and every task."""
        stored = self.flow.rows(
            "SELECT task_uuid::text, name, state, attempts, blocked, suspect, token FROM tasker.steps "
            "WHERE task_uuid = ANY (%s)",
            list(self.model.tasks),
        )
        assert {tuple(row.values()) for row in stored} == {
            (task.task_uuid, step.name, step.state, step.attempts, step.blocked, step.suspect, step.token)
            for task, step in self.model.steps()
        }
        for uuid, task in self.model.tasks.items():
            row = self.flow.task(uuid)
            open_steps = 0 if task.cancelled else sum(step.is_open for step in task.steps.values())
            assert (row["status"], row["open_steps"], row["failed_steps"]) == (task.status, open_steps, task.failed)
            assert (row["completed_at"] is None) == (task.status in ("pending", "in_progress"))

    def teardown(self) -> None:
        """Run everything to its end and look at what is left."""
        try:
            self._run_to_the_end()
            self.what_is_stored_is_what_the_model_says()
            for uuid, task in self.model.tasks.items():
                self._check_results(uuid, task)
        finally:
            self.flow.close()

    def _run_to_the_end(self) -> None:
        while is_busy(self) or self.model.claimable():
            for number in range(3):
                self.claim(number, limit=100)
            while is_busy(self):
                self.commit(0, count=100, places=0, is_reply_lost=False)  # late results come first
                if is_busy(self):
                    self.extend(0)

    def _check_results(self, uuid: str, task: ModelTask) -> None:
        assert task.status in ("complete", "error", "cancelled")
        names = {row["position"]: name for name, row in self.flow.steps(uuid).items()}
        attempts = [(names[position], attempt, outcome) for position, attempt, outcome in self.flow.attempts(uuid)]
        assert Counter(attempts) == Counter(task.history)
        results = Counter(name for name, _, outcome in attempts if outcome in ("complete", "error"))
        assert set(results.values()) <= {1}, "a step has more than one result"
        published = self.flow.rows(
            "SELECT message FROM pgmq.q_shop_domain_events WHERE message->'metadata'->>'task_uuid' = %s", uuid
        )
        messages: list[dict[str, Any]] = [row["message"] for row in published]
        assert Counter(
            (one["metadata"]["step_name"], one["execution"]["attempt"], one["event_name"]) for one in messages
        ) == Counter(task.events)
        assert len({one["event_id"] for one in messages}) == len(messages)

    def _busy(self, whose: int) -> int:
        """Choose a worker with something in hand."""
        busy = [number for number in range(3) if self.held[number] or self.model.leases(number)]
        return busy[whose % len(busy)]

    def _take(self, number: int, step: LeasedStep, *, is_known: bool = True) -> None:
        self.model.find(step.task.task_uuid, step.plan.name).lease(step.token, number)
        if is_known:
            self.held[number][step.token] = step

    def _holds(self, number: int, step: LeasedStep) -> bool:
        model = self.model.find(step.task.task_uuid, step.plan.name)
        return (model.token, model.worker) == (step.token, number)

    def _outcome(self, step: LeasedStep) -> str:
        return self.model.find(step.task.task_uuid, step.plan.name).outcomes[step.attempt - 1]

    def _step_of(self, row: Any, held: list[LeasedStep]) -> LeasedStep:
        return next(step for step in held if step.task.task_uuid == row["task_uuid"])

    def _age(self, tokens: list[int], by: str) -> None:
        self.flow.rows(
            "UPDATE tasker.steps SET run_at = run_at - %s::interval WHERE token = ANY (%s) RETURNING 1", by, tokens
        )


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


def test_whatever_happens_every_task_ends_with_one_result_a_step_and_exactly_its_events(database: Flow):
    run_state_machine_as_test(
        lambda: DagExecution(database),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],  # a shorter example would take minutes of round trips to find
            suppress_health_check=[HealthCheck.too_slow],  # each step is a few round trips to a server
        ),
    )
