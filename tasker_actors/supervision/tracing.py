"""How the supervisor traces: new traces are sampled here, and spans of what it ends itself are exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.sampling import is_sampled
from tasker_actors.telemetry.trace_context import SAMPLED, TraceContext, new_trace

if TYPE_CHECKING:
    from tasker_actors.delivery.commit_spans import CommitSpans
    from tasker_actors.postgres.step_control import Resolution
    from tasker_actors.postgres.task_dead_letters import Entry
    from tasker_actors.postgres.tasks import Cancellation
    from tasker_actors.supervision.settled_lease import SettledLease
    from tasker_actors.telemetry.exporter import Exporter


logger = get_logger("tasker_actors.supervisor")


class SupervisorTracing:
    """Hands spans to the exporter, which never blocks; None where tracing is off.

    Traces are made then too, unsampled. Any thread may call.
    """

    def __init__(self, exporter: Exporter | None, sampling_ratio: float) -> None:
        self._exporter = exporter
        self._ratio = sampling_ratio

    def new_trace(self) -> TraceContext:
        """Start a trace; whether it is sampled follows from its id, as OpenTelemetry's ratio sampler decides it."""
        trace = new_trace()
        sampled = self._exporter is not None and is_sampled(trace.trace_id, self._ratio)
        return replace(trace, flags=SAMPLED) if sampled else trace

    def settled(self, settled: Sequence[SettledLease], finished: Mapping[str, str]) -> None:
        """Trace attempts that ended with their worker, and the tasks that this finished."""
        if self._exporter is not None and any(one.trace.sampled for one in settled):
            from tasker_actors.supervision.settled_spans import settled_spans  # noqa: PLC0415 - only where tracing is on

            ended = sum(one.error is not None and one.trace.sampled for one in settled)
            self._export(self._exporter, partial(settled_spans, settled, finished), ended)

    def ended(self, task: Cancellation | Resolution | Entry, status: str) -> None:
        """End the span of a task that no attempt ended: it was cancelled, ended by hand, or stood still."""
        if self._exporter is not None:
            from tasker_actors.supervision.settled_spans import ended_spans  # noqa: PLC0415 - as above

            self._export(self._exporter, partial(ended_spans, task, status), 1)

    @staticmethod
    def _export(exporter: Exporter, make: Callable[[], CommitSpans | None], least: int) -> None:
        """Make spans, `least` or more, and offer them; what they tell of has happened, whatever becomes of them."""
        try:
            spans = make()
            if spans is not None:
                exporter.offer(spans)
        except Exception as error:  # see above
            logger.error("What the supervisor ended could not be traced", exc_info=error)
            exporter.count_lost_spans(least)
