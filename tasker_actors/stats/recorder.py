"""What a worker counts, and where: the one place between the flow and its memory block (SPEC 3, 4.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasker_actors.delivery.routing import label_set
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.stats import layout
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.declared import WORKER_DROPS, declared_label_sets
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.trace_context import SAMPLED
from tasker_actors.workflow.checkpoint import YIELDED
from tasker_actors.workflow.outcome import StepFailure

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import FastEvent, OutgoingEvent, RefusedEvent
    from tasker_actors.messages import CommitItem, StepsCommitted
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep, StepPlan
    from tasker_actors.telemetry.trace_context import TraceContext

_SUCCESS = "success"
_FAILURE = "failure"
_ROUTER_CELL = {DeliveryMode.DURABLE: layout.DURABLE, DeliveryMode.BROADCAST: layout.BROADCAST}


class WorkerRecorder:
    """Counts after the fact: steps and events when their transaction is known to be over, deliveries when handed over.

    `claimed` and `claim_failed` are called by StepSource's thread, `dispatched` by the bus's, all others by the
    router's: the cells of the router and bus lanes have one writer each.
    """

    def __init__(self, block: BlockWriter, namespaces: Sequence[str]) -> None:
        """`namespaces` are those that the worker claims for."""
        self._block = block
        self._namespaces = namespaces
        for labels in WORKER_DROPS:
            block.declare(metrics.DROPS, labels)

    def declare(self, plans: Sequence[StepPlan]) -> None:
        """Let the label sets of a template's steps and events exist, at 0, before anything happens."""
        for metric, labels in declared_label_sets(plans):
            if metric is not metrics.TASK_REQUESTS:
                self._block.declare(metric, labels)

    def claimed(self, steps: Sequence[LeasedStep], duration_ms: float | None) -> None:
        """Count leases: of a claim that took `duration_ms`, or of a continuation (None).

        The claim is observed once in each namespace that it took steps of.
        """
        for (namespace, name), count in Counter((step.plan.namespace, step.plan.name) for step in steps).items():
            self._block.counter(metrics.STEPS_CLAIMED, (namespace, name)).add(count)
        if duration_ms is not None:
            for namespace in {step.plan.namespace for step in steps}:
                self._block.histogram(metrics.STEP_CLAIM_DURATION, (namespace, _SUCCESS)).observe(duration_ms)

    def claim_failed(self, duration_ms: float) -> None:
        """Count a claim that the database did not answer, once in each namespace that it was for."""
        for namespace in self._namespaces:
            self._block.histogram(metrics.STEP_CLAIM_DURATION, (namespace, _FAILURE)).observe(duration_ms)

    def committed(self, item: CommitItem, now: float) -> None:
        """Count one entry that was stored: its step, its durable events and its dead letters."""
        source = item.finished or item.publication
        if source is None:
            return
        if item.finished is not None:
            for task in item.finished.started:
                labels = (task.reference.namespace, task.reference.name)
                self._block.counter(metrics.TASK_REQUESTS, labels).add()
            if item.finished.state != YIELDED:
                self._step(item.finished, now)
        trace = _sampled(source.trace)
        since = source.finished_at
        for event in source.derived.events:
            if event.delivery_mode.is_durable:
                self._block.router[_ROUTER_CELL[event.delivery_mode]] += 1
                self._block.counter(metrics.EVENTS_PUBLISHED, label_set(event)).add(1, trace)
                self._published_after(event, _SUCCESS, (now - since) * 1000, trace)
        for refused in source.derived.refused:
            self._block.router[layout.UNPUBLISHED] += 1
            self._block.counter(metrics.EVENTS_FAILED, label_set(refused)).add(1, trace)
            self._block.counter(metrics.EVENT_REFUSALS, (refused.namespace, refused.code)).add(1, trace)
            self._published_after(refused, _FAILURE, (now - since) * 1000, trace)

    def dropped(self, buffer: str, count: int, reason: str) -> None:
        """Count what found no room in a buffer."""
        self._block.counter(metrics.DROPS, (buffer, reason)).add(count)

    def spans_dropped(self, count: int, reason: str) -> None:
        """Count spans that were lost before the collector had them; from any thread."""
        self._block.counter(metrics.SPANS_DROPPED, ()).add(count)
        self.dropped("spans", count, reason)

    def log_records_dropped(self, count: int, reason: str) -> None:
        """Count log records that were lost before the collector had them; from any thread."""
        self._block.counter(metrics.LOG_RECORDS_DROPPED, ()).add(count)
        self.dropped("log_records", count, reason)

    def tasks_finished(self, committed: StepsCommitted) -> None:
        """Count the tasks that a commit finished; a failed one under the failure that ended it."""
        if not committed.finished_tasks:
            return
        last = {item.task_uuid: item.finished for item in committed.won if item.finished is not None}
        for task_uuid, status in committed.finished_tasks.items():
            finished = last.get(task_uuid)
            if finished is None:
                continue
            plan = finished.step.plan
            labels = (plan.namespace, plan.task_type)
            trace = _sampled(finished.trace)
            if status == "complete":
                self._block.counter(metrics.TASK_COMPLETIONS, labels).add(1, trace)
            else:
                outcome = finished.outcome
                error_type = outcome.error_type if isinstance(outcome, StepFailure) else "step_failed"
                self._block.counter(metrics.TASK_FAILURES, (*labels, error_type)).add(1, trace)

    def handed_over(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus took; broadcast ones were counted at their commit."""
        for event, since, trace in events:
            if event.delivery_mode is DeliveryMode.FAST:
                self._block.router[layout.FAST] += 1
                sampled = _sampled(trace)
                self._block.counter(metrics.EVENTS_PUBLISHED, label_set(event)).add(1, sampled)
                self._published_after(event, _SUCCESS, (now - since) * 1000, sampled)

    def bus_refused(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus did not take: a fast one is lost, a broadcast one half."""
        for event, since, trace in events:
            if event.delivery_mode is DeliveryMode.BROADCAST:
                self._block.router[layout.BROADCAST_REFUSED] += 1
                continue
            self._block.router[layout.FAST_REFUSED] += 1
            sampled = _sampled(trace)
            self._block.counter(metrics.EVENTS_REFUSED_BY_BUS, label_set(event)).add(1, sampled)
            self._block.counter(metrics.EVENT_REFUSALS, (event.namespace, "bus_refused")).add(1, sampled)
            self._published_after(event, _FAILURE, (now - since) * 1000, sampled)

    def dispatched(self, events: int, matched: int, foreign: int) -> None:
        """Count events that the bus took, those that matched a Python subscriber, those the foreign channel took."""
        self._block.bus[layout.EVENTS_DISPATCHED] += events
        self._block.bus[layout.HANDLER_DISPATCHES] += matched
        self._block.bus[layout.FFI_DISPATCHES] += foreign

    def subscriptions(self, patterns: int, subscribers: int, native: int) -> None:
        """Show how many patterns and subscribers in Python there are, and native ones; before the bus starts."""
        self._block.bus[layout.SUBSCRIBER_PATTERNS] = patterns
        self._block.bus[layout.HANDLER_COUNT] = subscribers
        self._block.bus[layout.FFI_SUBSCRIBERS] = native

    def _step(self, finished: FinishedStep, now: float) -> None:
        step = finished.step
        plan = step.plan
        labels = (plan.namespace, plan.name)
        failed = isinstance(finished.outcome, StepFailure)
        result = _FAILURE if failed else _SUCCESS
        trace = _sampled(step.trace)
        self._block.counter(metrics.STEP_EXECUTIONS, labels).add()
        self._block.counter(metrics.STEP_RESULTS_SUBMITTED, labels).add()
        if isinstance(finished.outcome, StepFailure):
            retryable = "true" if finished.outcome.retryable else "false"
            self._block.counter(metrics.STEP_FAILURES, (*labels, finished.outcome.error_type, retryable)).add(1, trace)
        else:
            self._block.counter(metrics.STEP_SUCCESSES, labels).add(1, trace)
        self._block.histogram(metrics.STEP_EXECUTION_DURATION, (plan.namespace, result)).observe(
            finished.duration_ms, trace
        )
        self._block.histogram(metrics.STEP_RESULT_SUBMISSION_DURATION, (plan.namespace, result)).observe(
            (now - finished.finished_at) * 1000, trace
        )
        if step.attempt == 1:
            waited_ms = step.waited_ms + max(0.0, finished.began_at - step.leased_at) * 1000
            self._block.histogram(metrics.STEP_WAIT_DURATION, (plan.namespace, result)).observe(waited_ms, trace)

    def _published_after(
        self, event: OutgoingEvent | RefusedEvent, result: str, milliseconds: float, trace: TraceContext | None
    ) -> None:
        labels = (event.namespace, event.delivery_mode.value, result)
        self._block.histogram(metrics.EVENT_PUBLISH_DURATION, labels).observe(milliseconds, trace)


def _sampled(trace: TraceContext) -> TraceContext | None:
    """The span where somebody records it; else None, so that it becomes no exemplar."""
    return trace if trace.flags & SAMPLED else None
