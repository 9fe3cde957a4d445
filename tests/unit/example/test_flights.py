"""The example's template, handlers, publisher and subscriber, without a runtime around them."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tasker_actors import DomainEvent, StepContext
from tasker_actors.events.derive import Derived, StepFacts, derive
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.example import flight_data
from tasker_actors.example.expected import EXPECTED
from tasker_actors.example.flight_data import FLIGHTS_DIRECTORY
from tasker_actors.example.flights import DELAY_COUNTED, DelaysByCarrier
from tasker_actors.steps.invoke import failure_from, interpret
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.dag import topological_order
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess
from tasker_actors.workflow.template import StepTemplate, TaskTemplate

MakeContext = Callable[..., StepContext]


def departed(**changed: Any) -> dict[str, Any]:
    flight = next(dict(flight) for flight in flight_data.flights() if (flight["dep_delay"] or 0) >= 15)
    return flight | changed


class OneDay:
    """Runs a task's steps in order, as a worker does, and keeps the events of each."""

    def __init__(self, template: TaskTemplate, registry: HandlerRegistry, make_context: MakeContext) -> None:
        self._registry = registry
        self._make_context = make_context
        self._template = template
        steps = {step.name: step for step in template.steps}
        order = topological_order({step.name: step.dependencies for step in template.steps})
        self._bound = [
            (steps[name], bind_declarations(steps[name].publishes_events, registry.publishers)) for name in order
        ]
        self.outcomes: dict[str, StepOutcome] = {}

    def fly(self, context: Mapping[str, Any]) -> list[Derived]:
        self.outcomes = {}
        made = []
        for step, declarations in self._bound:
            if all(isinstance(self.outcomes.get(name), StepSuccess) for name in step.dependencies):
                outcome = self.outcomes[step.name] = self._run(step, context)
                made.append(
                    derive(
                        self._facts(step, context),
                        outcome,
                        will_retry=isinstance(outcome, StepFailure) and outcome.retryable,
                        moment=datetime.now(UTC),
                        declarations=declarations,
                    )
                )
        return made

    def _run(self, step: StepTemplate, context: Mapping[str, Any]) -> StepOutcome:
        results = {name: outcome.result for name, outcome in self.outcomes.items() if isinstance(outcome, StepSuccess)}
        handler = self._registry.resolve(step.handler)
        try:
            return interpret(handler.invoke(self._make_context(context, dependency_results=results)))
        except Exception as error:  # noqa: BLE001  a handler may raise anything
            return failure_from(error)

    def _facts(self, step: StepTemplate, context: Mapping[str, Any]) -> StepFacts:
        return StepFacts(
            task_uuid="0193a0e0-0000-7000-8000-000000000001",
            step_uuid="0193a0e0-0000-7000-8000-000000000002",
            step_name=step.name,
            namespace=self._template.namespace_name,
            correlation_id="0193a0e0-0000-7000-8000-000000000003",
            parent_correlation_id=None,
            handler_name=step.handler.callable,
            attempt=1,
            max_attempts=3,
            duration_ms=1.0,
            input_data=context,
        )


@pytest.fixture
def day(template: TaskTemplate, registry: HandlerRegistry, make_context: MakeContext) -> OneDay:
    return OneDay(template, registry, make_context)


def events(derived: list[Derived]) -> dict[str, dict[str, Any]]:
    assert not [refused for each in derived for refused in each.refused]
    return {outgoing.event_name: outgoing.event.to_dict() for each in derived for outgoing in each.events}


def test_the_template_is_a_diamond(template: TaskTemplate) -> None:
    assert template.identity == ("flights", "departure", "1.0.0")
    assert {step.name: step.dependencies for step in template.steps} == {
        "validate_flight": (),
        "fetch_weather": ("validate_flight",),
        "lookup_aircraft": ("validate_flight",),
        "assess_delay": ("fetch_weather", "lookup_aircraft"),
    }


def test_every_flight_of_the_day_fits_the_input_schema(template: TaskTemplate) -> None:
    assert [validate_context(template.input_schema, dict(flight)) for flight in flight_data.flights()] == [[]] * 930
    assert validate_context(template.input_schema, departed(origin=None))


