"""Whatever people do to steps of whatever graph beside workers, what is stored is what a small model says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.leases import AGAIN, DONE, NEVER, finish
from support.servers import DatabaseServer

from tasker_actors.postgres.step_control import Decision, resolve_step
from tasker_actors.workflow.step_action import StepAction

OUTCOMES = {"done": DONE, "never": NEVER, "again": AGAIN}
_numbers = itertools.count(1)


@dataclass(slots=True)
class Step:
    """One step of the model."""

    needs: Sequence[str]
    state: str = "pending"
    attempts: int = 0


@dataclass(slots=True)
class Task:
    """The model: nothing is kept that can be said from the states of the steps."""

    steps: dict[str, Step]
    history: list[str] = field(default_factory=list)

    def is_blocked(self, name: str) -> bool:
        """A failure is somewhere before it."""
        return any(self.steps[need].state == "error" or self.is_blocked(need) for need in self.steps[name].needs)

    def is_open(self, name: str) -> bool:
        """It can still run."""
        state = self.steps[name].state
        return state in ("enqueued", "in_progress", "waiting_for_retry") or (
            state == "pending" and not self.is_blocked(name)
        )

    def release(self) -> None:
        """Let run what waits for nothing any more."""
        done = ("complete", "resolved_manually")
        for step in self.steps.values():
            if step.state == "pending" and all(self.steps[need].state in done for need in step.needs):
                step.state = "enqueued"

    @property
    def status(self) -> str:
        """The state that the task is stored with."""
        if any(self.is_open(name) for name in self.steps):
            return "in_progress"
        return "error" if any(step.state == "error" for step in self.steps.values()) else "complete"

    def act(self, name: str, action: StepAction) -> bool:
        """Do something to a step; False where it has to be refused."""
        step = self.steps[name]
        able = ("error", "waiting_for_retry", *(() if action is StepAction.RESET_FOR_RETRY else ("enqueued",)))
        if step.state not in able:
            return False
        match action:
            case StepAction.RESET_FOR_RETRY:
                step.state, step.attempts = "enqueued", 0
            case StepAction.RESOLVE_MANUALLY:
                step.state = "resolved_manually"
            case StepAction.COMPLETE_MANUALLY:
                step.state = "complete"
        self.release()
        return True

    def end(self, name: str, outcome: str) -> None:
        """An attempt ended."""
        step = self.steps[name]
        step.attempts += 1
        if outcome == "again" and step.attempts < 2:
            step.state = "waiting_for_retry"
        else:
            step.state = "complete" if outcome == "done" else "error"
        self.release()


@st.composite
def graphs(draw: st.DrawFn) -> Mapping[str, Sequence[str]]:
    """Up to seven steps, each needing some of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 7)))]
    return {
        name: sorted(draw(st.sets(st.sampled_from(names[:index]), max_size=3))) if index else []
        for index, name in enumerate(names)
    }


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@settings(max_examples=examples(20), deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(graph=graphs(), data=st.data())
def test_what_people_do_to_steps_is_what_the_model_says(
    database: Flow, graph: Mapping[str, Sequence[str]], data: st.DataObject
) -> None:
    retry = {"max_attempts": 2, "backoff": "linear", "backoff_base_ms": 3_600_000}
    registered = database.register(graph, name=f"work{next(_numbers)}", retry=retry)
    (row,) = database.create(registered)
    model = Task({name: Step(needs) for name, needs in graph.items()})
    model.release()
    worker = Worker(database)
    try:
        for _ in range(data.draw(st.integers(6, 14))):
            if data.draw(st.booleans()):
                for step in worker.claim(limit=2):
                    outcome = data.draw(st.sampled_from(["done", "never", "never", "again"]))
                    worker.commit(finish(step, OUTCOMES[outcome]))
                    model.end(step.name, outcome)
            else:
                _act(database, row.task_uuid, model, data)
            _compare(database, row.task_uuid, model)
    finally:
        database.rows("DELETE FROM tasker.steps WHERE task_uuid = %s RETURNING 1", row.task_uuid)
        worker.close()
        database.workers.remove(worker)


def _act(database: Flow, task_uuid: str, model: Task, data: st.DataObject) -> None:
    troubled = [name for name, step in model.steps.items() if step.state in ("error", "waiting_for_retry")]
    name = data.draw(st.sampled_from(troubled or sorted(model.steps)) | st.sampled_from(sorted(model.steps)))
    action = data.draw(st.sampled_from(list(StepAction)))
    stored = database.steps(task_uuid)[name]
    result = orjson.dumps({"by": "hand"}) if action is StepAction.COMPLETE_MANUALLY else None
    decision = Decision(action, "ann", "why", result=result, result_bytes=len(result or b""))

    done = resolve_step(database.pool, task_uuid, str(stored["step_uuid"]), decision)

    assert done is not None
    before = model.status
    assert (done.refused is None) == model.act(name, action), (name, action, done)
    if done.refused is None:
        ended = model.status if model.status != "in_progress" and action is not StepAction.RESET_FOR_RETRY else None
        assert done.finished == ended, (before, done)


def _compare(database: Flow, task_uuid: str, model: Task) -> None:
    stored = database.steps(task_uuid)
    assert {name: (row["state"], row["attempts"], row["blocked"]) for name, row in stored.items()} == {
        name: (step.state, step.attempts, step.state == "pending" and model.is_blocked(name))
        for name, step in model.steps.items()
    }
    task = database.task(task_uuid)
    status = "in_progress" if task["status"] == "pending" else task["status"]
    failed = sum(step.state == "error" for step in model.steps.values())
    assert (status, task["open_steps"], task["failed_steps"]) == (
        model.status, sum(map(model.is_open, model.steps)), failed,
    )  # fmt: skip
    assert (task["completed_at"] is None) == (model.status == "in_progress")
