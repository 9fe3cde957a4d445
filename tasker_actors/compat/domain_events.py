"""`tasker_core.domain_events`: publishers and subscribers. The runtime finds their classes in the handler modules."""

from typing import NoReturn

from tasker_actors.compat.absent import refuse
from tasker_actors.events.event import DomainEvent as InProcessDomainEvent
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher, PublishContext, StepResult
from tasker_actors.events.publisher import PublishContext as StepEventContext
from tasker_actors.events.subscriber import BaseSubscriber
from tasker_actors.workflow.template import EventDeclaration

__all__ = [
    "BasePublisher",
    "BaseSubscriber",
    "DefaultPublisher",
    "EventDeclaration",
    "InProcessDomainEvent",
    "PublishContext",
    "StepEventContext",
    "StepResult",
]


def __getattr__(name: str) -> NoReturn:
    """Say what there is in place of a name of tasker-py's own worker."""
    refuse(name, "tasker_core.domain_events")