def test_the_whole_day_makes_the_expected_steps_and_events(day: OneDay) -> None:
    names: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for flight in flight_data.flights():
        derived = day.fly(flight)
        steps.update(type(outcome).__name__ for outcome in day.outcomes.values())
        made = [outgoing for each in derived for outgoing in each.events]
        assert not [refused for each in derived for refused in each.refused]
        names.update(outgoing.event_name for outgoing in made)
        modes.update(outgoing.delivery_mode.value for outgoing in made)

    assert names == EXPECTED["events"]
    assert steps == {"StepSuccess": EXPECTED["steps"]["complete"], "StepFailure": EXPECTED["steps"]["error"]}
    router = EXPECTED["router"]
    assert modes == {mode: router[f"{mode}_routed"] for mode in ("durable", "fast", "broadcast")}


def test_a_cancelled_flight_fails_for_good_and_says_which_it_was(day: OneDay) -> None:
    cancelled = events(day.fly(departed(dep_time=None, dep_delay=None, carrier="UA", flight=7)))

    assert list(day.outcomes) == ["validate_flight"]
    failure = day.outcomes["validate_flight"]
    assert isinstance(failure, StepFailure)
    assert (failure.error_type, failure.retryable) == ("FlightCancelled", False)
    assert list(cancelled) == ["flight.cancelled"]
    payload = cancelled["flight.cancelled"]["payload"]
    assert (payload["carrier"], payload["flight"], payload["error_type"]) == ("UA", 7, "FlightCancelled")


@pytest.mark.parametrize(("delay", "published"), [(14, False), (15, True), (-3, False)])
def test_only_a_delay_of_fifteen_minutes_is_published(day: OneDay, delay: int, published: bool) -> None:
    made = events(day.fly(departed(dep_delay=delay)))

    assert ("flight.delayed" in made) is published
    assert made["flight.departed"]["payload"]["dep_delay"] == delay


def test_a_delay_says_whose_it_was_and_what_counted_as_one(day: OneDay) -> None:
    delayed = events(day.fly(departed(carrier="B6", tailnum="N618JB")))["flight.delayed"]

    assert delayed["payload"]["airline"] == "JetBlue Airways"
    assert delayed["payload"]["aircraft"] == "A320-232"
    assert delayed["metadata"]["custom"] == {"delayed_from_minutes": 15, "tailnum": "N618JB"}


@pytest.mark.parametrize("tailnum", ["N0NE", None])
def test_an_unknown_plane_is_a_result_and_no_failure(day: OneDay, tailnum: str | None) -> None:
    made = events(day.fly(departed(tailnum=tailnum)))

    found = day.outcomes["lookup_aircraft"]
    assert isinstance(found, StepSuccess)
    assert found.result == {"tailnum": tailnum, "known": False}
    assert made["flight.departed"]["payload"]["aircraft"] is None


def test_weather_that_was_not_recorded_fails_for_good_and_is_observed_all_the_same(day: OneDay) -> None:
    made = events(day.fly(departed(origin="ORD")))

    failure = day.outcomes["fetch_weather"]
    assert isinstance(failure, StepFailure)
    assert (failure.error_type, failure.error_code, failure.retryable) == ("permanent_error", "NO_WEATHER", False)
    assert made["weather.observed"]["payload"]["error_code"] == "NO_WEATHER"
    assert "assess_delay" not in day.outcomes


def test_the_subscriber_counts_by_carrier_and_logs_its_count(
    registry: HandlerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    [found] = registry.subscribers
    assert found.patterns == ("flight.delayed",)
    subscriber = DelaysByCarrier()

    with caplog.at_level(logging.INFO):
        for carrier in ("UA", "B6", "UA"):
            subscriber.handle(delay_of(carrier))

    assert subscriber.delays == {"UA": 2, "B6": 1}
    counted = [(vars(record)["carrier"], vars(record)["delays"]) for record in caplog.records]
    assert counted == [("UA", 1), ("B6", 1), ("UA", 2)]
    assert {record.message for record in caplog.records} == {DELAY_COUNTED}


def test_the_task_in_the_readme_is_a_delayed_flight(template: TaskTemplate, day: OneDay) -> None:
    readme = (FLIGHTS_DIRECTORY / "README.md").read_text(encoding="utf-8")
    match = re.search(r"--context '(\{.*?\})'", readme, re.DOTALL)
    assert match is not None
    context = json.loads(match[1])

    assert validate_context(template.input_schema, context) == []
    assert "flight.delayed" in events(day.fly(context))


def delay_of(carrier: str) -> DomainEvent:
    message = {
        "event_id": "0193a0e0-0000-7000-8000-000000000009",
        "event_name": "flight.delayed",
        "event_version": "1.0",
        "payload": {"carrier": carrier},
        "execution": None,
        "metadata": {},
    }
    return DomainEvent.from_message(message)
