"""Which label sets have a series of their own, and since when (SPEC 4.3, HAZARDS 19)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from tasker_actors.stats.figures import Figures, Labels, clean_labels, is_overflow, overflow_labels
from tasker_actors.telemetry.metrics import OVERFLOWS, Metric


class SeriesRegister:
    """Admits label sets up to a limit and remembers when each series began; for one thread.

    A label set that was admitted once stays, so that no series falls or vanishes. What templates announce is admitted
    beyond the limit: it is known and finite, and must not take the places of what is not known beforehand.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._announced: dict[Metric, set[Labels]] = {}
        self._admitted: dict[Metric, set[Labels]] = {}
        self._began: dict[Metric, dict[Labels, float]] = {}

    def announce(self, metric: Metric, labels: Labels) -> None:
        """Give a label set its own series, whatever the limit is; before anything of it is counted."""
        self._announced.setdefault(metric, set()).add(clean_labels(labels))

    def place(self, metric: Metric, labels: Labels) -> tuple[Metric, Labels]:
        """Where a count is shown: under its own labels, or past the limit in the overflow series."""
        metric = metric.counted_in or metric
        announced = self._announced.get(metric, ())
        admitted = self._admitted.setdefault(metric, set())
        if labels in announced or labels in admitted:
            return metric, labels
        labels = clean_labels(labels)
        if labels in announced or labels in admitted:
            return metric, labels
        if len(admitted) < self._limit:
            admitted.add(labels)
            return metric, labels
        return metric, overflow_labels(metric.labels, labels)

    def date(self, figures: Figures, last_look: float) -> None:
        """Write into `figures` when each of its counters and histograms began.

        A series that is seen for the first time was 0 at the last look: it began no earlier than that, and nothing in
        it was counted before.
        """
        shown: Iterable[tuple[Metric, Collection[Labels]]] = chain(figures.counters.items(), figures.histograms.items())
        for metric, series in shown:
            known = self._began.setdefault(metric, {})
            figures.began[metric] = {labels: known.setdefault(labels, last_look) for labels in series}


def count_overflows(figures: Figures) -> None:
    """Count, by metric, what stands in overflow series; never falls, because they do not."""
    counts: dict[Metric, int] = {}
    for metric, counters in figures.counters.items():
        counts[metric] = sum(count for labels, count in counters.items() if is_overflow(metric, labels))
    for metric, histograms in figures.histograms.items():
        counts[metric] = sum(value.count for labels, value in histograms.items() if is_overflow(metric, labels))
    for metric, count in counts.items():
        if count:
            figures.count(OVERFLOWS, (metric.prometheus_name,), count)
