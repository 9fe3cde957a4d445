"""What an attempt comes to: state, result, delay and events (SPEC 2.1, 5)."""

from __future__ import annotations

import math

import orjson
import pytest
from support.dynamic import chosen, slice_done
from support.leases import AGAIN, DONE, MIB, NEVER, event, finish, leased

from tasker_actors.delivery.batch import fallbacks
from tasker_actors.delivery.router import commit_item
from tasker_actors.delivery.routing import result_document
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.facts import CodeEvent
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher
from tasker_actors.steps.conclude import timed_out, without_publishers
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


def names(finished):
    return [one.event_name for one in finished.derived.events]


def test_a_success_completes_the_step_with_its_result_as_json():
    step = leased()
    finished = finish(step, StepSuccess({"b": 1, "a": [None]}))

    assert (finished.state, finished.result, finished.delay_ms) == ("complete", b'{"b":1,"a":[null]}', 0)
    assert finished.step is step
    assert finished.correlation_id == step.task.correlation_id


@pytest.mark.parametrize(
    ("attempt", "outcome", "keys", "state"),
    [
        (1, AGAIN, {}, "waiting_for_retry"),
        (2, AGAIN, {}, "waiting_for_retry"),
        (3, AGAIN, {}, "error"),
        (1, NEVER, {}, "error"),
        (1, AGAIN, {"retry": {"retryable": False}}, "error"),
        (1, AGAIN, {"retry": {"max_attempts": 1}}, "error"),
    ],
)
def test_a_failure_is_tried_again_while_attempts_and_failure_allow_it(attempt, outcome, keys, state):
    finished = finish(leased(row={"attempt": attempt}, **keys), outcome)

    assert (finished.state, finished.result) == (state, None)
    assert (finished.delay_ms > 0) == (state == "waiting_for_retry")


def test_the_delay_doubles_with_jitter_and_a_handlers_wish_comes_first():
    assert [finish(leased(row={"attempt": n}), AGAIN).delay_ms for n in (1, 2)] == [1000, 2000]
    assert finish(leased(), AGAIN, random=0.0).delay_ms == 850
    assert finish(leased(), StepFailure("x", "y", retry_after_ms=7)).delay_ms == 7


@pytest.mark.parametrize("result", [math.nan, {"deep": [math.inf]}, "\0", "\ud800", 2**64, object(), {1: object()}])
def test_a_result_that_is_no_json_fails_the_attempt_for_good(result):
    finished = finish(
        leased(publishes_events=[event("on.failure", condition="permanent_failure")]), StepSuccess(result)
    )

    assert finished.state == "error"
    assert isinstance(finished.outcome, StepFailure)
    assert (finished.outcome.error_type, finished.outcome.retryable) == ("invalid_result", False)
    assert names(finished) == ["on.failure"]
    finished.outcome.message.encode()


def test_a_result_that_is_too_large_fails_the_attempt_for_good_and_one_that_just_fits_does_not():
    largest = StepSuccess({"text": "x" * 2048})
    size = len('{"text":""}') + 2048

    assert finish(leased(), largest, max_result_bytes=size).state == "complete"
    finished = finish(leased(), largest, max_result_bytes=size - 1)

    assert isinstance(finished.outcome, StepFailure)
    assert (finished.outcome.error_type, finished.outcome.error_code) == ("invalid_result", "too_large")
    assert (finished.state, finished.result) == ("error", None)


def test_events_follow_the_outcome_and_whether_another_attempt_comes():
    declared = [
        event(f"on.{when}", condition=when)
        for when in ("success", "failure", "retryable_failure", "permanent_failure", "always")
    ]

    assert names(finish(leased(publishes_events=declared), DONE)) == ["on.success", "on.always"]
    assert names(finish(leased(publishes_events=declared), AGAIN)) == [
        "on.failure",
        "on.retryable_failure",
        "on.always",
    ]
    assert names(finish(leased(publishes_events=declared), NEVER)) == [
        "on.failure",
        "on.permanent_failure",
        "on.always",
    ]


def test_events_from_code_come_after_the_declared_ones():
    step = leased(publishes_events=[event("z.declared")])
    finished = finish(step, code_events=[CodeEvent("a.code", {"n": 1}, DeliveryMode.FAST)])

    assert names(finished) == ["z.declared", "a.code"]
    message = orjson.loads(finished.derived.events[1].message)
    assert (message["payload"], message["metadata"]["step_uuid"]) == ({"n": 1}, step.step_uuid)


