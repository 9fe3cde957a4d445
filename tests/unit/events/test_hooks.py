"""What hooks answer, and hooks that are async: the event goes on by the truth of an answer, as tasker-py has it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tasker_actors.events.async_hooks import in_own_loop, within
from tasker_actors.events.derive import Derived, StepFacts, derive
from tasker_actors.events.hooks import notify_published, notify_refused
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.events.publisher import BasePublisher, StepResult
from tasker_actors.workflow.outcome import StepFailure, StepSuccess
from tasker_actors.workflow.template import EventDeclaration

FACTS = StepFacts("task", "step", "charge", "shop", "correlation", None, "shop.charge", 1, 3, 1.0, {"order": 7})
RESULT = {"id": "p-1"}
VERDICTS = ["should_publish", "before_publish"]


class LateError(BaseException):
    """What the caller of a hook raises where its time is over."""


class Untrue:
    """Something whose truth cannot be told, as an array's."""

    def __bool__(self) -> bool:
        raise ValueError("the truth is ambiguous")


def published_by(publisher: BasePublisher, outcome: Any = None, **settings: Any) -> Derived:
    declared = EventDeclaration(name="payment.processed", publisher="custom", condition="always")
    return derive(
        FACTS,
        StepSuccess(dict(RESULT)) if outcome is None else outcome,
        will_retry=False,
        moment=datetime(2025, 12, 1, tzinfo=UTC),
        declarations=bind_declarations([declared], {"custom": publisher}),
        **settings,
    )


def with_hook(hook: str, function: Any) -> BasePublisher:
    return type("Odd", (BasePublisher,), {hook: function})()


# Answers


@pytest.mark.parametrize("hook", VERDICTS)
@pytest.mark.parametrize("answer", [1, "yes", {"id": 1}, [0], object()])
def test_whatever_is_true_lets_the_event_go_on(hook, answer):
    derived = published_by(with_hook(hook, lambda *_: answer))

    assert (len(derived.events), derived.refused) == (1, ())


@pytest.mark.parametrize("hook", VERDICTS)
@pytest.mark.parametrize("answer", [False, None, 0, "", {}, []])
def test_whatever_is_not_true_ends_the_event_silently_nothing_too(hook, answer):
    assert published_by(with_hook(hook, lambda *_: answer)) == Derived()


@pytest.mark.parametrize("hook", VERDICTS)
def test_an_answer_without_a_truth_costs_its_event(hook):
    (refused,) = published_by(with_hook(hook, lambda *_: Untrue())).refused

    assert (refused.code, refused.payload) == ("publisher_error", RESULT)
    assert f"{hook} raised ValueError: the truth is ambiguous" in refused.reason


def test_a_publisher_may_look_at_the_outcome_as_tasker_py_shows_it():
    seen = []

    def look(_self: Any, context: Any) -> None:
        seen.append(context.step_result)

    published_by(with_hook("should_publish", look), StepSuccess(dict(RESULT), {"scale": "A"}))
    published_by(with_hook("should_publish", look), StepFailure("no", "handler_error"))

    assert seen == [StepResult(success=True, result=RESULT, metadata={"scale": "A"}), StepResult(success=False)]


# Async hooks


class Awaiting(BasePublisher):
    """All of its hooks wait for something."""

    publisher_name = "awaiting"

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def should_publish(self, context):
        await asyncio.sleep(0)
        return context.result["id"]

    async def transform_payload(self, context):
        await asyncio.sleep(0)
        return {"payment": context.result["id"]}

    async def additional_metadata(self, context):
        await asyncio.sleep(0)
        return {"region": "eu"}

    async def before_publish(self, event_name, payload, metadata):
        await asyncio.sleep(0)
        return payload["payment"] and metadata["region"]

    async def after_publish(self, event_name, payload, metadata):
        await asyncio.sleep(0)
        self.told.append((event_name, payload))

    async def on_publish_error(self, event_name, error, payload):
        await asyncio.sleep(0)
        self.told.append((event_name, str(error)))


def test_async_hooks_are_run_to_their_end():
    publisher = Awaiting()

    (event,) = published_by(publisher).events

    message = orjson.loads(event.message)
    assert (message["payload"], message["metadata"]["custom"]) == ({"payment": "p-1"}, {"region": "eu"})
    notify_published(event, in_own_loop)
    assert publisher.told == [("payment.processed", {"payment": "p-1"})]


def test_an_async_hook_that_says_no_ends_the_event_silently():
    assert published_by(Awaiting(), StepSuccess({"id": None})) == Derived()


def test_an_async_hook_hears_of_a_refusal():
    publisher = Awaiting()
    (refused,) = published_by(publisher, StepFailure("no", "handler_error")).refused

    notify_refused(replace(refused, error=ValueError("told")), in_own_loop)

    assert "should_publish raised TypeError" in refused.reason
    assert publisher.told == [("payment.processed", "told")]


@pytest.mark.parametrize("hook", ["should_publish", "transform_payload", "additional_metadata", "before_publish"])
@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), asyncio.CancelledError("gone")])
def test_an_async_hook_that_raises_costs_its_event_only(hook, raised):
    async def fail(*_):
        await asyncio.sleep(0)
        raise raised

    (refused,) = published_by(with_hook(hook, fail)).refused

    assert refused.code == "publisher_error"
    assert f"{hook} raised {type(raised).__name__}" in refused.reason


def test_whoever_makes_the_event_says_where_its_hooks_are_awaited():
    awaited_by = []

    def elsewhere(hook: Any) -> Any:
        awaited_by.append(type(hook).__name__)
        return in_own_loop(hook)

    assert len(published_by(Awaiting(), await_hook=elsewhere).events) == 1
    assert awaited_by == ["coroutine"] * 4


def test_a_hook_that_awaits_for_ever_ends_with_its_time():
    ended = []

    async def for_ever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(asyncio.get_running_loop())

    with pytest.raises(LateError):
        within(for_ever(), asyncio.run, 0.001, LateError)

    assert len(ended) == 1


def test_what_a_hook_raises_comes_out_in_the_thread_that_waits_for_it():
    """In the loop it would end what else runs there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def leave() -> None:
        raise SystemExit(3)

    try:
        with pytest.raises(SystemExit):
            within(leave(), lambda hook: asyncio.run_coroutine_threadsafe(hook, loop).result(), 10, LateError)
        assert thread.is_alive()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
