"""Holds what is stored of tasks, their attempts, events and counts against the model of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from support.dag_model import REFUSED, Model, ModelTask, Published
from support.flow import Flow

from tasker_actors.workflow.states import UNDECIDED


def compare(flow: Flow, model: Model, worker_ids: Collection[int]) -> None:
    """Compare every step, task, attempt, event, dead letter and count."""
    _compare_tasks(flow, model)
    _compare_events(flow, model)
    counted = flow.rows(
        "SELECT worker_id, event_name, published, failed FROM tasker.worker_counts WHERE worker_id = ANY (%s)",
        list(worker_ids),
    )
    counts: Counter[tuple[int, str, str]] = Counter()
    for row in counted:  # one for each namespace and mode
        for how in ("published", "failed"):
            counts[row["worker_id"], row["event_name"], how] += row[how]
    assert +counts == model.counts, (counts, model.counts)


def _compare_tasks(flow: Flow, model: Model) -> None:
    stored = flow.rows(
        "SELECT task_uuid::text, name, state, attempts, blocked, suspect, token FROM tasker.steps "
        "WHERE task_uuid = ANY (%s)",
        list(model.tasks),
    )
    undecided = ((task, step, UNDECIDED) for task in model.tasks.values() for step in task.undecided.values())
    steps = [*((task, step, step.state) for task, step in model.steps()), *undecided]
    assert {tuple(row.values()) for row in stored} == {
        (task.task_uuid, step.name, state, step.attempts, step.blocked, step.suspect, step.token)
        for task, step, state in steps
    }
    tasks = flow.rows(
        "SELECT task_uuid::text, status, open_steps, failed_steps, completed_at FROM tasker.tasks "
        "WHERE task_uuid = ANY (%s)",
        list(model.tasks),
    )
    assert len(tasks) == len(model.tasks)
    for row in tasks:
        task = model.tasks[row["task_uuid"]]
        found = (row["status"], row["open_steps"], row["failed_steps"])
        assert found == (task.status, task.open_steps, task.failed_steps)
        assert (row["completed_at"] is None) == (task.status in ("pending", "in_progress"))
    attempts = flow.rows(
        "SELECT task_uuid::text, name, attempt, outcome FROM tasker.step_attempts "
        "JOIN tasker.steps USING (task_uuid, position) WHERE task_uuid = ANY (%s)",
        list(model.tasks),
    )
    assert Counter(tuple(row.values()) for row in attempts) == Counter(
        (uuid, *attempt) for uuid, task in model.tasks.items() for attempt in task.history
    )


def _compare_events(flow: Flow, model: Model) -> None:
    for namespace in {task.namespace for task in model.tasks.values()}:
        tasks = [task for task in model.tasks.values() if task.namespace == namespace]
        for letters in (False, True):
            messages = [row["message"] for row in queued(flow, namespace, list(model.tasks), letters=letters)]
            events = [message["event"] if letters else message for message in messages]
            assert Counter((one["metadata"]["task_uuid"], *_published(one)) for one in events) == Counter(
                (task.task_uuid, *one) for task in tasks for one in (task.letters if letters else task.events)
            )
            assert len({one["event_id"] for one in events}) == len(events)


def check_order(flow: Flow, task: ModelTask) -> None:
    """Events of an attempt come after those of attempts before it and of all steps that it needed."""
    seen: dict[str, set[int]] = {}
    for row in queued(flow, task.namespace, [task.task_uuid]):
        step, attempt, name = _published(row["message"])
        if name == REFUSED:
            continue  # it was redriven, whenever that was
        assert attempt >= max(seen.get(step, {0}))
        itself = task.steps[step].definition or step
        later = {other.name for other in task.steps.values() if itself in other.needs}
        assert later.isdisjoint(seen), f"an event of {step} comes after one of {later & set(seen)}"
        seen.setdefault(step, set()).add(attempt)


def queued(flow: Flow, namespace: str, task_uuids: list[str], *, letters: bool = False) -> list[dict[str, Any]]:
    """Read what a namespace's queue of events, or of dead letters, has of these tasks, in order."""
    table, event_path = ("_dlq", "->'event'") if letters else ("", "")
    return flow.rows(
        f"SELECT message FROM pgmq.q_{namespace}_domain_events{table} "  # noqa: S608 - names of this test
        f"WHERE message{event_path}->'metadata'->>'task_uuid' = ANY (%s) ORDER BY msg_id",
        task_uuids,
    )


def _published(message: dict[str, Any]) -> Published:
    return message["metadata"]["step_name"], message["execution"]["attempt"], message["event_name"]
