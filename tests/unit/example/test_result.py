"""The JSON object of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasker_actors.example.figures import Figures
from tasker_actors.example.flight_trace import FlightTrace
from tasker_actors.example.result import Counts, Place, Result


@pytest.fixture
def result() -> Result:
    events = {("fast", "flight.validated"): 2, ("durable", "flight.cancelled"): 1}
    counts = Counts(
        tasks={"total": 3, "complete": 2, "error": 1},
        steps={"total": 12, "complete": 8, "error": 1, "pending": 3},
        figures=Figures(router={"total_routed": 3}, in_process_bus={}, events=events, lost_worker=False),
        delays={"UA": 1},
        queue_length=1,
    )
    place = Place("http://127.0.0.1:1", "postgresql:///tasker", Path("/home"), 42, "tasker-actors run")
    return Result(counts, 1.23456, FlightTrace({}, [], []), place)


def test_it_has_the_numbers_by_what_they_count(result: Result) -> None:
    assert plain(result.document(keep=False)) == {
        "tasks": {"total": 3, "complete": 2, "error": 1},
        "steps": {"total": 12, "complete": 8, "error": 1, "pending": 3},
        "router": {"total_routed": 3},
        "in_process_bus": {},
        "queues": {"flights_domain_events": 1},
        "events": {"flight.validated": 2, "flight.cancelled": 1},
        "delays_by_carrier": {"UA": 1},
        "seconds": 1.235,
    }


def test_a_kept_run_says_where_it_is(result: Result) -> None:
    document = plain(result.document(keep=True))

    where = {key: document.pop(key) for key in ("url", "database_url", "home", "pid")}
    assert where == {
        "url": "http://127.0.0.1:1",
        "database_url": "postgresql:///tasker",
        "home": "/home",
        "pid": 42,
    }
    assert document == plain(result.document(keep=False))


def plain(document: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(document))
    return read
