"""Schedules: which of their firings are due, and what marks the task of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain, islice, takewhile

from tasker_actors.workflow.cron import Cron


class CatchUp(StrEnum):
    """What becomes of firings that were due while no supervisor ran, or the database was away."""

    SKIP = "skip"
    """They are dropped."""
    LATEST = "latest"
    """The last of them makes up for all."""
    ALL = "all"
    """Each is made up for."""


@dataclass(frozen=True, slots=True)
class DueFirings:
    """What to do with a schedule that is due, at one moment.

    `times` are the firings to make now, in order; `next_at` is when it is due next, which is over already where there
    are more to make up for, and None if it never fires again. `dropped` are the first firing that is dropped and the
    first thereafter that is not.
    """

    times: tuple[datetime, ...]
    next_at: datetime | None
    dropped: tuple[datetime, datetime | None] | None = None

    def first(self, count: int) -> DueFirings:
        """Return what is to be done if only so many of the firings are made now: the others are due at once."""
        if count >= len(self.times):
            return self
        return DueFirings(self.times[:count], self.times[count], self.dropped)


@dataclass(frozen=True, slots=True)
class CatchUpLimits:
    """`grace`: as late as this a firing is not missed. `most`: firings that are made up for, the newest, of which
    `at_once` are made in one transaction.
    """

    grace: timedelta
    most: int
    at_once: int


def due_firings(cron: Cron, due: datetime, now: datetime, policy: CatchUp, limits: CatchUpLimits) -> DueFirings:
    """Say which firings to make of a schedule that has been due since `due`, which is not after `now`."""
    match policy:
        case CatchUp.SKIP | CatchUp.LATEST:
            last = next(iter(_newest(cron, due, now, 1)), due)
            if policy is CatchUp.SKIP and now - last > limits.grace:
                next_at = cron.after(now)
                return DueFirings((), next_at, (due, next_at))
            return DueFirings((last,), cron.after(now), (due, last) if last > due else None)
        case CatchUp.ALL:
            missed = list(islice(_between(cron, due, now), limits.most))
            dropped = None
            if len(missed) == limits.most:  # with the one that is due there is one too many
                missed = _newest(cron, due, now, limits.most)
                dropped = (due, missed[0])
            else:
                missed.insert(0, due)
            rest = missed[limits.at_once :]
            return DueFirings(tuple(missed[: limits.at_once]), rest[0] if rest else cron.after(now), dropped)


def next_firings(cron: Cron, first: datetime | None, count: int) -> list[datetime]:
    """Return when a schedule fires next: `first`, if it does at all, and then what follows."""
    return [] if first is None else list(islice(chain([first], cron.firings(first)), count))


def firing_key(name: str, moment: datetime) -> str:
    """Return the idempotency key of a firing: there is one task with it, whatever the clocks do."""
    return f"schedule/{name}/{firing_time(moment)}"


def firing_tags(name: str, moment: datetime) -> tuple[str, str]:
    """Return the tags that a firing's task has beside those of its schedule."""
    return f"schedule:{name}", f"scheduled_for:{firing_time(moment)}"


def firing_time(moment: datetime) -> str:
    """Write the moment of a firing: whole seconds in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _between(cron: Cron, after: datetime, until: datetime) -> Iterator[datetime]:
    return takewhile(lambda moment: moment <= until, cron.firings(after))


def _newest(cron: Cron, after: datetime, until: datetime, count: int) -> list[datetime]:
    """Return the last firings of a span, at most `count`, in order.

    Looks at the newer half of the span first, as often as there are too many in it: there may be millions in the span.
    """
    found = list(islice(_between(cron, after, until), count + 1))
    if len(found) <= count:
        return found
    middle = after + (until - after) / 2
    newer = _newest(cron, middle, until, count)
    older = _newest(cron, after, middle, count - len(newer)) if len(newer) < count else []
    return older + newer
