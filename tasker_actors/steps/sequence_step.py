"""A step with its task, its definition and its dependencies as tasker-py's handlers look at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext


@dataclass(frozen=True, slots=True)
class TaskWrapper:
    """The task of a step."""

    task_uuid: str
    context: dict[str, Any]
    namespace_name: str
    correlation_id: str
    parent_correlation_id: str | None


@dataclass(frozen=True, slots=True)
class WorkflowStepWrapper:
    """The step itself; `attempts` counts those before this one."""

    workflow_step_uuid: str
    task_uuid: str
    name: str
    attempts: int
    max_attempts: int
    inputs: dict[str, Any]
    checkpoint: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class HandlerWrapper:
    """The step's handler in the template."""

    callable: str
    initialization: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepDefinitionWrapper:
    """What the template says of the step."""

    name: str
    handler: HandlerWrapper


class DependencyResultsWrapper:
    """The results of the steps above, by name; None for any other name."""

    __slots__ = ("_results",)

    def __init__(self, results: Mapping[str, Any] | None = None) -> None:
        self._results = dict(results or {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> DependencyResultsWrapper:
        """Make one of plain results."""
        return cls(data)

    def get_result(self, step_name: str) -> Any:
        """Return a step's result."""
        return self._results.get(step_name)

    get_results = get_result
    __getitem__ = get_result

    def keys(self) -> list[str]:
        """Return the steps' names."""
        return list(self._results)

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __contains__(self, step_name: object) -> bool:
        return step_name in self._results


@dataclass(frozen=True, slots=True)
class TaskSequenceStepWrapper:
    """All of these for one attempt, made with `of`."""

    task: TaskWrapper
    workflow_step: WorkflowStepWrapper
    dependency_results: DependencyResultsWrapper
    step_definition: StepDefinitionWrapper

    @classmethod
    def of(cls, context: StepContext) -> TaskSequenceStepWrapper:
        """Show an attempt's context in this way; the values are the context's own."""
        return cls(
            task=TaskWrapper(
                context.task_uuid,
                context.input_data,
                context.namespace,
                context.correlation_id,
                context.parent_correlation_id,
            ),
            workflow_step=WorkflowStepWrapper(
                context.step_uuid,
                context.task_uuid,
                context.step_name,
                context.retry_count,
                context.max_retries,
                context.step_inputs,
                context.checkpoint,
            ),
            dependency_results=DependencyResultsWrapper(context.dependency_results),
            step_definition=StepDefinitionWrapper(
                context.step_name, HandlerWrapper(context.handler_name, context.step_config)
            ),
        )

    def get_task_field(self, field_name: str) -> Any:
        """Return a value of the task's context, or None."""
        return self.task.context.get(field_name)

    def get_dependency_result(self, step_name: str) -> Any:
        """Return the result of a step above, or None."""
        return self.dependency_results.get_result(step_name)

    get_results = get_dependency_result
