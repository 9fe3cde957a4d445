"""When a worker counts as hung (DESIGN 3 rule 9, G3). Pure.

Progress is work that ends. Whoever has none to do, waits for the database, or runs a handler within its own time limit
is not hung, however long that takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

LONGEST_GAP_S = 1.0
"""Between two looks, more time than this does not count: nobody, the onlooker included, could do anything in it."""

_OF_A_LEASE = 2 / 3
"""A worker that cannot extend its leases loses the first of them after this part of their length."""


@dataclass(frozen=True, slots=True)
class Station:
    """One station of the flow as it is at one look.

    `mark` is another one after each piece of work that ended. `is_excused` says that what it does now has a limit of
    its own, or none: a call of a user's function, a wait for the database.
    """

    name: str
    mark: Hashable
    has_work: bool
    is_excused: bool = False


@dataclass(frozen=True, slots=True)
class Standstill:
    """How long a station has had work and ended none of it."""

    station: str
    seconds: float


class ProgressWatch:
    """Adds up, for each station, the time in which it had work and was seen to end none.

    Time counts from one look to the next, and no more than `longest_gap_s` of it: after the whole process was stopped,
    or the machine, nobody has had the time to make progress.
    """

    def __init__(self, longest_gap_s: float = LONGEST_GAP_S) -> None:
        self._longest_gap = longest_gap_s
        self._looked_at: float | None = None
        self._still: dict[str, tuple[Hashable, float]] = {}

    def look(self, now: float, stations: Iterable[Station]) -> Standstill | None:
        """Take note of how the stations are now; returns the longest standstill, None if all of them go on."""
        passed = 0.0 if self._looked_at is None else max(0.0, min(now - self._looked_at, self._longest_gap))
        self._looked_at = now
        still: dict[str, tuple[Hashable, float]] = {}
        for station in stations:
            if station.has_work and not station.is_excused:
                mark, seconds = self._still.get(station.name, (None, None))
                goes_on = seconds is None or mark != station.mark
                still[station.name] = (station.mark, 0.0 if goes_on or seconds is None else seconds + passed)
        self._still = still
        longest = max(still, key=lambda name: still[name][1], default=None)
        if longest is None or still[longest][1] == 0.0:
            return None
        return Standstill(longest, still[longest][1])


def is_hung(silent_s: float, *, hang_s: float, lease_s: float, is_stopped: bool, handlers_end_in_s: float) -> bool:
    """Decide about a worker whose main thread has given no sign of life for `silent_s` seconds.

    Its handlers may hold the interpreter: it is left alone until the last of them is past its time limit
    (`handlers_end_in_s`, negative from then on), but not so long that its leases end and others run its steps too. A
    process that was stopped by a signal runs no handler.
    """
    if silent_s <= hang_s:
        return False
    return is_stopped or handlers_end_in_s <= 0 or silent_s > lease_s * _OF_A_LEASE
