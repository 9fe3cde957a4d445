"""The code of the worked example, for the template `config/examples/flights/departure.yaml`.

Four handlers, a publisher and a subscriber: all that a user writes. Run it with `tasker-actors example`, or by hand:
`tasker-actors run --templates config/examples/flights --handlers tasker_actors.example.flights`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasker_actors import (
    BasePublisher,
    BaseSubscriber,
    DomainEvent,
    PermanentError,
    PublishContext,
    StepContext,
    StepHandler,
    StepHandlerResult,
    depends_on,
    inputs,
    step_handler,
)
from tasker_actors.example import flight_data

DELAYED_FROM_MINUTES = 15
"""A flight counts as delayed from here on, as in the statistics of the US Department of Transportation."""

DELAY_COUNTED = "Delayed flight counted"
"""The log line of each delay that the subscriber has counted."""

logger = logging.getLogger(__name__)


class ValidateFlight(StepHandler):
    """A handler as a class: it gets the whole context, and says itself how it failed."""

    handler_name = "flights.validate"

    def call(self, context: StepContext) -> StepHandlerResult:
        """Let a flight pass that departed; one that did not is cancelled, which no further attempt would change."""
        flight = {name: context.get_input(name) for name in ("carrier", "flight", "origin", "dest", "sched_dep_time")}
        if context.get_input("dep_time") is None:
            return self.failure(
                f"flight {flight['carrier']}{flight['flight']} from {flight['origin']} to {flight['dest']} "
                "has no departure time: it was cancelled",
                error_type="FlightCancelled",
                retryable=False,
                metadata=flight,  # with the error's own fields, the payload of flight.cancelled
            )
        return self.success(flight)


@step_handler("flights.fetch_weather")
@inputs("origin", "hour")
def fetch_weather(origin: str, hour: int) -> dict[str, Any]:
    """Find the weather at the airport in the hour of the scheduled departure.

    A handler as a function: it names the inputs that it needs, and what it returns is the step's result.
    """
    observed = flight_data.weather().get((origin, hour))
    if observed is None:
        # Any other exception would be tried again; the records of that day will not change.
        raise PermanentError(f"there is no weather of {origin} at hour {hour}", error_code="NO_WEATHER")
    return {name: observed[name] for name in ("origin", "hour", "temp", "wind_speed", "wind_gust", "precip", "visib")}


@step_handler("flights.lookup_aircraft")
@inputs("tailnum")
def lookup_aircraft(tailnum: str | None) -> dict[str, Any]:
    """Find the plane, or say that it is unknown."""
    plane = flight_data.planes().get(tailnum or "")
    if plane is None:
        return {"tailnum": tailnum, "known": False}
    return {"known": True, **{name: plane[name] for name in ("tailnum", "manufacturer", "model", "seats")}}


@step_handler("flights.assess_delay")
@depends_on(weather="fetch_weather", aircraft="lookup_aircraft")
@inputs("carrier", "flight", "origin", "dest", "dep_delay")
def assess_delay(
    carrier: str,
    flight: int,
    origin: str,
    dest: str,
    dep_delay: int,
    weather: Mapping[str, Any],
    aircraft: Mapping[str, Any],
) -> dict[str, Any]:
    """Put together what is known about the departure, from the task's context and the results of two steps."""
    return {
        "carrier": carrier,
        "airline": flight_data.airlines().get(carrier, carrier),
        "flight": flight,
        "origin": origin,
        "dest": dest,
        "dep_delay": dep_delay,
        "visibility_miles": weather["visib"],
        "wind_mph": weather["wind_speed"],
        "aircraft": aircraft.get("model"),
    }


class DelayPublisher(BasePublisher):
    """A publisher of one's own: it decides whether there is an event, and what is in it."""

    publisher_name = "flights.delay"

    def should_publish(self, context: PublishContext) -> bool:
        """Publish `flight.delayed` only for a flight that was."""
        return bool(context.result["dep_delay"] >= DELAYED_FROM_MINUTES)

    def additional_metadata(self, context: PublishContext) -> Mapping[str, Any]:
        """Say with the event what counted as delayed."""
        return {"delayed_from_minutes": DELAYED_FROM_MINUTES, "tailnum": context.input_data["tailnum"]}


class DelaysByCarrier(BaseSubscriber):
    """A subscriber: it counts delays by carrier, for the flights of its own worker process.

    Fast delivery means in this process, at most once: what must be exact is read from the durable queue.
    """

    patterns = ("flight.delayed",)

    def __init__(self) -> None:
        self.delays: Counter[str] = Counter()

    def handle(self, event: DomainEvent) -> None:
        """Count one delay. One thread calls this, one event at a time."""
        carrier = event.payload["carrier"]
        self.delays[carrier] += 1
        logger.info(DELAY_COUNTED, extra={"carrier": carrier, "delays": self.delays[carrier]})
