"""One flight followed through the system by its correlation id: its steps, its attempts, its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.example.durable_queue import DurableQueue
from tasker_actors.example.figures import Task

# As in the document that the project implements; it works on the queue as it is (SPEC 2.4).
_QUERY = """\
SELECT message->>'event_name' AS event, message->'metadata'->>'step_name' AS step,
       message->'metadata'->>'fired_at' AS fired_at
FROM pgmq.q_flights_domain_events
WHERE message->'metadata'->>'correlation_id' = '{correlation_id}'
ORDER BY message->'metadata'->>'fired_at';"""


@dataclass(frozen=True, slots=True)
class FlightTrace:
    """A task, the attempts of its steps in the order in which they finished, and its durable events in their order."""

    task: Task
    attempts: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]

    @property
    def correlation_id(self) -> str:
        """What task, attempts, events, log lines and spans of the flight have in common."""
        return str(self.task["correlation_id"])

    @property
    def trace_ids(self) -> list[str]:
        """The traces that its events belong to, by their messages' headers: one, whichever workers ran its steps."""
        return sorted({event["trace_id"] for event in self.events})


def most_delayed(tasks: Sequence[Task]) -> Task:
    """Return the task of the flight that left last after its time; there must be one that left."""
    return max(tasks, key=lambda task: task["context"]["dep_delay"] or 0)


def trace_flight(task: Task, client: SupervisorClient, queue: DurableQueue) -> FlightTrace:
    """Read what there is about a finished task."""
    steps = client.get_list(f"/v1/tasks/{task['task_uuid']}/workflow_steps")
    attempts = [{"step": step["name"], **attempt} for step in steps for attempt in _attempts(step, client)]
    trace_ids = queue.trace_ids(task["correlation_id"])
    found = client.get("/v1/events", correlation_id=task["correlation_id"])["events"]
    events = [{**event, "trace_id": trace_ids[event["event_id"]]} for event in found]
    return FlightTrace(task, sorted(attempts, key=lambda attempt: str(attempt["finished_at"])), events)


def events_query(correlation_id: str) -> str:
    """Return the SQL that shows the events of a task in psql; `correlation_id` is a UUID."""
    return _QUERY.format(correlation_id=correlation_id)


def _attempts(step: Mapping[str, Any], client: SupervisorClient) -> Sequence[Mapping[str, Any]]:
    detail = client.get(f"/v1/tasks/{step['task_uuid']}/workflow_steps/{step['step_uuid']}")
    history: Sequence[Mapping[str, Any]] = detail["attempt_history"]
    return history
