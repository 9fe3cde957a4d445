"""The label sets that templates announce: they exist from the start, at 0 (SPEC 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.metrics import Metric

if TYPE_CHECKING:
    from tasker_actors.steps.lease import StepPlan

LabelSets = Iterator[tuple[Metric, tuple[str, ...]]]

_OF_STEPS = (
    metrics.STEP_EXECUTIONS,
    metrics.STEP_SUCCESSES,
    metrics.STEPS_CLAIMED,
    metrics.STEP_RESULTS_SUBMITTED,
)
_OF_TASKS = (metrics.TASK_REQUESTS, metrics.TASK_COMPLETIONS)


def declared_label_sets(plans: Iterable[StepPlan]) -> LabelSets:
    """Name every counter's label set that follows from these steps and their declared events."""
    for channel in ("subscriber", "ffi"):
        yield metrics.EVENTS_DROPPED, (channel,)
    for plan in plans:
        for metric in _OF_TASKS:
            yield metric, (plan.namespace, plan.task_type)
        for metric in _OF_STEPS:
            yield metric, (plan.namespace, plan.name)
        for bound in plan.declarations:
            declared = bound.declaration
            labels = (plan.namespace, declared.name, declared.delivery_mode.value, bound.publisher_name)
            yield metrics.EVENTS_PUBLISHED, labels
            yield metrics.EVENTS_FAILED, labels
