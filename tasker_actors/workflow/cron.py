"""Cron expressions: what they say, and the moments at which they fire, by the clocks of their time zone.

The rules are those of `cronsim`: of Debian's cron, with additions such as `L`, `MON#2` and `5L`. Where a zone's clocks
are put forward, a time that is left out fires as soon as they are; where they are put back, a given time of day fires
once, and what comes every so many minutes or hours goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from tasker_actors.workflow.nearest import hint

MAX_LENGTH = 200
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS = "minute, hour, day of the month, month and day of the week, or six with the second first"
_MONTH = -2


class CronError(ValueError):
    """An expression or a zone cannot be used; `key` says which of the two: `cron` or `timezone`."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was read, in a zone; `parse_cron` makes it."""

    expression: str
    zone: tzinfo

    def firings(self, after: datetime) -> Iterator[datetime]:
        """Yield the moments after this one at which it fires, each later than the one before, in UTC.

        Ends where there is none within fifty years.
        """
        last = after.astimezone(UTC)
        for found in CronSim(self.expression, after.astimezone(self.zone)):
            moment = found.astimezone(UTC)
            # An hour that clocks show twice is looked at from its beginning, also by who is in the second one.
            if moment > last:
                last = moment
                yield moment

    def after(self, moment: datetime) -> datetime | None:
        """Return the first firing after a moment; None if there is none within fifty years."""
        return next(self.firings(moment), None)


def parse_cron(expression: str, timezone: str) -> Cron:
    """Read an expression and the name of a zone; raises CronError, which says what is wrong with which of them."""
    if len(expression) > MAX_LENGTH:
        msg = f"an expression has at most {MAX_LENGTH} characters"
        raise CronError("cron", msg)
    zone = _zone(timezone)
    try:
        CronSim(expression, _ANY_MOMENT)
    except CronSimError as error:
        raise CronError("cron", _fault(expression, str(error))) from error
    return Cron(expression, zone)


def never_fires(expression: str) -> str:
    """Say that an expression is one in form only."""
    return f"{expression!r} never fires: no such day comes within fifty years"


def _fault(expression: str, reason: str) -> str:
    fields = expression.split()
    if len(fields) not in (5, 6):
        return f"{expression!r} has not five or six fields but {len(fields)}: write {_FIELDS}"
    if _is_readable([*fields[:_MONTH], "*", *fields[_MONTH + 1 :]]) and _is_readable(["*"] * 3 + fields[_MONTH:]):
        return never_fires(expression)
    place = reason.removeprefix("Bad ").replace("-", " ")
    return f"{expression!r} has a {place} that cannot be read: five fields are {_FIELDS}"


def _is_readable(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), _ANY_MOMENT)
    except CronSimError:
        return False
    return True


@cache
def _zone_names() -> frozenset[str]:
    # The one is whatever the machine is set to, the other none at all.
    return (frozenset(available_timezones()) | {"UTC"}) - {"localtime", "Factory"}


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # which also machines without a time zone database have
    # By the list and not by trying: a name is a path to look for, and some paths are not names.
    if name not in _zone_names():
        msg = (
            f"there is no time zone {name!r}{hint(name, sorted(_zone_names()))}: write one as in Europe/Berlin, or UTC"
        )
        raise CronError("timezone", msg)
    return ZoneInfo(name)
