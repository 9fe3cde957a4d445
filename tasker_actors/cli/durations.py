"""Lengths of time as people write them: 30d, 12h."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tasker_actors.errors import ConfigurationError

_DURATION = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# PostgreSQL's calendar ends long before what the digits could say.
_LONGEST_S = 36_500 * 86_400


def parse_duration(text: str) -> timedelta:
    """Return a length of time from a number and a unit (s, m, h, d, w), above 0 and up to a hundred years.

    Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not int(match["count"]):
        msg = f"{text!r} is no length of time: write a number and s, m, h, d or w, as in 30d or 12h"
        raise ValueError(msg)
    seconds = int(match["count"]) * _SECONDS[match["unit"]]
    if seconds > _LONGEST_S:
        msg = f"{text!r} is more than a hundred years"
        raise ValueError(msg)
    return timedelta(seconds=seconds)


def moment_ago(option: str, text: str | None) -> str | None:
    """Return the moment that was this long ago, as JSON has it; None for None. ConfigurationError names the option."""
    if text is None:
        return None
    try:
        return (datetime.now(UTC) - parse_duration(text)).isoformat()
    except ValueError as error:
        msg = f"{option}: {error}"
        raise ConfigurationError(msg) from error


def seconds_of(option: str, text: str | None) -> int | None:
    """Return a length of time in seconds; None for None. Raises ConfigurationError that names the option."""
    if text is None:
        return None
    try:
        return int(parse_duration(text).total_seconds())
    except ValueError as error:
        msg = f"{option}: {error}"
        raise ConfigurationError(msg) from error
