"""Random workflows with random outcomes and accidents, run by the real functions and compared with a model of them.

Three workers claim, commit, lose replies, commit twice because of that, start tasks and wait for them, give back, let
leases expire, forget leases, die with this or that step running, act after their death, and meet cancels, redriven dead
letters and passing hours, in any order. After each of these everything that is stored must be the model's; at the end
everything has run, each step has one result, and the queues hold exactly the events of those, none of them before one
of a step that it needed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
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
from support.dag_comparison import check_order, compare, queued
from support.dag_model import EVENTS, REFUSED, Model, ModelStep
from support.dynamic import chosen, divided, slice_done
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.leases import AGAIN, DONE, MIB, NEVER, event, finish, publication, returned
from support.servers import DatabaseServer
from support.sub_workflows import started

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.postgres.dead_letters import RedriveRequest, redrive
from tasker_actors.postgres.session import session
from tasker_actors.postgres.sub_workflows import cancel_abandoned
from tasker_actors.postgres.workers import expire_leases
from tasker_actors.steps.claimer import Beginning
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.task_reference import TaskReference
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.outcome import StepOutcome

HOUR_MS = 3_600_000
NAMESPACES = ("shop", "mall")
SERVED = (("shop",), ("shop", "mall"), ("mall", "shop"))
"""Namespaces of the three workers: a claim from one alone goes another way through the code."""
OUTCOMES = {"done": DONE, "again": AGAIN, "never": NEVER}
STRATEGIES = ["continue_on_failure", "fail_fast", "isolate"]
NO_PAYLOAD_FITS = {"schema": {"required": ["what no payload has"]}}
DECLARED = [
    event(name, mode, condition, **(NO_PAYLOAD_FITS if name == REFUSED else {}))
    for name, (mode, condition) in EVENTS.items()
]
FATES = [("done",) * 3, ("never",) * 3, ("again",) * 3, ("again", "done", "done"), ("again", "never", "never")]
"""What the three attempts of a step come to."""
MOSTLY_DONE = [FATES[0]] * 5 + FATES

_numbers = itertools.count()

few = st.integers(0, 3)


class Drawing:
    """A template in the making: blocks of steps, each below some of those before it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.steps: dict[str, ModelStep] = {}

    def plain(self) -> None:
        """A step that needs nothing, or some of those before it."""
        self._add("standard", self._some(least=0))

    def decision(self) -> None:
        """A decision with branches, some of them decisions themselves, and a convergence of these and of others."""
        name = self._add("decision", self._some(least=0))
        branches = [
            self._add(self._draw(st.sampled_from(["standard"] * 3 + ["decision"])), [name, *self._others(name)])
            for _ in range(self._draw(st.integers(1, 3)))
        ]
        self._converge(branches)

    def batch(self) -> None:
        """A step that divides work, the worker that is made of as many instances, and a convergence."""
        needs = self._some(least=0)
        name = self._add("batchable", needs)
        self.steps[name].choice = self._draw(st.integers(0, 3))
        # A worker depends on one batchable step only.
        above = [need for need in needs if self.steps[need].kind != "batchable" and self._draw(st.booleans())]
        worker = self.steps[self._add("batch_worker", [name, *above])]
        worker.strategy = self._draw(st.sampled_from(STRATEGIES))
        worker.fates = self._draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
        self._converge([worker.name])

    def finished(self) -> dict[str, ModelStep]:
        """Let every decision choose some of the steps that are its to choose."""
        for name, step in self.steps.items():
            if step.kind == "decision":
                below = (one for one in self.steps.values() if name in one.needs)
                choices = [one.name for one in below if one.kind != "deferred_convergence"]
                step.choice = sorted(self._draw(st.sets(st.sampled_from(choices)))) if choices else []
        return self.steps

    def _converge(self, branches: list[str]) -> None:
        self._add("deferred_convergence", [*branches, *self._others(*branches)])

    def _add(self, kind: str, needs: list[str]) -> str:
        name = f"s{len(self.steps)}"
        step = ModelStep(name, tuple(needs), outcomes=self._draw(st.sampled_from(MOSTLY_DONE)), kind=kind)
        step.slices = self._draw(st.sampled_from([0, 0, 0, 1, 2]))
        step.children = self._draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
        step.child_fates = self._draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=2))
        self.steps[name] = step
        return name

    def _some(self, least: int) -> list[str]:
        known = list(self.steps)
        return sorted(self._draw(st.sets(st.sampled_from(known), min_size=least, max_size=2))) if known else []

    def _others(self, *besides: str) -> list[str]:
        return [name for name in self._some(least=0) if name not in besides] if self._draw(st.booleans()) else []


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, ModelStep]:
    """The steps of a template, in two to four blocks, with all that they will do."""
    drawing = Drawing(draw)
    for block in draw(st.lists(st.sampled_from(["plain", "decision", "batch"]), min_size=2, max_size=4)):
        getattr(drawing, block)()
    return drawing.finished()


