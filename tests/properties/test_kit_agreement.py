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
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.leases import event
from support.servers import DatabaseServer

from tasker_actors import PermanentError, RetryableError, StepContext
from tasker_actors.messages import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.testing import Kit, run_template
from tasker_actors.testing.attempt import AttemptRunner
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.scripted import handler_from

DECLARED = [
    event("on.success", "durable", "success"),
    event("on.failure", "broadcast", "failure"),
    event("on.end", "durable", "permanent_failure"),
    event("on.fast", "fast", "always"),
    event("on.refused", "durable", "success", schema={"required": ["what no result has"]}),
]
FATES = [("done",), ("again", "done"), ("again", "again", "again"), ("never",), ("again", "never")]

_numbers = itertools.count()


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """A DAG of two to seven steps: each may need any of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(2, 7)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:place]), max_size=3, unique=True)) if place else []
        for place, name in enumerate(names)
    }


@dataclass
class Handlers:
    """Handlers that come to what was drawn, and remember what they saw."""

    fates: Mapping[str, Sequence[str]]
    seen: dict[tuple[str, int], Any] = field(default_factory=dict)

    def __call__(self, context: StepContext) -> dict[str, Any]:
        """Come to the next of a step's fates."""
        attempt = context.retry_count + 1
        self.seen[context.step_name, attempt] = (
            context.dependency_results,
            context.is_last_retry(),
            context.input_data,
        )
        match self.fates[context.step_name][attempt - 1]:
            case "again":
                raise RetryableError("not now", retry_after=0)
            case "never":
                raise PermanentError("no", metadata={"why": context.step_name})
            case _:
                return {"step": context.step_name, "of": sorted(context.dependency_results)}


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@settings(
    max_examples=examples(25),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(graph=graphs(), data=st.data())
def test_a_task_comes_to_the_same_in_the_kit_and_in_the_database(database: Flow, graph: Any, data: st.DataObject):
    fates = {name: data.draw(st.sampled_from(FATES), label=name) for name in graph}
    registered = database.register(graph, name=f"kit{next(_numbers)}", publishes_events=DECLARED)
    in_database, in_kit = Handlers(fates), Handlers(fates)

    task_uuid = run_in_database(database, registered, in_database)
    task = run_template(registered.template, {"given": 1}, replace=dict.fromkeys(graph, in_kit))

    rows = database.steps(task_uuid)
    assert {name: (row["state"], row["attempts"], row["blocked"], row["result"]) for name, row in rows.items()} == {
        name: (step.state, step.attempts, step.blocked, step.result if step.state == "complete" else None)
        for name, step in task.steps.items()
    }
    stored = database.task(task_uuid)
    assert stored["status"] == task.status
    assert stored["failed_steps"] == task.summary.failed_steps
    assert in_database.seen == in_kit.seen
    assert queued(database, task_uuid) == sorted(map(content, (each.event.to_dict() for each in task.durable_queue)))
    letters = sorted(content(each.document["event"]) for each in task.dead_letters)
    assert queued(database, task_uuid, letters=True) == letters


def run_in_database(flow: Flow, registered: Any, handlers: Handlers) -> str:
    """Run a task by claims and commits, its handlers by the kit's own way."""
    (row,) = flow.create(registered, context=b'{"given": 1}')
    worker, kit = Worker(flow), Kit()
    with HandlerRunner(kit.clock) as loop:
        runner = AttemptRunner(kit, loop)

        def finished(step: LeasedStep) -> FinishedStep:
            handler = handler_from(handlers, step.plan.handler_name)
            return runner.run(replace(step, plan=replace(step.plan, handler=handler, unavailable=None))).finished

        while steps := worker.claim():
            worker.commit(*map(finished, steps))
    worker.close()
    flow.workers.remove(worker)
    return str(row.task_uuid)


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
