"""What the supervisor traces of what it ends itself, and what becomes of it where that fails."""

from support.exporting import exporter_to
from support.leases import leased
from support.otlp_receiver import dead_endpoint

from tasker_actors.events.outgoing import Derived
from tasker_actors.supervision.settled_lease import SettledLease
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.telemetry.trace_context import new_trace


def lost_attempt(*, sampled: bool) -> SettledLease:
    """An attempt of which nothing can be told: its lease has none of the columns."""
    trace = new_trace(sampled=sampled)
    return SettledLease({}, leased().plan, {"error": {}}, Derived(), trace, None, trace.child())


def test_spans_that_cannot_be_made_cost_the_settlement_nothing_and_are_counted():
    exporter = exporter_to(dead_endpoint())
    tracing = SupervisorTracing(exporter, 1.0)
    tracing.settled([lost_attempt(sampled=True), lost_attempt(sampled=True), lost_attempt(sampled=False)], {})
    assert (exporter.waiting_spans, exporter.spans_dropped) == (0, 2)


def test_without_an_exporter_there_is_nothing_to_lose():
    tracing = SupervisorTracing(None, 1.0)
    tracing.settled([lost_attempt(sampled=True)], {})
    assert not tracing.new_trace().sampled
