"""The spans of what the supervisor itself brings to an end: attempts of lost workers, tasks that no attempt ended.

Imported only where tracing is on, as `delivery.tracer` is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasker_actors.delivery.commit_spans import CommitSpans, CommitTimes, FinishedTask
from tasker_actors.delivery.traced import TracedAttempt, TracedTask, traced_events
from tasker_actors.telemetry.span_ids import task_span
from tasker_actors.telemetry.spans import SpanError
from tasker_actors.telemetry.trace_context import parse_traceparent

if TYPE_CHECKING:
    from tasker_actors.postgres.step_control import Resolution
    from tasker_actors.postgres.task_dead_letters import Entry
    from tasker_actors.postgres.tasks import Cancellation
    from tasker_actors.supervision.settled_lease import SettledLease


def settled_spans(settled: Sequence[SettledLease], finished: Mapping[str, str]) -> CommitSpans:
    """Trace attempts whose worker was lost, and the tasks that they finished; when the attempts began nobody knows."""
    now = time.monotonic()
    attempts: list[TracedAttempt] = []
    tasks: dict[str, FinishedTask] = {}
    for one in settled:
        if one.error is None or not one.trace.sampled:
            continue
        fault = SpanError(one.error["error_type"], one.error["message"])
        task = TracedTask(
            one.lease["task_uuid"],
            one.plan.task_type,
            one.plan.namespace,
            one.lease["correlation_id"],
            one.task_trace,
            one.parent_span_id,
        )
        attempts.append(
            TracedAttempt(
                task=task,
                trace=one.trace,
                step_uuid=one.lease["step_uuid"],
                step_name=one.lease["name"],
                handler_name=one.plan.handler_name,
                attempt=one.lease["attempt"],
                slot=one.lease["slot"],
                state=one.document["outcome"],
                began_at=now,
                finished_at=now,
                handled_s=None,
                fault=fault,
                events=tuple(traced_events(one.derived)),
            )
        )
        if task.task_uuid in finished:
            of_task = SpanError(fault.kind, f"step {one.lease['name']}: {fault.message}")
            tasks[task.task_uuid] = FinishedTask(task, finished[task.task_uuid], of_task)
    return CommitSpans(_at_once(now), attempts, finished=tuple(tasks.values()))


def ended_spans(ended: Cancellation | Resolution | Entry, status: str) -> CommitSpans | None:
    """End the span of a task that no attempt ended; None if its trace is not sampled."""
    given = parse_traceparent(ended.traceparent, ended.tracestate)
    if given is None or not given.sampled:
        return None
    trace, parent_span_id = task_span(ended.task_uuid, given)
    task = TracedTask(ended.task_uuid, ended.name, ended.namespace, ended.correlation_id, trace, parent_span_id)
    return CommitSpans(_at_once(time.monotonic()), (), finished=(FinishedTask(task, status),))


def _at_once(now: float) -> CommitTimes:
    return CommitTimes(now, now, now, now, now)
