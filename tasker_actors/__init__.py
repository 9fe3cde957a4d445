"""Business workflows as steps on supervised worker processes, with durable and in-process domain events.

Here is what handlers, publishers and subscribers are written with (SPEC 6), and what other applications read durable
events with. Importing it starts nothing and loads none of the runtime: the reader is loaded when it is first named.
"""

from typing import TYPE_CHECKING, Any

from tasker_actors.events.event import DomainEvent
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.subscriber import BaseSubscriber, subscriber
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.failures import ErrorType, PermanentError, RetryableError
from tasker_actors.steps.handler import StepHandler, step_handler
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.result import StepHandlerResult

if TYPE_CHECKING:
    from tasker_actors.consumer.event_consumer import EventConsumer
    from tasker_actors.consumer.received import ReceivedEvent

__all__ = [
    "BasePublisher",
    "BaseSubscriber",
    "DomainEvent",
    "ErrorType",
    "EventConsumer",
    "PermanentError",
    "PublishContext",
    "ReceivedEvent",
    "RetryableError",
    "StepContext",
    "StepHandler",
    "StepHandlerResult",
    "depends_on",
    "inputs",
    "step_handler",
    "subscriber",
]


def __getattr__(name: str) -> Any:
    """Load the reader, which needs PostgreSQL's driver and OpenTelemetry; handlers need neither."""
    if name == "EventConsumer":
        from tasker_actors.consumer.event_consumer import EventConsumer  # noqa: PLC0415  only who reads events pays for it

        return EventConsumer
    if name == "ReceivedEvent":
        from tasker_actors.consumer.received import ReceivedEvent  # noqa: PLC0415  as above

        return ReceivedEvent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
