"""Hands the spans of each commit to the exporter, for the tasks that are sampled.

Imported only where tracing is on: OpenTelemetry costs memory and time to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasker_actors.delivery.commit_spans import CommitSpans, CommitTimes, FinishedTask
from tasker_actors.delivery.traced import (
    TracedAttempt,
    TracedPublication,
    traced_attempt,
    traced_publication,
)
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.span_scope import OpenTelemetrySpan
from tasker_actors.telemetry.spans import SpanError
from tasker_actors.telemetry.trace_context import SpanScope
from tasker_actors.workflow.states import TaskState

if TYPE_CHECKING:
    from tasker_actors.messages import CommitItem, StepsCommitted

logger = get_logger("tasker_actors.router")

_LEASE_LOST = SpanError("lease_lost", "the result came after its lease had ended and was not stored")


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a worker's pipeline needs to trace.

    `offer` takes a batch of spans and never blocks; `lost` is told how many could not be offered.
    """

    offer: Callable[[CommitSpans], None]
    lost: Callable[[int], None]
    slot: int

    @property
    def scope(self) -> SpanScope:
        """Lets users' spans nest under ours."""
        return OpenTelemetrySpan

    def tracer(self, subscribers: Callable[[str], int]) -> CommitTracer:
        """Make the router's tracer; `subscribers` is called in the exporter's thread."""
        return CommitTracer(self.offer, lost=self.lost, slot=self.slot, subscribers=subscribers)


class CommitTracer:
    """Keeps what spans need and gives it away at once; building them is the exporter's thread's work.

    `subscribers` tells how many subscribers an event name has. For one thread.
    """

    def __init__(
        self,
        offer: Callable[[CommitSpans], None],
        *,
        lost: Callable[[int], None],
        slot: int,
        subscribers: Callable[[str], int],
    ) -> None:
        self._offer = offer
        self._lost = lost
        self._slot = slot
        self._subscribers = subscribers

    def committed(
        self, message: StepsCommitted, *, taken_up: float, counted: float, handed_over: float, bus_accepted: bool
    ) -> None:
        """Trace what a commit stored, and attempts whose results it did not store; times are monotonic seconds.

        Raises nothing: the results are stored, and nothing about spans may cost what follows from them.
        """
        try:
            spans = self._spans(
                message, CommitTimes(message.sent_at, message.committed_at, taken_up, counted, handed_over)
            )
            if spans.count:
                self._offer(replace(spans, bus_accepted=bus_accepted))
        except Exception as error:  # see above
            logger.error("A commit could not be traced", exc_info=error)
            # How many spans each entry would have made is what could not be found out: each has one at least.
            self._lost(sum(map(_is_sampled, (*message.won, *message.lost))))

    def _spans(self, message: StepsCommitted, times: CommitTimes) -> CommitSpans:
        attempts: list[TracedAttempt] = []
        publications: list[TracedPublication] = []
        finished: dict[str, FinishedTask] = {}
        for item in message.won:
            if item.finished is not None and item.finished.step.trace.sampled:
                attempts.append(traced_attempt(item.finished, self._slot))
                status = message.finished_tasks.get(item.finished.step.task.task_uuid)
                if status is not None:
                    # Several of its steps may have ended together; its span is one all the same.
                    finished[attempts[-1].task.task_uuid] = _finished(attempts[-1], status)
            elif item.publication is not None and item.publication.trace.sampled:
                publications.append(traced_publication(item.publication))
        for item in message.lost:
            if item.finished is not None and item.finished.step.trace.sampled:
                attempts.append(replace(traced_attempt(item.finished, self._slot), not_stored=_LEASE_LOST, events=()))
        return CommitSpans(times, attempts, publications, tuple(finished.values()), self._subscribers)


def _is_sampled(item: CommitItem) -> bool:
    source = item.finished or item.publication
    return source is not None and source.trace.sampled


def _finished(attempt: TracedAttempt, status: str) -> FinishedTask:
    if status != TaskState.ERROR:
        return FinishedTask(attempt.task, status)
    why = attempt.fault or SpanError("step_failed", "one of its steps failed for good")
    return FinishedTask(attempt.task, status, SpanError(why.kind, f"step {attempt.step_name}: {why.message}"))
