"""Derive the events of one attempt from its outcome (SPEC 2 and 2.1): a function of values, called once a step.

Nothing that a handler, a publisher or a schema did makes these functions raise: an event that cannot be published
becomes a RefusedEvent with its dead letter, and the others go out. Publishers run on the calling thread, but for their
async hooks, which it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.events.async_hooks import AwaitHook, in_own_loop
from tasker_actors.events.codec import MAX_PAYLOAD_BYTES, PayloadError, encode_payload
from tasker_actors.events.declaration import DeliveryMode, applies
from tasker_actors.events.draft import Draft
from tasker_actors.events.facts import CodeEvent, StepFacts
from tasker_actors.events.hooks import HookError, run_hooks
from tasker_actors.events.message import AttemptMessage, metadata_outside
from tasker_actors.events.names import MAX_EVENT_NAME_LENGTH, MAX_NAMESPACE_LENGTH, check_event_name, check_namespace
from tasker_actors.events.outgoing import BoundDeclaration, Derived, OutgoingEvent, RefusedEvent
from tasker_actors.events.publisher import DefaultPublisher, PublishContext
from tasker_actors.events.text import payload_repr, storable_text
from tasker_actors.identifiers import new_uuid7
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess

__all__ = [
    "BoundDeclaration",
    "CodeEvent",
    "Derived",
    "OutgoingEvent",
    "RefusedEvent",
    "StepFacts",
    "build_event",
    "derive",
    "lost_step_message",
]

_NOTHING = Derived()
_DEFAULT = DefaultPublisher()


def derive(
    facts: StepFacts,
    outcome: StepOutcome,
    *,
    will_retry: bool,
    moment: datetime,
    declarations: Sequence[BoundDeclaration],
    code_events: Sequence[CodeEvent] = (),
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    encoded_result: bytes | None = None,
    new_id: Callable[[], str] = new_uuid7,
    await_hook: AwaitHook = in_own_loop,
) -> Derived:
    """Make every event that an attempt publishes: the declared ones in their order, then those from code in theirs.

    `encoded_result` is what `encode_payload` wrote of a success's result, for a caller that has it: it is not encoded
    twice then. `new_id` names the events; `await_hook` has the event loop for async hooks. Raises ValueError only for a
    moment without a time zone.
    """
    if not declarations and not code_events:
        return _NOTHING
    succeeded = isinstance(outcome, StepSuccess)
    attempt = AttemptMessage(facts, outcome, will_retry=will_retry, moment=moment, encoded_result=encoded_result)
    made: list[OutgoingEvent | RefusedEvent | None] = []
    for bound in declarations:
        if applies(bound.declaration.condition, succeeded=succeeded, will_retry=will_retry):
            draft = _declared_draft(new_id(), bound, facts, attempt, max_payload_bytes)
            made.append(_publish_declared(draft, bound, attempt, facts, outcome, await_hook))
    for event in code_events:
        if applies(event.when, succeeded=succeeded, will_retry=will_retry):
            made.append(_publish_from_code(new_id(), event, facts, attempt, max_payload_bytes))
    return Derived(
        tuple([each for each in made if isinstance(each, OutgoingEvent)]),
        tuple([each for each in made if isinstance(each, RefusedEvent)]),
    )


def lost_step_message(
    facts: StepFacts,
    *,
    failed_at: datetime,
    declarations: Sequence[BoundDeclaration],
    message: str = "the worker that ran this attempt was lost, and no attempt is left",
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
) -> Derived:
    """Make the durable and broadcast events of a step whose last attempt was lost (SPEC 2.1, `worker_lost`).

    For the transaction that fails the step; the fast part of a broadcast has no worker to go to. Events that the
    handler published from code died with it.
    """
    return derive(
        facts,
        StepFailure(message=message, error_type="worker_lost"),
        will_retry=False,
        moment=failed_at,
        declarations=[each for each in declarations if each.declaration.delivery_mode.is_durable],
        max_payload_bytes=max_payload_bytes,
    )


def build_event(
    *,
    event_name: str,
    namespace: str,
    payload: Any,
    delivery_mode: DeliveryMode,
    correlation_id: str,
    parent_correlation_id: str | None,
    fired_at: str,
    fired_by: str = "external",
    event_id: str | None = None,
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
) -> OutgoingEvent | RefusedEvent:
    """Make one event outside a step, by the same rules; the ids are UUIDs that the caller has checked.

    `fired_at` is what `timestamp` wrote, which takes a while, and a thousand events may have been fired at once.
    `event_id` is for a caller that had to name the event before; else it gets a new one. A refusal has the code
    `invalid_namespace` or one of those of a step's events.
    """
    wrong_name, wrong_namespace = check_event_name(event_name), check_namespace(namespace)
    namespace = namespace if wrong_namespace is None else storable_text(namespace)[:MAX_NAMESPACE_LENGTH]
    draft = Draft(
        event_id or new_uuid7(),
        event_name if wrong_name is None else _shown_name(event_name),
        namespace,
        delivery_mode,
        _DEFAULT,
        _DEFAULT.publisher_name,
        None,
        metadata_outside(namespace, correlation_id, parent_correlation_id, fired_at=fired_at, fired_by=fired_by),
        max_payload_bytes,
    )
    if wrong_namespace is not None:
        return draft.refuse_name("invalid_namespace", wrong_namespace, payload)
    if wrong_name is not None:
        return draft.refuse_name("invalid_event_name", wrong_name, payload)
    return draft.publish(payload)


def _declared_draft(
    event_id: str, bound: BoundDeclaration, facts: StepFacts, attempt: AttemptMessage, limit: int
) -> Draft:
    return Draft(
        event_id,
        bound.declaration.name,
        facts.namespace,
        bound.declaration.delivery_mode,
        bound.publisher,
        bound.publisher_name,
        attempt.execution,
        attempt.metadata,
        limit,
    )


def _publish_declared(
    draft: Draft,
    bound: BoundDeclaration,
    attempt: AttemptMessage,
    facts: StepFacts,
    outcome: StepOutcome,
    await_hook: AwaitHook,
) -> OutgoingEvent | RefusedEvent | None:
    """Publish a declared event through its own publisher; None where a hook ended it."""
    if type(bound.publisher) is DefaultPublisher:
        return draft.publish(attempt.default_payload, schema=bound.schema_validator, encoded=attempt.encoded_payload())
    context = PublishContext(
        draft.event_name,
        draft.delivery_mode,
        _own_outcome(outcome, attempt),
        attempt.payload_copy(),
        replace(facts, input_data=_own(facts.input_data)),
    )
    try:
        prepared = run_hooks(bound.publisher, bound.publisher_name, context, attempt.metadata, await_hook)
    except HookError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        return draft.refuse("publisher_error", error.message, payload=error.payload, error=cause)
    if prepared is None:
        return None
    payload, custom = prepared
    try:
        draft.metadata = {**attempt.metadata, "custom": orjson.Fragment(encode_payload(custom))}
    except PayloadError as error:
        reason = f"additional_metadata returned what cannot be stored: {error}"
        return draft.refuse("publisher_error", reason, payload=payload, error=error)
    return draft.publish(payload, schema=bound.schema_validator)


def _own_outcome(outcome: StepOutcome, attempt: AttemptMessage) -> StepOutcome:
    """Copy an outcome for one publisher: what it changes, the next one must not see."""
    metadata = _own(outcome.metadata)
    if isinstance(outcome, StepSuccess):
        return replace(outcome, result=attempt.payload_copy(), metadata=metadata)
    return replace(outcome, metadata=metadata)


def _own(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy what is JSON; what is none, because a handler put an object of its own in, is shared as it is."""
    try:
        copied: dict[str, Any] = orjson.loads(orjson.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return value
    return copied


def _publish_from_code(
    event_id: str, event: CodeEvent, facts: StepFacts, attempt: AttemptMessage, limit: int
) -> OutgoingEvent | RefusedEvent:
    wrong = check_event_name(event.name) if isinstance(event.name, str) else "an event name must be text"
    draft = Draft(
        event_id,
        event.name if wrong is None else _shown_name(event.name),
        facts.namespace,
        event.delivery_mode,
        _DEFAULT,
        _DEFAULT.publisher_name,
        attempt.execution,
        attempt.metadata,
        limit,
    )
    if wrong is not None:
        return draft.refuse_name("invalid_event_name", wrong, event.payload)
    return draft.publish(event.payload)


def _shown_name(name: object) -> str:
    """Give a name that is none as storable text, so that its dead letter can still say what it was."""
    return (storable_text(name) if isinstance(name, str) else payload_repr(name))[:MAX_EVENT_NAME_LENGTH]
