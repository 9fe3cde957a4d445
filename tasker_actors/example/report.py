"""What the example tells its user: what happened on that day, and how to look at it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tasker_actors.cli.output import write_fields, write_line, write_table
from tasker_actors.example.durable_queue import QUEUE
from tasker_actors.example.flight_data import airlines
from tasker_actors.example.flight_trace import FlightTrace, events_query
from tasker_actors.example.flights import DELAYED_FROM_MINUTES
from tasker_actors.example.result import Counts, Place, Result
from tasker_actors.postgres.embedded import programs


def write_report(result: Result, *, keep: bool) -> None:
    """Write the whole report to standard output."""
    _write_counts(result.counts, result.seconds)
    _write_events(result.counts)
    _write_delays(result.counts.delays)
    _write_trace(result.trace)
    _write_ways_to_look(result.trace, result.place)
    if keep:
        _write_ways_to_go_on(result.place)
    else:
        _write_paragraph(
            "Supervisor and database are stopped and removed now. Run it with --keep to look at them yourself."
        )


def _write_counts(counts: Counts, seconds: float) -> None:
    tasks, steps = counts.tasks, counts.steps
    _write_heading(f"{tasks['total']} flights from New York City on 8 February 2013, in {seconds:.1f} s")
    write_line(f"tasks  {tasks['complete']} complete, {tasks['error']} error: the flights that were cancelled")
    write_line(
        f"steps  {steps['complete']} complete, {steps['error']} error, {steps['pending']} pending for good behind those"
    )


def _write_events(counts: Counts) -> None:
    router, bus = counts.figures.router, counts.figures.in_process_bus
    _write_heading("Events")
    by_name = sorted((mode, name, count) for (mode, name), count in counts.figures.events.items())
    write_table(("delivery", "event", "published"), by_name, empty="no events were published")
    write_line(
        f"{router['total_routed']} in all: {router['durable_routed']} durable, {router['fast_routed']} fast and "
        f"{router['broadcast_routed']} broadcast, which is both"
    )
    write_line(
        f"{counts.queue_length} messages are in the durable queue {QUEUE}; "
        f"{bus['total_events_dispatched']} events were dispatched in the workers"
    )


def _write_delays(delays: Mapping[str, int]) -> None:
    _write_heading(f"Delays of {DELAYED_FROM_MINUTES} minutes and more, as a subscriber in the workers counted them")
    by_count = sorted(delays.items(), key=lambda item: (-item[1], item[0]))
    rows = [(carrier, airlines().get(carrier, "?"), count) for carrier, count in by_count]
    write_table(("carrier", "airline", "delays"), rows, empty="no delay was counted")


def _write_trace(trace: FlightTrace) -> None:
    flight = trace.task["context"]
    name = f"{flight['carrier']}{flight['flight']} from {flight['origin']} to {flight['dest']}"
    _write_heading(f"The longest delay, {flight['dep_delay']} minutes: {name}")
    write_fields({"task": trace.task["task_uuid"], "correlation id": trace.correlation_id, "trace id": trace.trace_ids})
    write_line("")
    attempts = (
        (one["step"], one["attempt"], one["outcome"], one["worker_id"], one["duration_ms"], _time(one["finished_at"]))
        for one in trace.attempts
    )
    columns = ("step", "attempt", "outcome", "worker", "ms", "finished")
    write_table(columns, attempts, empty="no step has run")
    write_line("")
    events = (
        (event["event_name"], event["metadata"]["step_name"], _time(event["metadata"]["fired_at"]))
        for event in trace.events
    )
    write_table(("durable event", "step", "fired"), events, empty="no event is in the durable queue")


def _write_ways_to_look(trace: FlightTrace, place: Place) -> None:
    _write_heading("How to look at it")
    correlation_id, url = trace.correlation_id, place.url
    write_fields(
        {
            "the API": f"{url}/api-docs",
            "counts of events": f"{url}/metrics/events",
            "metrics for Prometheus": f"{url}/metrics",
            "this flight's task": f"{url}/v1/tasks?correlation_id={correlation_id}",
            "its durable events": f"tasker-actors events list --url {url} --correlation-id {correlation_id}",
            "its log lines": f"grep {correlation_id} {shlex.quote(str(place.home / 'supervisor.log'))}",
            "the database": f"{shlex.quote(str(programs() / 'psql'))} {shlex.quote(place.database_url)}",
        }
    )
    _write_paragraph("The events of this flight, in SQL:")
    write_line(events_query(correlation_id))


def _write_ways_to_go_on(place: Place) -> None:
    home = shlex.quote(str(place.home))
    _write_heading("It is still running")
    write_fields(
        {
            "stop it": f"kill -TERM {place.pid}",
            "start it again": place.command_line,
            "remove it, once stopped": f"rm -r {home}",
        }
    )


def _write_heading(text: str) -> None:
    write_line(f"\n{text}\n{'-' * len(text)}")


def _write_paragraph(text: str) -> None:
    write_line(f"\n{text}")


def _time(timestamp: str) -> str:
    """Return the time of day, with its fraction and zone, of a timestamp such as 2025-12-01T10:30:00.000000Z."""
    return timestamp.partition("T")[2]
