"""What one worker of a batch has to do, read from its step's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, ValidationError

from tasker_actors.steps.batch.outcomes import BatchWorkerInputs
from tasker_actors.steps.batch.ranges import CursorConfig
from tasker_actors.steps.checkpoint import CheckpointAccess

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext


class BatchWorkerContext(BaseModel, CheckpointAccess):
    """The range of one worker of a batch, and how far an earlier call came.

    `batch_index` counts from 0. `checkpoint` is empty before the first one. In a placeholder for no batches `is_no_op`
    is set and the range is empty.
    """

    batch_id: str
    cursor_config: CursorConfig
    batch_index: int
    total_batches: int
    batch_metadata: dict[str, Any] = Field(default_factory=dict)
    checkpoint: dict[str, Any] = Field(default_factory=dict)
    is_no_op: bool = False

    @property
    def start_cursor(self) -> int:
        """The first item of the range."""
        return self.cursor_config.start_cursor

    @property
    def end_cursor(self) -> int:
        """The first item behind the range."""
        return self.cursor_config.end_cursor

    @property
    def step_size(self) -> int:
        """How many items to take at once."""
        return self.cursor_config.step_size

    @classmethod
    def from_step_context(cls, context: StepContext) -> Self | None:
        """Read the batch of a step, or return None where the step is no worker of one.

        The runtime's place for it is `step_inputs`; a `batch_context` in the handler's configuration or in the task's
        context is the older form that modules for tasker-py may still use.
        """
        checkpoint = dict(context.checkpoint or {})
        inputs = context.step_inputs
        if inputs and ("cursor" in inputs or inputs.get("is_no_op")):
            return cls._of_inputs(inputs, checkpoint)
        given = context.get_config("batch_context") or context.get_input("batch_context")
        return cls._of_document(given, checkpoint) if isinstance(given, Mapping) else None

    @classmethod
    def _of_inputs(cls, inputs: Mapping[str, Any], checkpoint: dict[str, Any]) -> Self:
        cursor = inputs.get("cursor") or {}
        number = str(cursor.get("batch_id", ""))
        return cls(
            batch_id=number,
            cursor_config=_range(cursor, default_step=cursor.get("batch_size", 1)),
            batch_index=int(number) - 1 if number.isdecimal() and int(number) else 0,
            total_batches=1,
            batch_metadata=dict(inputs.get("batch_metadata") or {}),
            checkpoint=checkpoint,
            is_no_op=bool(inputs.get("is_no_op")),
        )

    @classmethod
    def _of_document(cls, given: Mapping[str, Any], checkpoint: dict[str, Any]) -> Self:
        return cls(
            batch_id=str(given.get("batch_id", "")),
            cursor_config=_range(given.get("cursor_config") or {}, default_step=1),
            batch_index=given.get("batch_index", 0),
            total_batches=given.get("total_batches", 1),
            batch_metadata=dict(given.get("batch_metadata") or {}),
            checkpoint=checkpoint,
        )


def worker_inputs(context: StepContext) -> BatchWorkerInputs | None:
    """Return the inputs of a worker of a batch, or None where the step has none, or others."""
    inputs = context.step_inputs
    if not inputs or not ("cursor" in inputs or inputs.get("is_no_op")):
        return None
    try:
        return BatchWorkerInputs.model_validate({key: value for key, value in inputs.items() if value is not None})
    except ValidationError:
        return None


def _range(cursor: Mapping[str, Any], *, default_step: int) -> CursorConfig:
    return CursorConfig(
        start_cursor=cursor.get("start_cursor", 0),
        end_cursor=cursor.get("end_cursor", 0),
        step_size=cursor.get("step_size", default_step),
        metadata=dict(cursor.get("metadata") or {}),
    )
