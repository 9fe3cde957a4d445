"""The right numbers of the example, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

EXPECTED: Mapping[str, Mapping[str, int]] = {
    "tasks": {"total": 930, "complete": 458, "error": 472},
    # Behind each cancelled flight three steps stay pending.
    "steps": {"total": 3720, "complete": 1832, "error": 472, "pending": 1416},
    "router": {
        "total_routed": 1971,
        "durable_routed": 930,
        "fast_routed": 916,
        "broadcast_routed": 125,
        "fast_delivery_errors": 0,
        "routing_errors": 0,
    },
    "in_process_bus": {"total_events_dispatched": 1041},
    "queues": {"flights_domain_events": 1055},
    "events": {
        "flight.validated": 458,
        "flight.cancelled": 472,
        "weather.observed": 458,
        "flight.departed": 458,
        "flight.delayed": 125,
    },
    "delays_by_carrier": {
        "9E": 1,
        "AA": 16,
        "B6": 19,
        "DL": 8,
        "EV": 19,
        "F9": 1,
        "FL": 1,
        "MQ": 19,
        "UA": 25,
        "US": 8,
        "VX": 3,
        "WN": 5,
    },
}

# What was committed is never lost; a fast delivery is, if its worker dies between the commit and the delivery (SPEC 3).
_LOST_WITH_A_WORKER = frozenset(
    {
        ("router", "total_routed"),
        ("router", "fast_routed"),
        ("in_process_bus", "total_events_dispatched"),
        ("events", "flight.validated"),
        ("events", "weather.observed"),
        *(("delays_by_carrier", carrier) for carrier in EXPECTED["delays_by_carrier"]),
    }
)


def differences(result: Mapping[str, Any], *, lost_worker: bool) -> list[str]:
    """Return a line for each number that is not as expected.

    With `lost_worker`, a worker died during the run: counts of fast deliveries may then be smaller.
    """
    return list(_differences(result, lost_worker=lost_worker))


def _differences(result: Mapping[str, Any], *, lost_worker: bool) -> Iterator[str]:
    for part, numbers in EXPECTED.items():
        for name, expected in numbers.items():
            found = result[part].get(name, 0)
            may_be_fewer = lost_worker and (part, name) in _LOST_WITH_A_WORKER
            if found != expected and not (may_be_fewer and found < expected):
                yield f"{part}: {name} is {found}, not {expected}"
