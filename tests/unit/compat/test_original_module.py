"""A module for tasker-py runs after `import tasker_actors as tasker_core`: handlers, publishers, subscribers."""

from __future__ import annotations

import pytest
from support import dispatch_module

from tasker_actors.testing import run_template

TEMPLATE = {
    "name": "parcel",
    "namespace_name": "parcels",
    "version": "1.0.0",
    "steps": [
        {
            "name": "weigh",
            "handler": {"callable": "parcels.WeighParcel", "initialization": {"packaging_grams": 50}},
        },
        {
            "name": "send",
            "handler": {"callable": "parcels.SendParcel"},
            "dependencies": ["weigh"],
            "retry": {"max_attempts": 3},
            "publishes_events": [
                {"name": "parcel.sent", "delivery_mode": "broadcast", "publisher": "parcel_publisher"},
                {"name": "parcel.lost", "condition": "permanent_failure", "publisher": "lost_publisher"},
            ],
        },
    ],
}


@pytest.fixture(autouse=True)
def noted():
    """Forget what the module's publishers and subscribers have noted."""
    dispatch_module.published.clear()
    dispatch_module.handled.clear()


def sent(kit, **context):
    return run_template(TEMPLATE, context, handlers=dispatch_module, kit=kit)


def test_it_runs_to_its_end_with_all_hooks_in_their_order(kit):
    task = sent(kit, grams=200)

    assert task.status == "complete"
    assert task.result("weigh") == {"grams": 250, "step": "weigh"}
    (event,) = task.events
    assert (event.payload, event.metadata["custom"]) == (
        {"parcel": "P-250", "by": "air"},
        {"depot": "north", "step": "send"},
    )
    assert dispatch_module.published == [
        ("before", ("parcel.sent", "parcel_publisher", "north")),
        ("after", ("parcel.sent", "P-250", "north")),
    ]
    assert dispatch_module.handled == [
        ("before", "parcel.sent"),
        ("handle", ("parcel.sent", "north")),
        ("after", "parcel.sent"),
    ]
    task.assert_no_surprises()


def test_a_subscriber_that_fails_is_told_so(kit):
    task = sent(kit, grams=2_000)

    assert task.status == "complete"
    assert dispatch_module.handled == [("before", "parcel.sent"), ("error", True)]
    assert [str(delivery.error) for delivery in task.deliveries] == ["no ship can be shown"]


def test_a_publisher_that_returns_nothing_true_ends_its_event_and_no_more(kit):
    task = sent(kit, grams=-49)

    assert (task.status, task.events, dispatch_module.published) == ("complete", [], [])
    task.assert_no_surprises()


def test_its_errors_say_whether_another_attempt_helps(kit):
    down = sent(kit, grams=1, carrier="down")
    assert (down.status, down.step("send").delays_ms) == ("complete", [7_000])

    for context, error_type, code in (
        ({"grams": 1, "carrier": "bankrupt"}, "permanent_error", "BANKRUPT"),
        ({}, "permanent_error", "NO_WEIGHT"),
        ({"grams": 40_000}, "validation_error", None),
    ):
        task = sent(kit, **context)
        failed = next(step.failure for step in task.steps.values() if step.failure is not None)
        assert (task.status, len(task.attempts) <= 2) == ("error", True)
        assert (failed.error_type, failed.error_code) == (error_type, code)


def test_its_async_hooks_are_run_to_their_end_on_the_tests_clock(kit):
    task = sent(kit, grams=1, carrier="bankrupt")

    assert [(event.name, event.payload) for event in task.events] == [
        ("parcel.lost", {"why": "the carrier is bankrupt"}),
    ]
    assert dispatch_module.published == [("lost", ("parcel.lost", {"why": "the carrier is bankrupt"}))]
    assert kit.clock.elapsed_s == 4
    task.assert_no_surprises()
