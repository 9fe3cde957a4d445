"""StatsActor: the one place where the figures of all workers come together (SPEC 3, DESIGN 4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_never

from tasker_actors.actors import Actor
from tasker_actors.messages import (
    Count,
    DeclareLabelSets,
    ExemplarsFound,
    ReportEventStats,
    ReportFigures,
    ShowGauges,
    WorkerAttached,
    WorkerDied,
    WorkerSettled,
)
from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.declared import NOT_WRITTEN, STDERR, SUPERVISOR
from tasker_actors.stats.exposition import event_stats_document
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.lost_lines import LostLines

Reports = WorkerAttached | WorkerDied | WorkerSettled | Count | ShowGauges | DeclareLabelSets | ExemplarsFound
Questions = ReportFigures | ReportEventStats


class StatsActor(Actor):
    """Owns the book; everybody else sends it what happened, or asks it for the sum.

    The book outlives a failure of this actor. A worker's figures are read from its memory at the moment of the
    question, so an answer is never older than the question.
    """

    def __init__(self, book: StatsBook, supervisor_id: str, lost_lines: LostLines) -> None:
        self._book = book
        self._lost_lines = lost_lines
        self._supervisor_id = supervisor_id

    def receive(self, message: Reports | Questions) -> Any:
        """Take note, or answer."""
        match message:
            case WorkerAttached(slot, incarnation, worker_id, reader):
                self._book.attach(WorkerIdentity(slot, incarnation, f"worker-{worker_id}"), reader)
            case WorkerDied(slot, incarnation):
                self._book.mark_dead(slot, incarnation)
            case WorkerSettled(slot, incarnation, committed):
                self._book.retire(slot, incarnation, committed)
            case Count(metric, labels, amount):
                self._book.count(metric, labels, amount)
            case ShowGauges(metric, values):
                self._book.replace_gauges(metric, values)
            case DeclareLabelSets(label_sets):
                for metric, labels in label_sets:
                    self._book.declare(metric, labels)
            case ExemplarsFound(slot, incarnation, cells, exemplars):
                self._book.exemplify(slot, incarnation, dict(zip(cells, exemplars, strict=True)))
            case ReportFigures():
                if lost := self._lost_lines.take():
                    self._book.count(metrics.DROPS, (SUPERVISOR, STDERR, NOT_WRITTEN), lost)
                return self._book.figures()
            case ReportEventStats():
                return event_stats_document(self._book, self._supervisor_id, datetime.now(UTC))
            case _:
                assert_never(message)
        return None
