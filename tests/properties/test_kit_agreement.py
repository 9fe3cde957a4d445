"""What users test their templates with says what the database does with them: the same task, run by both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.dynamic import chosen, divided, slice_done
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.leases import event
from support.servers import DatabaseServer

from tasker_actors import PermanentError, RetryableError, StepContext, StepHandlerResult
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.testing import Kit, TaskRun, run_template
from tasker_actors.testing.attempt import AttemptRunner
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.plans import template_from
from tasker_actors.testing.scripted import handler_from

DECLARED = [
    event("on.success", "durable", "success"),
    event("on.failure", "broadcast", "failure"),
    event("on.end", "durable", "permanent_failure"),
    event("on.fast", "fast", "always"),
    event("on.refused", "durable", "success", schema={"required": ["what no result has"]}),
]
FATES = [("done",), ("done",), ("again", "done"), ("again", "again", "again"), ("never",), ("again", "never")]
STRATEGIES = ["continue_on_failure", "fail_fast", "isolate"]

_numbers = itertools.count()


@dataclass
class Drawn:
    """A template's graph and the special keys of its steps, and what their attempts come to."""

    graph: dict[str, list[str]] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    fates: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    chosen: dict[str, list[str]] = field(default_factory=dict)

    def kind(self, name: str) -> str:
        """The type of a step."""
        return str(self.steps.get(name, {}).get("type", "standard"))

    def above(self, names: Sequence[str]) -> set[str]:
        """All steps above these, and these."""
        return set(names).union(*(self.above(self.graph[name]) for name in names))


@st.composite
def workflows(draw: st.DrawFn) -> Drawn:
    """Three to eight steps, each needing some of those before it: decisions, convergences and batches among them."""
    drawn = Drawn()
    for number in range(draw(st.integers(3, 6))):
        before = list(drawn.graph)
        name, needs = f"s{number}", draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        kind = draw(st.sampled_from(["standard", "standard", "decision", "deferred_convergence", "batchable"]))
        dynamic = {drawn.kind(other) for other in drawn.above(needs)} & {"decision", "batch_worker"}
        if kind == "deferred_convergence" and not dynamic:
            kind = "standard"
        drawn.graph[name], drawn.steps[name] = needs, {"type": kind}
        if kind == "batchable":
            config = {"worker_template": f"{name}w", "failure_strategy": draw(st.sampled_from(STRATEGIES))}
            drawn.graph[f"{name}w"] = [name]
            drawn.steps[f"{name}w"] = {"type": "batch_worker", "batch_config": config}
            drawn.counts[name] = draw(st.integers(0, 3))
    for name in drawn.graph:
        drawn.fates[name] = draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
        drawn.slices[name] = draw(st.sampled_from([0, 0, 0, 2]))
        if drawn.kind(name) == "decision":
            below = [other for other, needs in drawn.graph.items() if name in needs]
            choices = [other for other in below if drawn.kind(other) != "deferred_convergence"]
            drawn.chosen[name] = draw(st.lists(st.sampled_from(choices), unique=True)) if choices else []
    return drawn


