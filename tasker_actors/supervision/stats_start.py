"""Starts the actor that has all figures, with every label set that is known beforehand, and its export."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.messages import Count, DeclareLabelSets, ReportFigures
from tasker_actors.pipeline import ACTORS
from tasker_actors.settings import Settings
from tasker_actors.stats.actor import StatsActor
from tasker_actors.stats.book import StatsBook
from tasker_actors.stats.declared import (
    SUPERVISOR,
    actor_label_sets,
    declared_label_sets,
    overflow_label_sets,
    supervisor_label_sets,
)
from tasker_actors.steps.lease import StepPlan
from tasker_actors.supervision.boot import LIFECYCLE, MAILBOX
from tasker_actors.telemetry import metrics, phases
from tasker_actors.telemetry.lost_lines import LostLines

if TYPE_CHECKING:
    from tasker_actors.telemetry.exporter import Exporter

STATS = "stats"
MAINTENANCE = "maintenance"
SCHEDULES = "schedules"

_FIGURES_S = 5.0


def start_stats(system: ActorSystem, settings: Settings, supervisor_id: str, plans: Iterable[StepPlan]) -> LocalAddress:
    """Start the StatsActor of this supervisor; where telemetry is exported, its figures are too from now on."""
    book = StatsBook(label_sets_per_metric=settings.telemetry.label_sets_per_metric)
    stats = system.start(STATS, partial(StatsActor, book, supervisor_id, LostLines()))
    declared = (
        *declared_label_sets(plans),
        *actor_label_sets((*ACTORS, LIFECYCLE, MAILBOX, MAINTENANCE, SCHEDULES, *settings.actors)),
        *overflow_label_sets(),
        *supervisor_label_sets(),
    )
    stats.tell(DeclareLabelSets(declared))
    if (exporter := phases.exporter()) is not None:
        _export(stats, exporter)
    return stats


def _export(stats: LocalAddress, exporter: Exporter) -> None:
    """Let the figures be exported, as they are when the exporter asks, and its own losses be among them."""
    from tasker_actors.stats.otlp import metrics_request  # noqa: PLC0415 - loaded only where there is an exporter

    def spans_dropped(count: int, reason: str) -> None:
        stats.tell(Count(metrics.SPANS_DROPPED, (SUPERVISOR,), count))
        stats.tell(Count(metrics.DROPS, (SUPERVISOR, "spans", reason), count))

    def log_records_dropped(count: int, reason: str) -> None:
        stats.tell(Count(metrics.LOG_RECORDS_DROPPED, (SUPERVISOR,), count))
        stats.tell(Count(metrics.DROPS, (SUPERVISOR, "log_records", reason), count))

    exporter.count_drops(spans_dropped, log_records_dropped)
    exporter.add_metrics_source(lambda: metrics_request(stats.ask(ReportFigures(), timeout=_FIGURES_S)))
