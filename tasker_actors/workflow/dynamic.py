"""What a template says about its dynamic steps: decisions, batches, and what a failure in one of these means."""

from __future__ import annotations

from dataclasses import dataclass

from tasker_actors.workflow.batch_strategy import batch_config, failure_strategy
from tasker_actors.workflow.batches import BatchPoint
from tasker_actors.workflow.conditional import Branch, Fate, initial_fates
from tasker_actors.workflow.dag import descendants, topological_order
from tasker_actors.workflow.decision import DecisionPoint
from tasker_actors.workflow.step_type import FailureStrategy, StepType
from tasker_actors.workflow.template import BatchConfig, StepTemplate, TaskTemplate


@dataclass(frozen=True, slots=True)
class DynamicStep:
    """What is special about one step; nothing is, where all of it is None.

    `on_failure` is the strategy of a batch worker. `has_branches` says that some steps of its template may not exist,
    so that what its failure blocks depends on which ones do.
    """

    kind: StepType = StepType.STANDARD
    decision: DecisionPoint | None = None
    batches: BatchPoint | None = None
    on_failure: FailureStrategy | None = None
    has_branches: bool = False


PLAIN = DynamicStep()
"""A step that says nothing of others."""


def branches(template: TaskTemplate) -> dict[str, Branch]:
    """Return a template's steps as the rules of existence need them, each after those it depends on."""
    steps = {step.name: step for step in template.steps}
    order = topological_order({name: step.dependencies for name, step in steps.items()})
    return {name: Branch(steps[name].type, steps[name].dependencies) for name in order}


def dynamic_steps(template: TaskTemplate) -> dict[str, DynamicStep]:
    """Say of every step what is special about it."""
    steps = branches(template)
    by_name = {step.name: step for step in template.steps}
    has_branches = Fate.UNDECIDED in initial_fates(steps).values()
    decisions = [name for name, step in steps.items() if step.kind is StepType.DECISION]
    below = descendants({name: step.dependencies for name, step in steps.items()}) if decisions else {}
    shown = f"{template.namespace_name}/{template.name}@{template.version}"
    return {
        name: DynamicStep(
            kind=step.kind,
            decision=DecisionPoint(shown, name, steps, below[name]) if name in decisions else None,
            batches=BatchPoint(shown, name, _workers(by_name, name)) if step.kind is StepType.BATCHABLE else None,
            on_failure=failure_strategy(by_name, name),
            has_branches=has_branches,
        )
        for name, step in steps.items()
    }


def _workers(steps: dict[str, StepTemplate], batchable: str) -> dict[str, BatchConfig | None]:
    return {
        name: batch_config(steps, name)
        for name, step in steps.items()
        if step.type is StepType.BATCH_WORKER and batchable in step.dependencies
    }