@dataclass
class Handlers:
    """Handlers that come to what was drawn, and remember what they saw."""

    drawn: Drawn
    seen: dict[tuple[str, int, Any], Any] = field(default_factory=dict)

    def __call__(self, context: StepContext) -> Any:
        """Come to the next of a step's fates."""
        name, attempt = context.step_name, context.retry_count + 1
        definition, _, number = name.partition("_")
        cursor = 0 if context.checkpoint is None else context.checkpoint["cursor"]
        self.seen[name, attempt, cursor] = (
            context.dependency_results,
            context.is_last_retry(),
            context.input_data,
            context.step_inputs,
        )
        if cursor < self.drawn.slices[definition]:
            done = slice_done(cursor + 1, items=cursor, results={"at": cursor})
            return StepHandlerResult.success(done.result, done.metadata)
        fates = self.drawn.fates[definition]
        match fates[int(number or 0) % len(fates)][attempt - 1]:
            case "again":
                raise RetryableError("not now", retry_after=0)
            case "never":
                raise PermanentError("no", metadata={"why": name})
        match self.drawn.kind(definition):
            case "decision":
                return chosen(*self.drawn.chosen[name]).result
            case "batchable":
                return divided(self.drawn.counts[name], f"{name}w").result
        return {"step": name, "of": sorted(context.dependency_results)}


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@settings(
    max_examples=examples(40),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(drawn=workflows())
def test_a_task_comes_to_the_same_in_the_kit_and_in_the_database(database: Flow, drawn: Drawn):
    name = f"kit{next(_numbers)}"
    registered = database.register(drawn.graph, name=name, steps=drawn.steps, publishes_events=DECLARED)
    template_from(registered.template.definition(), "test")  # what was drawn is a template that may be
    in_database, in_kit = Handlers(drawn), Handlers(drawn)

    task = run_template(registered.template, {"given": 1}, replace=dict.fromkeys(drawn.graph, in_kit))
    task_uuid = run_in_database(database, registered, in_database, task)

    rows = {name: row for name, row in database.steps(task_uuid).items() if row["state"] != "undecided"}
    assert {
        name: (row["state"], row["attempts"], row["blocked"], row["result"], row["inputs"] or {}, cursor_of(row))
        for name, row in rows.items()
    } == {
        name: (
            step.state,
            step.attempts,
            step.blocked,
            step.result if step.state == "complete" else None,
            step.inputs,
            cursor_of({"checkpoint": step.checkpoint}),
        )
        for name, step in task.steps.items()
    }
    stored = database.task(task_uuid)
    progress = task._execution.progress
    assert (stored["status"], stored["failed_steps"], stored["open_steps"]) == (task.status, progress.failed_steps, 0)
    assert in_database.seen == in_kit.seen
    assert queued(database, task_uuid) == sorted(map(content, (each.event.to_dict() for each in task.durable_queue)))
    letters = sorted(content(each.document["event"]) for each in task.dead_letters)
    assert queued(database, task_uuid, letters=True) == letters


def run_in_database(flow: Flow, registered: Any, handlers: Handlers, task: TaskRun) -> str:
    """Run a task by claims and commits in the order in which the kit ran it, its handlers by the kit's own way."""
    (row,) = flow.create(registered, context=b'{"given": 1}')
    worker, kit = Worker(flow), Kit()
    held: dict[str, LeasedStep] = {}
    with HandlerRunner(kit.clock) as loop:
        runner = AttemptRunner(kit, loop)
        for attempt in task.attempts:
            held.update((step.name, step) for step in worker.claim())
            assert attempt.step_name in held, f"{attempt.step_name} cannot run now in the database"
            step = held.pop(attempt.step_name)
            handler = handler_from(handlers, step.plan.handler_name)
            plan = replace(step.plan, handler=handler, unavailable=None)
            reply = worker.commit(runner.run(replace(step, plan=plan)).finished)
            assert step.token in reply.won
    assert worker.claim() == []
    # What is held and not run was cancelled because a batch failed fast.
    assert {flow.states(row.task_uuid)[name] for name in held} <= {"cancelled"}
    worker.close()
    flow.workers.remove(worker)
    return str(row.task_uuid)


def cursor_of(row: Mapping[str, Any]) -> Any:
    """Return a checkpoint without its times."""
    checkpoint = row["checkpoint"]
    if checkpoint is None:
        return None
    history = [each["cursor"] for each in checkpoint["history"]]
    return checkpoint["cursor"], checkpoint["items_processed"], checkpoint["accumulated_results"], history


def queued(flow: Flow, task_uuid: str, *, letters: bool = False) -> list[tuple[str, int, str, str]]:
    """Return what a queue has of a task, whatever the order: that of branches is nobody's promise."""
    messages = [row["message"] for row in flow.queue(f"shop_domain_events{'_dlq' if letters else ''}")]
    events = [message["event"] if letters else message for message in messages]
    return sorted(content(each) for each in events if each["metadata"]["task_uuid"] == task_uuid)


def content(message: Mapping[str, Any]) -> tuple[str, int, str, str]:
    """Leave out of an event what differs from run to run: ids and times."""
    payload = {key: value for key, value in (message.get("payload") or {}).items() if key != "failed_at"}
    execution = {key: value for key, value in message["execution"].items() if key != "duration_ms"}
    return (
        message["metadata"]["step_name"],
        message["execution"]["attempt"],
        message["event_name"],
        orjson.dumps([payload, execution, message["metadata"]["fired_by"]], option=orjson.OPT_SORT_KEYS).decode(),
    )