def test_an_event_that_cannot_be_published_leaves_the_step_complete():
    finished = finish(leased(publishes_events=[event()]), StepSuccess({"text": "x" * 100}), max_payload_bytes=50)

    assert (finished.state, names(finished)) == ("complete", [])
    assert [one.code for one in finished.derived.refused] == ["too_large"]


def test_a_timed_out_attempt_says_its_limit_and_may_be_tried_again():
    failure = timed_out(leased(timeout_ms=1500))

    assert (failure.error_type, failure.retryable, failure.metadata) == ("timeout", True, {"timeout_seconds": 1.5})
    assert "1.5 s" in failure.message


class Loud(BasePublisher):
    """Fails the test if any hook of it runs."""

    publisher_name = "loud"

    def should_publish(self, context):
        raise AssertionError("this hook hung before and must not run again")


class LoudDefault(DefaultPublisher):
    """The same, made from the default publisher."""

    publisher_name = "loud_default"
    should_publish = Loud.should_publish


@pytest.mark.parametrize("publisher", [Loud(), LoudDefault()], ids=["base", "default"])
def test_without_its_publishers_a_step_has_their_events_as_dead_letters_and_keeps_the_others(publisher):
    declared = [event("a.custom", publisher=publisher.publisher_name), event("b.default")]
    step = leased(publishers={publisher.publisher_name: publisher}, publishes_events=declared)

    finished = finish(without_publishers(step))

    assert names(finished) == ["b.default"]
    (refused,) = finished.derived.refused
    assert (refused.event_name, refused.code) == ("a.custom", "publisher_error")
    assert (refused.publisher_name, "did not return in time" in refused.reason) == (publisher.publisher_name, True)


def test_a_decision_completes_with_the_positions_of_what_it_left_out():
    finished = finish(leased(type="decision"), chosen())

    assert (finished.state, dict(finished.follows)) == ("complete", {"omits": b"[]"})
    document = result_document(finished)
    assert (orjson.loads(orjson.dumps(document["dynamic"])), document["outcome"]) == ({"omits": []}, "complete")


@pytest.mark.parametrize(
    ("kind", "result", "error_type"),
    [
        ("decision", {"ok": True}, "invalid_decision"),
        ("batchable", {"batch_processing_outcome": {"type": "create"}}, "invalid_batches"),
    ],
)
def test_a_result_that_cannot_be_followed_fails_the_attempt_for_good(kind, result, error_type):
    finished = finish(
        leased(type=kind, publishes_events=[event("on.failure", condition="permanent_failure")]), StepSuccess(result)
    )

    assert (finished.state, finished.result, dict(finished.follows)) == ("error", None, {})
    assert isinstance(finished.outcome, StepFailure)
    assert (finished.outcome.error_type, finished.outcome.retryable) == (error_type, False)
    assert names(finished) == ["on.failure"]


def test_a_slice_is_neither_a_result_nor_an_event():
    step = leased(publishes_events=[event("on.end")])

    finished = finish(step, slice_done(7), code_events=[CodeEvent("from.code", {})])

    assert (finished.state, finished.result, names(finished)) == ("yielded", None, [])
    document = result_document(finished)
    assert {"result", "error", "events"}.isdisjoint(document)
    stored = orjson.loads(finished.follows["checkpoint"])
    assert (stored["cursor"], [one["cursor"] for one in stored["history"]]) == (7, [7])
    assert commit_item(finished).size == len(finished.follows["checkpoint"])


def test_a_checkpoint_that_is_no_json_or_too_large_fails_the_attempt_for_good():
    for cursor in (math.nan, "x" * MIB):
        finished = finish(leased(), slice_done(cursor))

        assert finished.state == "error"
        assert isinstance(finished.outcome, StepFailure)
        assert finished.outcome.error_type in ("invalid_result", "invalid_checkpoint")
        assert finished.follows == {}


def test_slices_with_large_cursors_go_on_as_long_as_each_checkpoint_fits():
    stored = None
    for page in range(150):
        step = leased(row={"own": {"checkpoint": stored}})
        finished = finish(step, slice_done({"page": page, "token": "x" * 11_000}))
        assert finished.state == "yielded", f"slice {page}: {finished.outcome}"
        assert len(finished.follows["checkpoint"]) <= MIB
        stored = orjson.loads(finished.follows["checkpoint"])
    assert [one["cursor"]["page"] for one in stored["history"]][-2:] == [148, 149]


def test_what_postgresql_refuses_of_a_decision_is_a_failure_that_decides_nothing():
    item = commit_item(finish(leased(type="decision"), chosen()))

    (failed,) = fallbacks(item, "no")

    assert (failed.document["outcome"], "dynamic" in failed.document) == ("error", False)
