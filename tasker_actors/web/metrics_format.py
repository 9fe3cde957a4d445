"""Which format of the figures a client wants: content negotiation of `GET /metrics` (SPEC 8)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from tasker_actors.web.accept import MediaRange, media_ranges

OPENMETRICS_VERSION: Final = "1.0.0"

_UNNAMED: Final = (-1, 0.0)  # less specific than any range, and not wanted


class MetricsFormat(Enum):
    """The two formats, by their media type."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"


def preferred_format(accept: str | None) -> MetricsFormat:
    """Return the format to answer in; `accept` is the Accept header, None without one.

    OpenMetrics if it weighs more than the text, or as much and is asked for by name. The text in all other cases, also
    where neither is acceptable: a scrape that is refused helps nobody.
    """
    ranges = media_ranges(accept)
    named, openmetrics = _weight(ranges, MetricsFormat.OPENMETRICS)
    _, text = _weight(ranges, MetricsFormat.TEXT)
    by_name = 2
    is_preferred = openmetrics > text or (openmetrics == text > 0 and named >= by_name)
    return MetricsFormat.OPENMETRICS if is_preferred else MetricsFormat.TEXT


def _weight(ranges: list[MediaRange], wanted: MetricsFormat) -> tuple[int, float]:
    """How specifically a format is named at best, and the greatest weight at that: the most specific range decides."""
    version = OPENMETRICS_VERSION if wanted is MetricsFormat.OPENMETRICS else None
    found = ((each.specificity(wanted.value, version), each.weight) for each in ranges)
    return max((pair for pair in found if pair[0] >= 0), default=_UNNAMED)
