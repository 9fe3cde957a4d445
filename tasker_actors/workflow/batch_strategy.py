"""How the batch of a worker step is configured, and what one failed instance of it means."""

from __future__ import annotations

from collections.abc import Mapping

from tasker_actors.workflow.step_type import FailureStrategy, StepType
from tasker_actors.workflow.template import BatchConfig, StepTemplate


def failure_strategy(steps: Mapping[str, StepTemplate], name: str) -> FailureStrategy | None:
    """Return what one failed instance of a batch worker means; None for other steps."""
    if steps[name].type is not StepType.BATCH_WORKER:
        return None
    config = batch_config(steps, name)
    return FailureStrategy.CONTINUE_ON_FAILURE if config is None else config.failure_strategy


def batch_config(steps: Mapping[str, StepTemplate], worker: str) -> BatchConfig | None:
    """Return the configuration of a batch worker: its own, else that of the step that divides its work."""
    own = steps[worker].batch_config
    if own is not None:
        return own
    needed = (steps[name] for name in steps[worker].dependencies if name in steps)
    return next((step.batch_config for step in needed if step.type is StepType.BATCHABLE), None)
