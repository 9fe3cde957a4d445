"""A module as it was written for tasker-py, with one line changed: the import.

Annotations are evaluated when it is imported, as in any module that does not put that off: a name that is missing
fails it. A parcel is weighed, sent by a carrier and announced.
"""

import asyncio
from typing import Any

import tasker_actors as tasker_core

published: list[tuple[str, Any]] = []
handled: list[tuple[str, Any]] = []


class WeighParcel(tasker_core.StepHandler):
    """A class handler that reads the task through its wrappers."""

    handler_name = "parcels.WeighParcel"
    handler_version = "2.1.0"

    def call(self, context: tasker_core.StepContext) -> tasker_core.StepHandlerCallResult:
        """Weigh it; a parcel without contents is no parcel."""
        step: tasker_core.TaskSequenceStepWrapper = context.task_sequence_step
        weight = self._weight(step.task, step.step_definition)
        tasker_core.log_info(
            "weighed",
            tasker_core.LogContext(task_uuid=context.task_uuid, namespace=step.task.namespace_name, operation="weigh"),
        )
        return self.success({"grams": weight, "step": self._name(step.workflow_step)}, metadata={"scale": "A"})

    def _weight(self, task: tasker_core.TaskWrapper, definition: tasker_core.StepDefinitionWrapper) -> int:
        grams = task.context.get("grams")
        if grams is None:
            raise tasker_core.StepValidationError("no weight", error_code="NO_WEIGHT", context={"field": "grams"})
        return grams + self._packaging(definition.handler)

    def _packaging(self, handler: tasker_core.HandlerWrapper) -> int:
        return handler.initialization.get("packaging_grams", 0)

    def _name(self, step: tasker_core.WorkflowStepWrapper) -> str:
        return step.name


class SendParcel(tasker_core.StepHandler):
    """An async class handler whose carrier fails now and then."""

    handler_name = "parcels.SendParcel"

    async def call(self, context: tasker_core.StepContext) -> tasker_core.StepHandlerResult:
        """Send it by what it weighs."""
        await asyncio.sleep(0)
        grams = self._grams(context.task_sequence_step.dependency_results)
        if grams > 30_000:
            return self.failure("too heavy", error_type=tasker_core.ErrorType.VALIDATION_ERROR, retryable=False)
        try:
            self._call_the_carrier(context)
        except tasker_core.RetryableError as error:
            tasker_core.log_warn("to be tried again", {"retryable": tasker_core.is_retryable(error)})
            raise
        return tasker_core.StepHandlerResult.success({"id": None if grams == 1 else f"P-{grams}", "grams": grams})

    def _grams(self, results: tasker_core.DependencyResultsWrapper) -> int:
        return results.get_results("weigh")["grams"]

    def _call_the_carrier(self, context: tasker_core.StepContext) -> None:
        if context.get_input("carrier") == "down" and not context.is_retry():
            raise tasker_core.NetworkError("the carrier is down", retry_after=7)
        if context.get_input("carrier") == "bankrupt":
            raise tasker_core.PermanentError("the carrier is bankrupt", error_code="BANKRUPT")


class ParcelPublisher(tasker_core.BasePublisher):
    """Says nothing of what has no id, and leaves it to a truth value to say so."""

    @property
    def publisher_name(self) -> str:
        """What templates name."""
        return "parcel_publisher"

    def should_publish(self, ctx: tasker_core.StepEventContext) -> bool:
        """Decide by what is there."""
        return ctx.result and ctx.result.get("id")

    def transform_payload(self, ctx: tasker_core.StepEventContext) -> dict[str, Any]:
        """Show only what others may know."""
        return {"parcel": ctx.result["id"], "by": self._carrier(ctx.step_result)}

    def _carrier(self, outcome: tasker_core.StepResult) -> str:
        return "air" if outcome.success and outcome.result["grams"] < 1000 else "ship"

    def additional_metadata(self, ctx: tasker_core.StepEventContext) -> dict[str, Any]:
        """Add to the metadata."""
        return {"depot": "north", "step": ctx.step_name}

    def before_publish(self, event_name: str, payload: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Decide by what was made of it."""
        published.append(("before", (event_name, metadata["publisher"], metadata["depot"])))
        return payload.get("parcel")

    def after_publish(self, event_name: str, payload: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Note it."""
        published.append(("after", (event_name, payload["parcel"], metadata["depot"])))

    def on_publish_error(self, event_name: str, error: Exception, payload: dict[str, Any]) -> None:
        """Note it."""
        published.append(("error", (event_name, str(error))))


class LostPublisher(tasker_core.BasePublisher):
    """Publishes failures, with async hooks as the guide shows them."""

    publisher_name = "lost_publisher"

    async def should_publish(self, ctx: tasker_core.PublishContext) -> bool:
        """Ask somebody."""
        await asyncio.sleep(1)
        return not ctx.step_result.success

    async def transform_payload(self, ctx: tasker_core.PublishContext) -> dict[str, Any]:
        """Look the parcel up somewhere."""
        await asyncio.sleep(1)
        return {"why": ctx.payload["error_message"]}

    async def before_publish(self, event_name: str, payload: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Agree."""
        await asyncio.sleep(1)
        return True

    async def after_publish(self, event_name: str, payload: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Note it."""
        await asyncio.sleep(1)
        published.append(("lost", (event_name, payload)))


class ParcelSubscriber(tasker_core.BaseSubscriber):
    """Takes the events of parcels, with all hooks."""

    @classmethod
    def subscribes_to(cls) -> list[str]:
        """All of them."""
        return ["parcel.*"]

    def before_handle(self, event: dict[str, Any]) -> bool:
        """Leave out what is not about a task."""
        handled.append(("before", event["event_name"]))
        return event["metadata"].get("task_uuid")

    def handle(self, event: dict[str, Any]) -> None:
        """Note it; some parcels cannot be shown."""
        metadata: tasker_core.DomainEventMetadata = event["metadata"]
        if event["payload"]["by"] == "ship":
            raise tasker_core.BusinessLogicError("no ship can be shown")
        handled.append(("handle", (event.get("event_name"), metadata["custom"]["depot"])))

    def after_handle(self, event: dict[str, Any]) -> None:
        """Note it."""
        handled.append(("after", event["event_name"]))

    def on_handle_error(self, event: dict[str, Any], error: Exception) -> None:
        """Note it."""
        handled.append(("error", tasker_core.is_permanent(error)))
