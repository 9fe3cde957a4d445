"""Which format of the figures a client wants: content negotiation of `GET /metrics` (SPEC 8, RFC 9110 12.5.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

OPENMETRICS_VERSION: Final = "1.0.0"

_UNNAMED: Final = (-1, 0.0)  # less specific than any range, and not wanted


class MetricsFormat(Enum):
    """The two formats, by their media type."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of an Accept header: a media type or a pattern of them, the version it asks for, its weight."""

    media_type: str
    version: str | None
    weight: float

    def specificity(self, wanted: MetricsFormat) -> int:
        """How closely this names a format: -1 not at all, 0 `*/*`, 1 `type/*`, 2 by name, 3 with its version."""
        if self.media_type == "*/*":
            return 0
        if self.media_type == wanted.value.split("/")[0] + "/*":
            return 1
        if self.media_type != wanted.value:
            return -1
        if wanted is MetricsFormat.OPENMETRICS and self.version is not None:
            return 3 if self.version == OPENMETRICS_VERSION else -1
        return 2


def preferred_format(accept: str | None) -> MetricsFormat:
    """Return the format to answer in; `accept` is the Accept header, None without one.

    OpenMetrics if it weighs more than the text, or as much and is asked for by name. The text in all other cases, also
    where neither is acceptable: a scrape that is refused helps nobody.
    """
    ranges = [found for element in (accept or "").split(",") if (found := _parse(element)) is not None]
    named, openmetrics = _weight(ranges, MetricsFormat.OPENMETRICS)
    _, text = _weight(ranges, MetricsFormat.TEXT)
    by_name = 2
    is_preferred = openmetrics > text or (openmetrics == text > 0 and named >= by_name)
    return MetricsFormat.OPENMETRICS if is_preferred else MetricsFormat.TEXT


def _weight(ranges: list[_Range], wanted: MetricsFormat) -> tuple[int, float]:
    """How specifically a format is named at best, and the greatest weight at that: the most specific range decides."""
    found = ((each.specificity(wanted), each.weight) for each in ranges)
    return max((pair for pair in found if pair[0] >= 0), default=_UNNAMED)


def _parse(element: str) -> _Range | None:
    """Read one element; None for one that is none or whose weight is unreadable, which then asks for nothing."""
    media_type, *parameters = (part.strip() for part in element.split(";"))
    if "/" not in media_type:
        return None
    version, weight = None, 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        value = value.strip().strip('"')
        match name.strip().lower():
            case "version":
                version = value
            case "q":
                weight = _quality(value)
    return None if math.isnan(weight) else _Range(media_type.lower(), version, weight)


def _quality(text: str) -> float:
    """The weight that a text stands for, 0 to 1; NaN if it stands for none."""
    try:
        weight = float(text)
    except ValueError:
        return math.nan
    return weight if 0.0 <= weight <= 1.0 else math.nan
