"""Times as the messages write them."""

from __future__ import annotations

from datetime import UTC, datetime

_OFFSET = len("+00:00")


def timestamp(moment: datetime) -> str:
    """Write a moment in UTC with exactly six digits and Z: `2025-12-01T10:30:00.000000Z` (SPEC 2.4).

    Such texts sort as the moments do. Raises ValueError for a moment without a time zone: which one it is in cannot be
    guessed.
    """
    if moment.tzinfo is not UTC:
        if moment.utcoffset() is None:
            raise ValueError(f"{moment!r} has no time zone; make it with datetime.now(UTC)")
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:-_OFFSET] + "Z"
