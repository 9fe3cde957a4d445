"""What a client takes: Accept headers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header: a media type or a pattern of them, the version it asks for, its weight."""

    media_type: str
    version: str | None
    weight: float

    def specificity(self, media_type: str, version: str | None = None) -> int:
        """How closely this names a media type: -1 not at all, 0 `*/*`, 1 `type/*`, 2 by name, 3 with its version.

        A version that this asks for must be the one given, where one is.
        """
        if self.media_type == "*/*":
            return 0
        if self.media_type == media_type.split("/", maxsplit=1)[0] + "/*":
            return 1
        if self.media_type != media_type:
            return -1
        if version is not None and self.version is not None:
            return 3 if self.version == version else -1
        return 2


def media_ranges(accept: str | None) -> list[MediaRange]:
    """Read an Accept header, None without one; elements that cannot be read ask for nothing."""
    return [found for element in (accept or "").split(",") if (found := _parse(element)) is not None]


def takes_json(accept: str | None) -> bool:
    """Tell whether a client takes JSON: it says so, or does not say what it takes. The most specific range decides."""
    found = [(each.specificity(_JSON), each.weight) for each in media_ranges(accept)]
    return not found or max((pair for pair in found if pair[0] >= 0), default=(-1, 0.0))[1] > 0


def _parse(element: str) -> MediaRange | None:
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
    return None if math.isnan(weight) else MediaRange(media_type.lower(), version, weight)


def _quality(text: str) -> float:
    """The weight that a text stands for, 0 to 1; NaN if it stands for none."""
    try:
        weight = float(text)
    except ValueError:
        return math.nan
    return weight if 0.0 <= weight <= 1.0 else math.nan
