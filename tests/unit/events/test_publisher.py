"""A publisher's hooks: what they see, what they decide, and that their faults stay with their own event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tasker_actors.events.async_hooks import in_own_loop
from tasker_actors.events.derive import Derived, StepFacts, derive
from tasker_actors.events.hooks import notify_published, notify_refused
from tasker_actors.events.outgoing import PublisherError, bind_declarations
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.workflow.outcome import StepFailure, StepSuccess
from tasker_actors.workflow.template import EventDeclaration

MOMENT = datetime(2025, 12, 1, 10, 30, tzinfo=UTC)
RESULT = {"payment_id": "p-1", "amount": 100.0, "card": "4111"}


def facts(**changes: Any) -> StepFacts:
    values: dict[str, Any] = {
        "task_uuid": "task",
        "step_uuid": "step",
        "step_name": "charge",
        "namespace": "payments",
        "correlation_id": "correlation",
        "parent_correlation_id": None,
        "handler_name": "payments.charge",
        "attempt": 1,
        "max_attempts": 3,
        "duration_ms": 12.4,
        "input_data": {"order": 7},
    }
    return StepFacts(**{**values, **changes})


def published_by(publisher: BasePublisher, outcome: Any = None, **declaration: Any) -> Derived:
    declared = EventDeclaration(name="payment.processed", publisher="custom", condition="always", **declaration)
    return derive(
        facts(),
        StepSuccess(dict(RESULT)) if outcome is None else outcome,
        will_retry=True,
        moment=MOMENT,
        declarations=bind_declarations([declared], {"custom": publisher}),
    )


def message_of(derived: Derived) -> dict[str, Any]:
    assert derived.refused == ()
    return orjson.loads(derived.events[0].message)


class Recording(BasePublisher):
    """Notes every call, as a publisher written for tasker-py would have it."""

    def __init__(self):
        self.calls: list[tuple[str, Any]] = []

    @property
    def publisher_name(self) -> str:
        return "recording"

    def should_publish(self, ctx):
        self.calls.append(("should_publish", ctx))
        return ctx.namespace == "payments"

    def transform_payload(self, ctx):
        self.calls.append(("transform_payload", ctx))
        result = ctx.result or {}
        return {"payment_id": result.get("payment_id"), "step": ctx.step_name}

    def additional_metadata(self, ctx):
        self.calls.append(("additional_metadata", ctx))
        return {"region": "eu"}

    def before_publish(self, event_name, payload, metadata):
        self.calls.append(("before_publish", (event_name, payload, metadata)))
        return payload.get("payment_id") is not None

    def after_publish(self, event_name, payload, metadata):
        self.calls.append(("after_publish", (event_name, payload, metadata)))

    def on_publish_error(self, event_name, error, payload):
        self.calls.append(("on_publish_error", (event_name, error, payload)))


def test_the_hooks_run_in_order_and_make_payload_and_custom_metadata():
    publisher = Recording()
    derived = published_by(publisher)
    message = message_of(derived)
    names = [name for name, _ in publisher.calls]
    assert names == ["should_publish", "transform_payload", "additional_metadata", "before_publish"]
    assert message["payload"] == {"payment_id": "p-1", "step": "charge"}
    assert message["metadata"]["custom"] == {"region": "eu"}
    assert derived.events[0].publisher is publisher
    assert derived.events[0].publisher_name == "recording"


def test_before_publish_sees_name_payload_and_the_joined_metadata():
    publisher = Recording()
    published_by(publisher)
    name, payload, metadata = publisher.calls[-1][1]
    assert name == "payment.processed"
    assert payload == {"payment_id": "p-1", "step": "charge"}
    assert metadata["publisher"] == "recording"
    assert metadata["region"] == "eu"
    assert metadata["custom"] == {"region": "eu"}
    assert metadata["published_at"] == metadata["fired_at"] == "2025-12-01T10:30:00.000000Z"
    assert metadata["task_uuid"] == "task"


def test_custom_metadata_cannot_replace_ours():
    class Imposter(BasePublisher):
        def additional_metadata(self, context):
            return {"namespace": "other", "fired_by": "me"}

        def before_publish(self, event_name, payload, metadata):
            assert metadata["namespace"] == "payments"
            metadata["namespace"] = metadata["custom"]["late"] = "changed"
            return True

    metadata = message_of(published_by(Imposter()))["metadata"]
    assert metadata["namespace"] == "payments"
    assert metadata["fired_by"] == "payments.charge"
    assert metadata["custom"] == {"namespace": "other", "fired_by": "me"}


def test_the_context_has_the_event_the_outcome_the_step_and_the_task():
    publisher = Recording()
    published_by(publisher, delivery_mode="fast")
    context = publisher.calls[0][1]
    assert (context.event_name, context.delivery_mode) == ("payment.processed", "fast")
    assert (context.task_uuid, context.step_uuid, context.correlation_id) == ("task", "step", "correlation")
    assert context.input_data == {"order": 7}
    assert context.succeeded
    assert context.result == context.payload == RESULT


def test_the_context_of_a_failure_has_no_result_but_a_payload():
    publisher = Recording()
    outcome = StepFailure("no funds", "payment_error", metadata={"bank": "b"})
    assert published_by(publisher, outcome) == Derived()
    context = publisher.calls[0][1]
    assert context.result is None
    assert not context.succeeded
    assert context.payload["bank"] == "b"
    assert context.payload["error_message"] == "no funds"
    assert context.metadata == {"bank": "b"}


def test_a_publisher_that_changes_what_it_got_changes_neither_the_result_nor_another_event():
    class Redacting(BasePublisher):
        def transform_payload(self, context):
            del context.payload["card"]
            return context.payload

    result = dict(RESULT)
    declared = [
        EventDeclaration(name="payment.redacted", publisher="redacting"),
        EventDeclaration(name="payment.redacted_again", publisher="redacting"),
        EventDeclaration(name="payment.whole"),
    ]
    derived = derive(
        facts(),
        StepSuccess(result),
        will_retry=False,
        moment=MOMENT,
        declarations=bind_declarations(declared, {"redacting": Redacting()}),
    )
    assert result == RESULT
    payloads = [orjson.loads(each.message)["payload"] for each in derived.events]
    assert payloads == [{"payment_id": "p-1", "amount": 100.0}] * 2 + [RESULT]


@pytest.mark.parametrize(
    "outcome",
    [StepSuccess({"list": [1]}, {"list": [1]}), StepFailure("no", "failed", metadata={"list": [1]})],
    ids=["success", "failure"],
)
def test_whatever_a_publisher_changes_the_next_one_and_the_event_do_not_see_it(outcome):
    seen = []

    class Vandal(BasePublisher):
        def should_publish(self, context):
            everything = [context.payload, context.metadata, context.input_data, context.outcome.metadata]
            everything.append(getattr(context.outcome, "result", {}))
            seen.append(orjson.dumps(everything))
            for one in everything:
                one.setdefault("list", []).append("vandal")
                one["new"] = "vandal"
            return True

        def transform_payload(self, context):
            return {"list": [1]}

        def before_publish(self, event_name, payload, metadata):
            metadata.clear()
            return True

    declared = [
        EventDeclaration(name=f"payment.{name}", publisher=publisher, condition="always")
        for name, publisher in (("first", "vandal"), ("second", "vandal"), ("third", None))
    ]
    derived = derive(
        facts(input_data={"list": [1]}),
        outcome,
        will_retry=False,
        moment=MOMENT,
        declarations=bind_declarations(declared, {"vandal": Vandal()}),
    )

    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert outcome.metadata in ({}, {"list": [1]})
    messages = [orjson.loads(each.message) for each in derived.events]
    assert [message["payload"]["list"] for message in messages] == [[1]] * 3
    assert not any(b"vandal" in each.message for each in derived.events)
    assert [message["metadata"]["step_name"] for message in messages] == ["charge"] * 3


@pytest.mark.parametrize("hook", ["should_publish", "transform_payload", "additional_metadata", "before_publish"])
@pytest.mark.parametrize("raised", [ValueError("broken\0"), SystemExit(3), RecursionError("deep")])
def test_a_hook_that_raises_costs_its_event_only(hook, raised):
    def fail(*_):
        raise raised

    derived = published_by(type("Broken", (BasePublisher,), {hook: fail})())
    (refused,) = derived.refused
    assert derived.events == ()
    assert refused.code == "publisher_error"
    assert hook in refused.reason
    assert type(raised).__name__ in refused.reason
    assert "\0" not in refused.reason
    assert refused.publisher_name == "Broken"
    assert refused.payload == RESULT
    if isinstance(raised, Exception):
        assert refused.error is raised
    assert orjson.loads(refused.dead_letter)["reason"]["code"] == "publisher_error"


@pytest.mark.parametrize(
    ("hook", "returned"),
    [
        ("additional_metadata", None),
        ("additional_metadata", [("a", 1)]),
        ("additional_metadata", {"a": float("nan")}),
        ("additional_metadata", {"a": "\ud800"}),
        ("additional_metadata", {1: 2}),
        ("additional_metadata", {"a": "x" * 2_000_000}),
    ],
)
def test_a_hook_that_returns_nonsense_makes_a_refusal(hook, returned):
    derived = published_by(type("Odd", (BasePublisher,), {hook: lambda *_: returned})())
    (refused,) = derived.refused
    assert refused.code == "publisher_error"
    assert hook in refused.reason
    letter = orjson.loads(refused.dead_letter)
    assert letter["event"]["metadata"]["custom"] == {}
    assert letter["payload"] == RESULT


def test_a_payload_that_is_no_json_has_the_path_in_what_the_publisher_made():
    class Odd(BasePublisher):
        def transform_payload(self, context):
            return {"items": [1, {2}]}

    (refused,) = published_by(Odd()).refused
    assert (refused.code, refused.path) == ("not_json", "/items/1")
    assert refused.payload == {"items": [1, {2}]}


def test_a_publisher_can_make_a_payload_of_what_is_no_json_itself():
    class Counting(BasePublisher):
        def transform_payload(self, context):
            return {"count": len(context.payload["ids"])}

    derived = published_by(Counting(), StepSuccess({"ids": {1, 2}}))
    assert message_of(derived)["payload"] == {"count": 2}


def test_a_schema_checks_the_payload_that_the_publisher_made():
    class Renaming(BasePublisher):
        def transform_payload(self, context):
            return {"id": context.result["payment_id"]}

    schema = {"type": "object", "required": ["id"], "additionalProperties": False, "properties": {"id": {}}}
    assert message_of(published_by(Renaming(), schema=schema))["payload"] == {"id": "p-1"}


def test_after_publish_gets_copies_of_what_was_published():
    publisher = Recording()
    derived = published_by(publisher)
    notify_published(derived.events[0], in_own_loop)
    hook, (name, payload, metadata) = publisher.calls[-1]
    assert (hook, name) == ("after_publish", "payment.processed")
    assert payload == {"payment_id": "p-1", "step": "charge"}
    assert metadata["region"] == "eu"
    assert metadata["publisher"] == "recording"
    payload.clear()
    metadata["custom"].clear()
    assert derived.events[0].event.payload["payment_id"] == "p-1"
    assert derived.events[0].event.metadata["custom"] == {"region": "eu"}


def test_on_publish_error_gets_the_error_and_the_payload():
    class Fussy(Recording):
        def before_publish(self, event_name, payload, metadata):
            raise ValueError("fussy")

    publisher = Fussy()
    (refused,) = published_by(publisher).refused
    notify_refused(refused, in_own_loop)
    hook, (name, error, payload) = publisher.calls[-1]
    assert (hook, name) == ("on_publish_error", "payment.processed")
    assert isinstance(error, ValueError)
    assert payload == {"payment_id": "p-1", "step": "charge"}


def test_the_default_hooks_after_the_commit_do_nothing():
    derived = published_by(BasePublisher())
    notify_published(derived.events[0], in_own_loop)
    BasePublisher().after_publish("a.b", {}, {})
    (refused,) = published_by(BasePublisher(), StepSuccess({1})).refused
    notify_refused(refused, in_own_loop)
    BasePublisher().on_publish_error("a.b", ValueError(), {})


def test_an_unknown_publisher_is_the_default_one():
    (bound,) = bind_declarations([EventDeclaration(name="a.b", publisher="nobody")], {})
    assert bound.publisher_name == "default"


@pytest.mark.parametrize("name", [None, "", 5, "two\nlines"])
def test_a_publisher_without_a_usable_name_is_refused_when_it_is_bound(name):
    publisher = type("Odd", (BasePublisher,), {"publisher_name": name})()
    with pytest.raises(PublisherError, match="Odd"):
        bind_declarations([EventDeclaration(name="a.b", publisher="odd")], {"odd": publisher})
