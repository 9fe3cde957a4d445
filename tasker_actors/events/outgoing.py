"""What an attempt's events became: messages to send, or dead letters that say why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tasker_actors.errors import StartupError
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher
from tasker_actors.events.schema import SchemaValidator
from tasker_actors.values import value

if TYPE_CHECKING:
    from tasker_actors.telemetry.trace_context import TraceContext
    from tasker_actors.workflow.template import EventDeclaration


class PublisherError(StartupError):
    """A publisher cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class BoundDeclaration:
    """An event declaration with its own publisher and its compiled schema; made once, used by every attempt."""

    declaration: EventDeclaration
    publisher: BasePublisher
    schema_validator: SchemaValidator | None
    publisher_name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "publisher_name", checked_name(self.publisher))


@value()
class OutgoingEvent:
    """An event to publish: `message` is the JSON of SPEC 2.4, and `payload_bytes` the length of the payload in it."""

    event_id: str
    event_name: str
    namespace: str
    delivery_mode: DeliveryMode
    publisher: BasePublisher
    publisher_name: str
    message: bytes
    payload_bytes: int

    @property
    def event(self) -> DomainEvent:
        """The event as subscribers see it, made anew at each look: most events only go into a queue."""
        return DomainEvent(self.event_id, self.event_name, self.message, self.payload_bytes)


class FastEvent(NamedTuple):
    """A committed event for the bus: when its step finished (monotonic seconds), and what it was published under.

    A tuple, because there may be tens of thousands a second.
    """

    event: OutgoingEvent
    since: float
    trace: TraceContext


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that cannot be published, and the JSON of its dead letter (SPEC 2, rule 2).

    `event_name`, `code`, `reason` and `path` are storable and short. `payload` is the value as far as it was made, and
    `error` the exception behind the refusal, both for `on_publish_error`.
    """

    event_id: str
    event_name: str
    namespace: str
    delivery_mode: DeliveryMode
    publisher: BasePublisher
    publisher_name: str
    code: str
    reason: str
    path: str
    dead_letter: bytes
    payload: Any
    error: Exception


@value()
class Derived:
    """All events of one attempt, the declared ones as declared, then those from code as they were called."""

    events: tuple[OutgoingEvent, ...] = ()
    refused: tuple[RefusedEvent, ...] = ()


def bind_declarations(
    declarations: Iterable[EventDeclaration], publishers: Mapping[str, BasePublisher]
) -> tuple[BoundDeclaration, ...]:
    """Give every declaration its publisher, the default one where it names none or an unknown one, and its schema.

    Raises EventSchemaError for a schema that cannot be compiled and PublisherError for a publisher without a name.
    """
    default = DefaultPublisher()
    return tuple(
        BoundDeclaration(
            declaration,
            default if declaration.publisher is None else publishers.get(declaration.publisher, default),
            None if declaration.json_schema is None else SchemaValidator(declaration.json_schema),
        )
        for declaration in declarations
    )


def checked_name(publisher: BasePublisher) -> str:
    """Return a publisher's name; raises PublisherError where it has none that can be a metric's label."""
    name = publisher.publisher_name
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise PublisherError(f"{type(publisher).__name__}.publisher_name is {name!r}; make it a short readable text")
    return name