def is_busy(machine: DagExecution) -> bool:
    """Whether any worker has something in hand: accidents of idle workers are dull."""
    return any(machine.held) or any(machine.model.leases(number) for number in range(3))


def has_room(machine: DagExecution) -> bool:
    """Whether a run can take more tasks and stay short."""
    return sum(not task.is_child for task in machine.model.tasks.values()) < 4


def has_letters(machine: DagExecution) -> bool:
    """Whether there are dead letters."""
    return any(task.letters for task in machine.model.tasks.values())


class DagExecution(RuleBasedStateMachine):
    """The database and the model, side by side."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.workers = [Worker(flow, namespaces=served) for served in SERVED]
        self.held: list[dict[int, LeasedStep]] = [{} for _ in self.workers]
        self.worker_ids = {worker.worker_id for worker in self.workers}
        self.model = Model()
        self.children = {
            namespace: flow.register(
                {"only": []},
                name=f"child{next(_numbers)}",
                namespace=namespace,
                publishes_events=DECLARED,
                retry={"backoff": "none", "max_attempts": 2},
            )
            for namespace in NAMESPACES
        }

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """There is something to do from the start."""
        self.create(data.draw(workflows()), 2, 0, 3, 0, data)

    @precondition(has_room)
    @rule(
        steps=workflows(),
        count=st.integers(1, 2),
        priority=st.sampled_from([0, 0, 1, 3]),
        max_attempts=st.integers(1, 3),
        hours=st.integers(0, 2),
        data=st.data(),
    )
    def create(
        self, steps: dict[str, ModelStep], count: int, priority: int, max_attempts: int, hours: int, data: st.DataObject
    ) -> None:
        """Create tasks of a new template, of which is known what every attempt will come to."""
        namespace = data.draw(st.sampled_from(NAMESPACES))
        registered = self.flow.register(
            {name: list(step.needs) for name, step in steps.items()},
            name=f"work{next(_numbers)}",
            namespace=namespace,
            steps={
                name: {
                    "type": step.kind,
                    "batch_config": {"worker_template": name, "failure_strategy": step.strategy}
                    if step.kind == "batch_worker"
                    else None,
                }
                for name, step in steps.items()
            },
            publishes_events=DECLARED,
            retry={
                "backoff": "linear" if hours else "none",
                "backoff_base_ms": hours * HOUR_MS,
                "max_backoff_ms": 24 * HOUR_MS,
                "max_attempts": max_attempts,
            },
        )
        for _ in range(count):
            (row,) = self.flow.create(registered, priority=priority)
            self.model.create(
                row.task_uuid,
                {name: replace(step) for name, step in steps.items()},
                namespace=namespace,
                priority=priority,
                max_attempts=max_attempts,
                hours_between_attempts=hours,
            )

    @rule(number=st.integers(0, 2), limit=st.integers(1, 8), is_reply_lost=st.booleans())
    def claim(self, number: int, limit: int, is_reply_lost: bool) -> None:
        """A worker claims what the model says can run, the first of it, as much as it asked for."""
        self.model.tick()
        self.model.let_retries_in(SERVED[number])
        claimable = self.model.claimable(SERVED[number])
        claimed = self.workers[number].claimer.claim(limit, MIB)
        assert claimed is not None
        assert claimed.more or len(claimable) <= len(claimed.steps), "nobody would look for the rest"
        found = [self._model_of(step) for step in claimed.steps]
        assert [step.place for step in found] == [step.place for step in claimable[:limit]]
        assert all(step in claimable for step in found)
        for step, model in zip(claimed.steps, found, strict=True):
            assert (step.attempt, step.suspect) == (model.attempts + 1, model.suspect)
            self._check_inputs(step, model)
            self._take(number, step, is_known=not is_reply_lost)
        if not found and (later := self.model.waiting(SERVED[number])):
            hours = later[0].place[0] - self.model.now[0]
            assert claimed.next_run_in_ms is not None
            assert (hours - 1) * HOUR_MS < claimed.next_run_in_ms <= hours * HOUR_MS

    @precondition(is_busy)
    @rule(whose=few, count=st.integers(1, 8), places=few, is_reply_lost=st.booleans(), publishes=st.booleans())
    def commit(self, whose: int, count: int, places: int, is_reply_lost: bool, publishes: bool) -> None:
        """A worker commits what it holds, whether the leases still stand or not; maybe it has to ask twice."""
        number = self._busy(whose)
        held = [self.held[number].pop(token) for token in list(self.held[number])[:count]]
        worker = self.workers[number]
        now = self.model.tick()
        waits = {step.token: self._start(step) for step in held if self._outcome(step) == "wait"}
        results = [waits[step.token][0] if step.token in waits else finish(step, self._result(step)) for step in held]
        if publishes:
            self.model.count(worker.worker_id, [("ops.noted", "published")])
        batch = worker.batch(*results, *([publication({"at": now})] if publishes else ()), places=places)
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
                self.model.finish(worker.worker_id, task, task.steps[step.name], self._outcome(step))
        for step in held:
            self.model.tasks[step.task.task_uuid].settle()
        created = self.model.take_created()
        for step in held:
            if step.token in reply.won and step.token in waits:
                created += self._begin_to_wait(step, [made.task_uuid for made in waits[step.token][1]])
        created += any(self.model.tasks[uuid].is_child for uuid in reply.finished_tasks)  # somebody may wait for it
        released = [(task, step) for task in self.model.tasks.values() for step in task.let_run()]
        assert len(continued) == min(places, len(released))
        assert reply.released == max(0, len(released) - places) + created
        assert {(one.task.task_uuid, one.name) for one in continued} <= {
            (task.task_uuid, step.name) for task, step in released
        }
        for step in continued:
            self._take(number, step, is_known=not is_reply_lost)
        after = {uuid: self.model.tasks[uuid].status for uuid in before}
        assert reply.finished_tasks == {
            uuid: status for uuid, status in after.items() if status in ("complete", "error") and status != before[uuid]
        }
        self._follow_children()

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
                self.model.tasks[step.task.task_uuid].give_back(self._model_of(step))

    @precondition(is_busy)
    @rule(whose=few, count=st.integers(1, 3), taker=st.sampled_from([0, 1, 2, None]))
    def expire(self, whose: int, count: int, taker: int | None) -> None:
        """Some leases of a worker were not extended in time; maybe somebody takes the steps before it notices."""
        number = self._busy(whose)
        leases = dict(list(self.model.leases(number).items())[:count])
        self._age(list(leases), "31 s")
        with session(self.flow.pool) as connection:
            assert expire_leases(connection, grace_ms=0) == len(leases)
        for task, step in leases.values():
            task.give_back(step, suspect=True)
        if taker is not None:
            self.claim(taker, limit=100, is_reply_lost=False)

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
        for token, (task, step) in leases.items():
            if token not in self.held[number]:
                task.give_back(step)
        for token in lost:
            del self.held[number][token]

    @precondition(is_busy)
    @rule(whose=few)
    def begin_alone(self, whose: int) -> None:
        """A worker notes that the first suspect it holds begins now, with nothing beside it."""
        number = self._busy(whose)
        suspects = [step for step in self.held[number].values() if step.suspect]
        if suspects:
            has_lease = self._holds(number, suspects[0])
            said = self.workers[number].claimer.begin_alone(suspects[0])
            assert said is (Beginning.BEGUN if has_lease else Beginning.LOST)
            if has_lease:
                self._model_of(suspects[0]).begun = suspects[0].token

    @precondition(is_busy)
    @rule(whose=few, running=st.sampled_from([1, 2, 0, None]), acts_late=st.booleans())
    def kill(self, whose: int, running: int | None, acts_late: bool) -> None:
        """A worker dies while it runs some of what it holds, is settled, and a new one takes its slot."""
        number = self._busy(whose)
        held, dead = self.held[number], self.workers[number]
        tokens = None if running is None else set(list(held)[:running])
        self.model.tick()
        settled = self.flow.settlement().settle(dead.worker_id, running=tokens, reason="SIGKILL")
        self.model.settle(number, dead.worker_id, tokens)
        self._follow_children()
        counted: Counter[tuple[str, str]] = Counter()
        for each in settled.committed:
            counted.update({(each.event_name, "published"): each.published, (each.event_name, "failed"): each.failed})
        own = {(name, how): n for (worker, name, how), n in self.model.counts.items() if worker == dead.worker_id}
        assert +counted == own
        if acts_late:
            with pytest.raises(WorkerFencedError):
                dead.commit(*map(finish, held.values()))
            with pytest.raises(WorkerFencedError):
                dead.claim()
            assert set(dead.claimer.extend(list(held.values())) or ()) == set(held)
        dead.close()
        self.workers[number], self.held[number] = Worker(self.flow, namespaces=SERVED[number]), {}
        self.worker_ids.add(self.workers[number].worker_id)

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
        self._follow_children()

    @precondition(has_letters)
    @rule(whose=few)
    def redrive(self, whose: int) -> None:
        """Somebody publishes the dead letters of a task after all, with their ids."""
        having = [task for task in self.model.tasks.values() if task.letters]
        task = having[whose % len(having)]
        ids = [
            row["message"]["event"]["event_id"]
            for row in queued(self.flow, task.namespace, [task.task_uuid], letters=True)
        ]
        done = redrive(self.flow.pool, RedriveRequest(task.namespace, None, ids), new_trace())
        assert done is not None
        assert sorted(event_id for _, event_id in done.redriven) == sorted(ids)
        task.events += task.letters
        task.letters.clear()

    @rule()
    def an_hour_passes(self) -> None:
        """Retries become due. Leases are extended meanwhile: what comes of those that are not is told in `expire`."""
        self.flow.rows(
            "UPDATE tasker.steps SET run_at = run_at - interval '1 hour' "
            "WHERE task_uuid = ANY (%s) AND state <> 'in_progress' RETURNING 1",
            list(self.model.tasks),
        )
        self.flow.rows(
            "UPDATE tasker.tasks SET created_at = created_at - interval '1 hour' "
            "WHERE task_uuid = ANY (%s) RETURNING 1",
            list(self.model.tasks),
        )
        self.model.pass_hour()

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        """Compare every step, task, attempt, event, dead letter and count."""
        compare(self.flow, self.model, self.worker_ids)

    def teardown(self) -> None:
        """Run everything to its end and look at what is left."""
        try:
            self._run_to_the_end()
            self.what_is_stored_is_what_the_model_says()
            for task in self.model.tasks.values():
                assert task.status in ("complete", "error", "cancelled")
                results = Counter(name for name, _, outcome in task.history if outcome in ("complete", "error"))
                assert set(results.values()) <= {1}, "a step has more than one result"
                check_order(self.flow, task)
        finally:
            self.flow.close()

    def _run_to_the_end(self) -> None:
        for _ in range(100):
            if not (is_busy(self) or self.model.waiting(NAMESPACES)):
                return
            for number in range(3):
                self.claim(number, limit=100, is_reply_lost=False)
            while is_busy(self):
                self.commit(0, count=100, places=0, is_reply_lost=False, publishes=False)  # late results come first
                if is_busy(self):
                    self.extend(0)
            if not self.model.claimable(NAMESPACES):
                self.an_hour_passes()
        raise AssertionError("something is left that never ends")

    def _start(self, step: LeasedStep) -> tuple[FinishedStep, list[TaskReference]]:
        """A handler starts tasks and waits for them."""
        return started(step, self.children[step.plan.namespace], self._model_of(step).children)

    def _begin_to_wait(self, step: LeasedStep, task_uuids: list[str]) -> int:
        """A step waits for new tasks; tells how many."""
        parent, model = self.model.tasks[step.task.task_uuid], self._model_of(step)
        model.awaited = [
            self.model.create(
                uuid,
                {"only": ModelStep("only", outcomes=model.child_fates[number % len(model.child_fates)])},
                namespace=parent.namespace,
                priority=parent.priority,
                max_attempts=2,
                hours_between_attempts=0,
                is_child=True,
            )
            for number, uuid in enumerate(task_uuids)
        ]
        return len(task_uuids)

    def _follow_children(self) -> None:
        """What waited for ended tasks goes on, and nobody is left of whom nobody waits."""
        list(cancel_abandoned(self.flow.pool))
        self.model.follow_children()

    def _busy(self, whose: int) -> int:
        """Choose a worker with something in hand."""
        busy = [number for number in range(3) if self.held[number] or self.model.leases(number)]
        return busy[whose % len(busy)]

    def _take(self, number: int, step: LeasedStep, *, is_known: bool) -> None:
        self._model_of(step).lease(step.token, number)
        if is_known:
            self.held[number][step.token] = step

    def _model_of(self, step: LeasedStep) -> ModelStep:
        return self.model.find(step.task.task_uuid, step.name)

    def _holds(self, number: int, step: LeasedStep) -> bool:
        model = self._model_of(step)
        return (model.token, model.worker) == (step.token, number)

    def _outcome(self, step: LeasedStep) -> str:
        return self._model_of(step).next_outcome(step.attempt)

    def _result(self, step: LeasedStep) -> StepOutcome:
        """What the step's handler gives."""
        model, outcome = self._model_of(step), self._outcome(step)
        match (outcome, model.kind):
            case ("slice", _):
                return slice_done(model.sliced + 1, 1, {"of": model.name})
            case ("done", "decision"):
                return chosen(*model.choice)
            case ("done", "batchable"):
                (worker,) = step.plan.dynamic.batches.workers if step.plan.dynamic.batches else ()
                return divided(model.choice, worker)
            case _:
                return OUTCOMES[outcome]

    def _check_inputs(self, step: LeasedStep, model: ModelStep) -> None:
        """A worker gets the results that its step depends on, what it is one of a batch for, and its checkpoint."""
        assert set(step.dependency_results) == self.model.tasks[step.task.task_uuid].results_for(model)
        assert (step.checkpoint or {}).get("cursor") == (model.sliced or None)
        assert [child["status"] for child in step.children] == model.told
        if model.definition:
            assert model.name == f"{model.definition}_{step.inputs['cursor']['batch_id']}"
        elif model.kind == "batch_worker":
            assert step.inputs["is_no_op"]
        else:
            assert step.inputs == {}

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
            max_examples=examples(20),
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],  # a shorter example would take minutes of round trips to find
            suppress_health_check=[HealthCheck.too_slow],  # each step is a few round trips to a server
        ),
    )
