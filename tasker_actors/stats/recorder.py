"""What a worker counts, and where: the one place between the flow and its memory block (SPEC 3, 4.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

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
    from tasker_actors.events.outgoing import FastEvent, RefusedEvent
    from tasker_actors.messages import StepsCommitted
    from tasker_actors.stats.figures import Labels
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep, StepPlan
    from tasker_actors.telemetry.trace_context import TraceContext

_SUCCESS = "success"
_FAILURE = "failure"
_ROUTER_CELL = {"durable": layout.DURABLE, "broadcast": layout.BROADCAST, "fast": layout.FAST}

_Timed: TypeAlias = "tuple[float, TraceContext | None]"
"""How long something took, in ms, and its trace where somebody records it."""


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

    def committed(self, message: StepsCommitted, now: float) -> None:
        """Count what was stored: steps, durable events, dead letters, tasks that were started and that are finished.

        What is alike is counted together: a commit brings a hundred steps of a few names.
        """
        steps: dict[Labels, list[FinishedStep]] = {}
        events: dict[Labels, list[_Timed]] = {}
        for item in message.won:
            source = item.finished or item.publication
            if source is None:
                continue
            if item.finished is not None:
                self._started(item.finished)
                if item.finished.state != YIELDED:
                    plan = item.finished.step.plan
                    steps.setdefault((plan.namespace, plan.name), []).append(item.finished)
            trace, milliseconds = _sampled(source.trace), (now - source.finished_at) * 1000
            for event in source.derived.events:
                if event.delivery_mode is not DeliveryMode.FAST:
                    events.setdefault(label_set(event), []).append((milliseconds, trace))
            for refused in source.derived.refused:
                self._refused(refused, milliseconds, trace)
        for labels, finished in steps.items():
            self._steps(labels, finished, now)
        for labels, published in events.items():
            self._published(labels, published)
        if message.finished_tasks:
            self._tasks_finished(message)

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

    def handed_over(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus took; broadcast ones were counted at their commit."""
        for labels, published in _fast_ones(events, now).items():
            self._published(labels, published)

    def bus_refused(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus did not take: a fast one is lost, a broadcast one half."""
        self._block.router[layout.BROADCAST_REFUSED] += sum(
            event.delivery_mode is DeliveryMode.BROADCAST for event, _, _ in events
        )
        for labels, lost in _fast_ones(events, now).items():
            namespace, _, mode, _ = labels
            traces = [trace for _, trace in lost]
            self._block.router[layout.FAST_REFUSED] += len(lost)
            self._block.counter(metrics.EVENTS_REFUSED_BY_BUS, labels).add_all(traces)
            self._block.counter(metrics.EVENT_REFUSALS, (namespace, "bus_refused")).add_all(traces)
            self._block.histogram(metrics.EVENT_PUBLISH_DURATION, (namespace, mode, _FAILURE)).observe_all(lost)

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

    def _started(self, finished: FinishedStep) -> None:
        for task in finished.started:
            labels = (task.reference.namespace, task.reference.name)
            self._block.counter(metrics.TASK_REQUESTS, labels).add()

    def _steps(self, labels: Labels, group: Sequence[FinishedStep], now: float) -> None:
        """Count attempts of one step."""
        self._block.counter(metrics.STEP_EXECUTIONS, labels).add(len(group))
        self._block.counter(metrics.STEP_RESULTS_SUBMITTED, labels).add(len(group))
        succeeded, failed = [], []
        for finished in group:
            if isinstance(finished.outcome, StepFailure):
                failed.append(finished)
                kind = (finished.outcome.error_type, "true" if finished.outcome.retryable else "false")
                self._block.counter(metrics.STEP_FAILURES, (*labels, *kind)).add(1, _sampled(finished.trace))
            else:
                succeeded.append(finished)
        if succeeded:
            traces = [_sampled(finished.trace) for finished in succeeded]
            self._block.counter(metrics.STEP_SUCCESSES, labels).add_all(traces)
            self._durations((labels[0], _SUCCESS), succeeded, now)
        if failed:
            self._durations((labels[0], _FAILURE), failed, now)

    def _durations(self, labels: Labels, group: Sequence[FinishedStep], now: float) -> None:
        """Observe how long attempts with one end took; the first one of each step waited before it, too."""
        executed, submitted, waited = [], [], []
        for finished in group:
            step, trace = finished.step, _sampled(finished.trace)
            executed.append((finished.duration_ms, trace))
            submitted.append(((now - finished.finished_at) * 1000, trace))
            if step.attempt == 1:
                waited.append((step.waited_ms + max(0.0, finished.began_at - step.leased_at) * 1000, trace))
        self._block.histogram(metrics.STEP_EXECUTION_DURATION, labels).observe_all(executed)
        self._block.histogram(metrics.STEP_RESULT_SUBMISSION_DURATION, labels).observe_all(submitted)
        if waited:
            self._block.histogram(metrics.STEP_WAIT_DURATION, labels).observe_all(waited)

    def _published(self, labels: Labels, published: Sequence[_Timed]) -> None:
        """Count events of one label set, and in the router's lane those of their mode."""
        namespace, _, mode, _ = labels
        self._block.router[_ROUTER_CELL[mode]] += len(published)
        self._block.counter(metrics.EVENTS_PUBLISHED, labels).add_all([trace for _, trace in published])
        self._block.histogram(metrics.EVENT_PUBLISH_DURATION, (namespace, mode, _SUCCESS)).observe_all(published)

    def _refused(self, refused: RefusedEvent, milliseconds: float, trace: TraceContext | None) -> None:
        self._block.router[layout.UNPUBLISHED] += 1
        self._block.counter(metrics.EVENTS_FAILED, label_set(refused)).add(1, trace)
        self._block.counter(metrics.EVENT_REFUSALS, (refused.namespace, refused.code)).add(1, trace)
        labels = (refused.namespace, refused.delivery_mode.value, _FAILURE)
        self._block.histogram(metrics.EVENT_PUBLISH_DURATION, labels).observe(milliseconds, trace)

    def _tasks_finished(self, committed: StepsCommitted) -> None:
        """Count the tasks that a commit finished; a failed one under the failure that ended it."""
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


def _fast_ones(events: Sequence[FastEvent], now: float) -> dict[Labels, list[_Timed]]:
    """By label set, how long each event took whose mode is fast, and under which sampled trace."""
    found: dict[Labels, list[_Timed]] = {}
    for event, since, trace in events:
        if event.delivery_mode is DeliveryMode.FAST:
            found.setdefault(label_set(event), []).append(((now - since) * 1000, _sampled(trace)))
    return found


def _sampled(trace: TraceContext) -> TraceContext | None:
    """The span where somebody records it; else None, so that it becomes no exemplar."""
    return trace if trace.flags & SAMPLED else None
