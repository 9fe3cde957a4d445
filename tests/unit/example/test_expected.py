"""Which numbers of the example are right."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tasker_actors.example.expected import EXPECTED, differences


@pytest.fixture
def result() -> dict[str, Any]:
    return copy.deepcopy({part: dict(numbers) for part, numbers in EXPECTED.items()})


def test_the_expected_numbers_agree_with_each_other() -> None:
    router, events = EXPECTED["router"], EXPECTED["events"]
    modes = router["durable_routed"], router["fast_routed"], router["broadcast_routed"]

    assert router["total_routed"] == sum(modes) == sum(events.values())
    assert EXPECTED["queues"] == {"flights_domain_events": router["durable_routed"] + router["broadcast_routed"]}
    dispatched = router["fast_routed"] + router["broadcast_routed"]
    assert EXPECTED["in_process_bus"] == {"total_events_dispatched": dispatched}
    assert sum(EXPECTED["delays_by_carrier"].values()) == events["flight.delayed"]
    steps = EXPECTED["steps"]
    assert steps["total"] == steps["complete"] + steps["error"] + steps["pending"] == 4 * EXPECTED["tasks"]["total"]


def test_the_expected_numbers_and_others_beside_them_are_right(result: dict[str, Any]) -> None:
    result["in_process_bus"]["rust_handler_dispatches"] = 125

    assert differences(result, lost_worker=False) == []


def test_each_other_number_is_named_with_the_expected_one(result: dict[str, Any]) -> None:
    result["tasks"]["complete"] = 457
    del result["events"]["flight.delayed"]

    assert differences(result, lost_worker=False) == [
        "tasks: complete is 457, not 458",
        "events: flight.delayed is 0, not 125",
    ]


def test_only_fast_deliveries_may_be_fewer_and_only_if_a_worker_was_lost(result: dict[str, Any]) -> None:
    result["router"] |= {"total_routed": 1970, "fast_routed": 915}
    result["in_process_bus"]["total_events_dispatched"] = 1040
    result["events"]["flight.validated"] = 457
    result["delays_by_carrier"]["UA"] = 24

    assert differences(result, lost_worker=True) == []
    assert len(differences(result, lost_worker=False)) == 5


@pytest.mark.parametrize(
    ("part", "name", "number"),
    [
        ("router", "durable_routed", 929),
        ("router", "broadcast_routed", 124),
        ("router", "fast_routed", 917),
        ("router", "routing_errors", 1),
        ("events", "flight.delayed", 124),
        ("queues", "flights_domain_events", 1054),
        ("queues", "flights_domain_events", 1056),
        ("tasks", "error", 471),
    ],
)
def test_a_lost_worker_excuses_nothing_else(result: dict[str, Any], part: str, name: str, number: int) -> None:
    result[part][name] = number

    assert differences(result, lost_worker=True) == [f"{part}: {name} is {number}, not {EXPECTED[part][name]}"]
