import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from tasker_actors.events.declaration import DeliveryMode, EventCondition


def test_values_of_the_task_the_template_and_the_dependencies(make_context):
    context = make_context(
        input_data={"carrier": "AA", "note": None},
        step_config={"threshold": 15},
        dependency_results={"fetch_weather": {"wind": {"kmh": 40}}, "count": 3},
    )

    assert context.get_input("carrier") == "AA"
    assert context.get_input("absent") is None
    assert context.get_input("absent", 7) == 7
    assert context.get_input("note", 7) is None
    assert context.get_input_or("note", 7) == 7
    assert context.get_config("threshold") == 15
    assert context.get_config("absent", "d") == "d"
    assert context.get_dependency_result("fetch_weather") == {"wind": {"kmh": 40}}
    assert context.get_dependency_result("absent") is None
    assert context.get_dependency_field("fetch_weather", "wind", "kmh") == 40
    assert context.get_dependency_field("fetch_weather", "wind", "knots") is None
    assert context.get_dependency_field("fetch_weather", "rain", "mm") is None
    assert context.get_dependency_field("count", "x") is None
    assert context.get_dependency_field("count") == 3


def test_a_result_with_a_key_named_result_stays_whole(make_context):
    context = make_context(dependency_results={"square": {"result": 16, "operation": "square"}})

    assert context.get_dependency_result("square") == {"result": 16, "operation": "square"}


def test_results_of_steps_with_a_common_prefix(make_context):
    context = make_context(dependency_results={"batch_2": {"n": 2}, "other": {}, "batch_1": {"n": 1}, "batch_3": None})

    assert context.get_all_dependency_results("batch_") == [{"n": 1}, {"n": 2}]
    assert set(context.get_dependency_result_keys()) == {"batch_1", "batch_2", "batch_3", "other"}


@pytest.mark.parametrize(
    ("retry_count", "max_retries", "is_retry", "is_last"),
    [(0, 3, False, False), (1, 3, True, False), (2, 3, True, True), (0, 1, False, True), (5, 3, True, True)],
)
def test_retries(make_context, retry_count, max_retries, is_retry, is_last):
    context = make_context(retry_count=retry_count, max_retries=max_retries)

    assert (context.is_retry(), context.is_last_retry()) == (is_retry, is_last)


def test_deadline_is_an_aware_time_that_does_not_move(make_context):
    before = datetime.now(UTC)
    context = make_context(deadline_monotonic=time.monotonic() + 60)

    assert timedelta(seconds=59) < context.deadline - before < timedelta(seconds=61)
    assert context.deadline.tzinfo is UTC
    assert context.deadline is context.deadline


def test_remaining_time_ends_at_zero(make_context):
    assert 59_000 < make_context(deadline_monotonic=time.monotonic() + 60).remaining_ms() <= 60_000
    assert make_context(deadline_monotonic=time.monotonic() - 1).remaining_ms() == 0


def test_cancelled_follows_the_flag(make_context):
    flag = threading.Event()
    context = make_context(cancelled_flag=flag)

    assert context.cancelled is False
    flag.set()
    assert context.cancelled is True


def test_publish_hands_events_over_in_order(make_context):
    sink = []
    context = make_context(sink=sink)
    context.publish("flight.delayed", {"minutes": 20})
    context.publish("flight.refused", None, delivery="broadcast", when="failure")

    assert [(one.name, one.payload, one.delivery_mode, one.when) for one in sink] == [
        ("flight.delayed", {"minutes": 20}, DeliveryMode.FAST, EventCondition.SUCCESS),
        ("flight.refused", None, DeliveryMode.BROADCAST, EventCondition.FAILURE),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Flight Delayed"}, "Flight Delayed"),
        ({"name": "flight"}, "two or more segments"),
        ({"name": None}, "must be text"),
        ({"name": "a.b", "delivery": "carrier-pigeon"}, "carrier-pigeon.*durable, fast, broadcast"),
        ({"name": "a.b", "when": "sometimes"}, "sometimes.*success, failure"),
        ({"name": "a.b", "when": []}, "when"),
    ],
)
def test_publish_refuses_what_does_not_exist_at_once(make_context, arguments, message):
    sink = []
    with pytest.raises(ValueError, match=message):
        make_context(sink=sink).publish(payload={}, **arguments)

    assert sink == []


def test_a_payload_that_the_handler_changes_later_is_published_as_it_was(make_context):
    sink = []
    context = make_context(sink=sink)
    payload = {"stops": [{"n": 0}]}
    for n in range(3):
        payload["stops"][0]["n"] = n
        context.publish("flight.stop", payload)

    assert [one.payload["stops"][0]["n"] for one in sink] == [0, 1, 2]


def test_a_payload_that_contains_itself_does_not_fail_the_handler(make_context):
    sink = []
    payload = {}
    payload["self"] = payload
    make_context(sink=sink).publish("flight.stop", payload)

    assert len(sink) == 1


def test_repr_keeps_the_tasks_data_out_of_logs(make_context):
    shown = repr(make_context(input_data={"card": "4111"}))

    assert "assess_delay" in shown
    assert "4111" not in shown


def test_the_handler_cannot_misspell_an_attribute(make_context):
    context = make_context()
    with pytest.raises(AttributeError):
        context.step_nmae = "x"
