"""Business workflows as steps on supervised worker processes, with durable and in-process domain events.

Here is what handlers, publishers and subscribers are written with (SPEC 6); importing it starts nothing and loads
none of the runtime.
"""

from tasker_actors.events.event import DomainEvent
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.subscriber import BaseSubscriber, subscriber
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.failures import ErrorType, PermanentError, RetryableError
from tasker_actors.steps.handler import StepHandler, step_handler
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.result import StepHandlerResult

__all__ = [
    "BasePublisher",
    "BaseSubscriber",
    "DomainEvent",
    "ErrorType",
    "PermanentError",
    "PublishContext",
    "RetryableError",
    "StepContext",
    "StepHandler",
    "StepHandlerResult",
    "depends_on",
    "inputs",
    "step_handler",
    "subscriber",
]
