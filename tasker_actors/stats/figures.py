"""Labelled figures as values: adding them up, and bounding their number.

Pure. Label values stand in the order of the metric's labels.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from tasker_actors.telemetry.metrics import CLOSED_LABELS, DURATION_BOUNDS_MS, Metric

OVERFLOW: Final = "_overflow"
MAX_LABEL_CHARACTERS: Final = 255
BUCKETS: Final = len(DURATION_BOUNDS_MS) + 1

Labels = tuple[str, ...]

_MILLIONTHS: Final = 1_000_000
_LONGEST_MS: Final = 1e12


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """Observations by bucket (not cumulative, the last above all bounds) and their sum in the metric's unit.

    The sum is kept as a whole number of millionths. Those of several workers are added in whatever order they come and
    end; with floats the last digit would depend on it, and a sum that falls by that is a reset to Prometheus, which
    then counts all of it again.
    """

    buckets: tuple[int, ...] = (0,) * BUCKETS
    millionths: int = 0

    @classmethod
    def of(cls, buckets: tuple[int, ...], total: float) -> HistogramValue:
        """Make the value of observations that add up to `total`."""
        return cls(buckets, _millionths(total))

    @property
    def total(self) -> float:
        """The sum of the observations."""
        return self.millionths / _MILLIONTHS

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.buckets)

    def __add__(self, other: HistogramValue) -> HistogramValue:
        buckets = tuple(mine + its for mine, its in zip(self.buckets, other.buckets, strict=True))
        return HistogramValue(buckets, self.millionths + other.millionths)

    def observe(self, value: float) -> HistogramValue:
        """This histogram with one more observation."""
        value = observable(value)
        buckets = list(self.buckets)
        buckets[bisect_left(DURATION_BOUNDS_MS, value)] += 1
        return HistogramValue(tuple(buckets), self.millionths + _millionths(value))


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One thing that was counted, and the span that tells more about it: 32 and 16 hex digits.

    `value` is what was added or observed, `time` when, in seconds since 1970.
    """

    trace_id: str
    span_id: str
    value: float
    time: float


@dataclass(slots=True)
class Figures:
    """Figures by metric and label values, in the order in which they were first seen.

    `time` is when they were read and `began` when each counter and histogram was 0, both in seconds since 1970.
    `exemplars` are by bucket; a counter's is in bucket 0.
    """

    counters: dict[Metric, dict[Labels, int]] = field(default_factory=dict)
    gauges: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[Metric, dict[Labels, HistogramValue]] = field(default_factory=dict)
    exemplars: dict[Metric, dict[Labels, dict[int, Exemplar]]] = field(default_factory=dict)
    began: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    time: float = field(default=0.0, compare=False)

    def count(self, metric: Metric, labels: Labels, amount: int) -> None:
        """Add to a counter; 0 lets the label set exist."""
        series = self.counters.setdefault(metric, {})
        series[labels] = series.get(labels, 0) + amount

    def set_gauge(self, metric: Metric, labels: Labels, value: float) -> None:
        """Put a gauge's value in the place of the last one."""
        self.gauges.setdefault(metric, {})[labels] = value

    def add_histogram(self, metric: Metric, labels: Labels, value: HistogramValue) -> None:
        """Add observations to a histogram."""
        series = self.histograms.setdefault(metric, {})
        known = series.get(labels)
        series[labels] = value if known is None else known + value

    def total(self, metric: Metric) -> int:
        """Sum of a counter over all its label sets."""
        return sum(self.counters.get(metric, {}).values())


def observable(value: float) -> float:
    """The duration to count: 0 for a negative, infinite or NaN one, or one of 30 years, which would spoil the sum."""
    return value if 0.0 <= value < _LONGEST_MS else 0.0


def _millionths(value: float) -> int:
    return int(value) * _MILLIONTHS + round(value % 1 * _MILLIONTHS)


def clean_labels(labels: Labels) -> Labels:
    """Label values that can be stored and shown: at most 255 characters, lone surrogates replaced."""
    return tuple(_clean_label(label) for label in labels)


def _clean_label(label: str) -> str:
    return label[:MAX_LABEL_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def overflow_labels(names: tuple[str, ...], labels: Labels) -> Labels:
    """Labels of the series that counts what has no series of its own: closed labels are kept, the others blurred.

    `names` are the labels' names: those of the metric, or without `worker` inside a worker. `worker` is kept too: it
    has as many values as there are slots.
    """
    return tuple(_overflow_label(name, label) for name, label in zip(names, labels, strict=True))


def is_overflow(metric: Metric, labels: Labels) -> bool:
    """Whether these are the labels of a metric's overflow series."""
    return OVERFLOW in labels and labels == overflow_labels(metric.labels, labels)


def _overflow_label(name: str, label: str) -> str:
    if name == "worker" or label in CLOSED_LABELS.get(name, ()):
        return label
    return OVERFLOW
