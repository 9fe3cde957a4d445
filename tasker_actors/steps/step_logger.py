"""The logger of one attempt, made when the handler first uses it: most never do."""

from __future__ import annotations

from typing import Any

from tasker_actors.steps.lease import LeasedStep


class StepLogger:
    """Any structlog-like logger with the attempt's ids bound; correlation and trace ids come from the context."""

    __slots__ = ("_bound", "_logger", "_step")

    def __init__(self, logger: Any, step: LeasedStep) -> None:
        self._logger = logger
        self._step = step
        self._bound: Any = None

    def __getattr__(self, name: str) -> Any:
        """Bind the ids, once, and hand out the logger's method."""
        if self._bound is None:
            step = self._step
            self._bound = self._logger.bind(
                task_uuid=step.task.task_uuid,
                step_uuid=step.step_uuid,
                step_name=step.name,
                namespace=step.plan.namespace,
                attempt=step.attempt,
            )
        return getattr(self._bound, name)
