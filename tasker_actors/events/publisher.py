"""Publishers: a user's say in whether an event goes out, and with which payload (SPEC 2.1).

The hooks have the names and arguments of tasker-py, so that a publisher written for it runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.facts import StepFacts
from tasker_actors.workflow.outcome import StepOutcome, StepSuccess


@dataclass(frozen=True, slots=True)
class StepResult:
    """What an attempt came to, as tasker-py shows it to publishers: `result` of a success as plain JSON."""

    success: bool
    result: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishContext:
    """What a publisher may look at: the event, the attempt's outcome, the step and its task.

    `payload` is the default payload of SPEC 2.1 as plain JSON, a copy for this publisher alone: it may be changed and
    returned. (Where the default payload is no JSON, it is the handler's own value.)
    """

    event_name: str
    delivery_mode: DeliveryMode
    outcome: StepOutcome
    payload: Any
    facts: StepFacts

    @property
    def succeeded(self) -> bool:
        """Whether the handler returned a result."""
        return isinstance(self.outcome, StepSuccess)

    @property
    def result(self) -> Any:
        """The handler's result as plain JSON; None when it failed."""
        return self.payload if self.succeeded else None

    @property
    def step_result(self) -> StepResult:
        """Success, result and metadata in one."""
        return StepResult(self.succeeded, self.result, self.metadata)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the handler gave with its result or failure besides the payload; a copy."""
        return dict(self.outcome.metadata)

    @property
    def input_data(self) -> Mapping[str, Any]:
        """The task's context."""
        return self.facts.input_data

    @property
    def task_uuid(self) -> str:
        """The task's UUID."""
        return self.facts.task_uuid

    @property
    def step_uuid(self) -> str:
        """The step's UUID."""
        return self.facts.step_uuid

    @property
    def step_name(self) -> str:
        """The step's name in its template."""
        return self.facts.step_name

    @property
    def namespace(self) -> str:
        """The task's namespace."""
        return self.facts.namespace

    @property
    def correlation_id(self) -> str:
        """The task's correlation id."""
        return self.facts.correlation_id


class BasePublisher:
    """Publishes an event as it is; subclasses override what they want to decide.

    Hooks run in this order, before the commit and on the thread that ran the step: should_publish, transform_payload,
    additional_metadata, before_publish. Then, after the commit, after_publish; or on_publish_error when the event was
    refused. The step waits for those before the commit, within the time limit of a delivery. Any may be `async`: it
    runs on the event loop of async handlers then. A hook that raises costs its event, never the step. One instance
    serves all threads of a worker.
    """

    @property
    def publisher_name(self) -> str:
        """What an event declaration names in `publisher`, and the label of its metrics; the class's name by default."""
        return type(self).__name__

    def should_publish(self, context: PublishContext) -> Any:  # noqa: ARG002  the hook's signature is what users see
        """Return False, or anything else that is not true, None too, to end the event silently."""
        return True

    def transform_payload(self, context: PublishContext) -> Any:
        """Return the payload, any JSON value; by default the one of SPEC 2.1."""
        return context.payload

    def additional_metadata(self, context: PublishContext) -> Any:  # noqa: ARG002  as above
        """Return a mapping, which lands in `metadata.custom`."""
        return {}

    def before_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> Any:  # noqa: ARG002  as above
        """Return what is not true to end the event silently, as above; a change of `metadata` has no effect."""
        return True

    def after_publish(self, event_name: str, payload: Any, metadata: dict[str, Any]) -> Any:
        """Take note of an event that was committed, or handed over if it is a fast one."""

    def on_publish_error(self, event_name: str, error: Exception, payload: Any) -> Any:
        """Take note of an event that was refused, with the error and the payload as far as it was made."""


class DefaultPublisher(BasePublisher):
    """Publishes every event with the payload of SPEC 2.1; used where a declaration names none."""

    publisher_name = "default"
