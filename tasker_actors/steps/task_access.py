"""How a handler starts tasks and waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.steps.task_reference import TaskReference, TaskRefusedError

if TYPE_CHECKING:
    from tasker_actors.steps.task_starter import TaskStarter


class TaskAccess:
    """Starts tasks through `starter`, which plans them for the commit of the attempt."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    starter: TaskStarter | None

    def start_task(
        self,
        template: str,
        context: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        tags: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> TaskReference:
        """Start a task of a template, `NAMESPACE/NAME` or `NAMESPACE/NAME@VERSION`.

        It is created in the transaction that stores this attempt's success, or the checkpoint or the wait that ends
        this call, and never if there is none: an attempt that fails or loses its lease creates nothing. Without a
        `priority` it has that of this task. Raises TaskRefusedError, which fails the step for good, at once for what
        cannot be. The first call in a process may block for a round trip to the database.
        """
        if self.starter is None:
            raise TaskRefusedError("a context that was made by hand cannot start tasks")
        given = {} if context is None else context
        return self.starter.start(template, given, priority=priority, tags=tags, idempotency_key=idempotency_key)

    def start_and_wait(
        self,
        template: str,
        context: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        tags: Sequence[str] = (),
        idempotency_key: str | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Start one task, and give what a handler returns to be called again when that is over."""
        started = self.start_task(template, context, priority=priority, tags=tags, idempotency_key=idempotency_key)
        return StepHandlerResult.wait_for([started], checkpoint=checkpoint)
