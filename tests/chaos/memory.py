"""What processes weigh, and whether each has come back to what a fresh one of its kind weighs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

ROLES = ("worker", "supervisor")

MOST_MB = 150
"""G8: what a process may have after any amount of work, and after any fault."""

MARGIN_MB = 30
"""What a process at rest may have more than a fresh one.

Work warms it up by 2 to 3 MB: code that is loaded at first use, sessions with their prepared statements, stacks of
threads. The rest is room for what the C library keeps of one large burst, a batch of results or a backlog of events.
"""


@dataclass(slots=True)
class Memory:
    """Resident memory of one process in MiB; `fresh` is the first figure after it had everything loaded."""

    role: str
    fresh: float | None = None
    last: float = 0.0
    peak: float = 0.0

    def take(self, megabytes: float, *, is_loaded: bool = True) -> None:
        """Note the latest figure."""
        if self.fresh is None and is_loaded:
            self.fresh = megabytes
        self.last = megabytes
        self.peak = max(self.peak, megabytes)


def typical(memory: Iterable[Memory], role: str) -> float | None:
    """What a fresh process of a role weighs: the median, so that none that was first seen late excuses itself."""
    fresh = [each.fresh for each in memory if each.role == role and each.fresh is not None]
    return statistics.median(fresh) if fresh else None


def memory_complaints(living: Collection[tuple[int, Memory]], everything: Collection[Memory]) -> Iterator[str]:
    """Name the processes that have more memory, when all is quiet, than a fresh one of their kind and a margin."""
    for role in ROLES:
        if not any(each.role == role for _, each in living):
            yield f"memory: no {role} was there to be weighed at the end"
    for pid, each in living:
        fresh = typical(everything, each.role)
        if fresh is None:
            yield f"memory: no fresh {each.role} was ever weighed, to compare {pid} with"
        elif each.last > (most := min(MOST_MB, fresh + MARGIN_MB)):
            yield (
                f"memory: the {each.role} {pid} has {each.last:.0f} MB with nothing to do, and {most:.0f} MB are "
                f"enough: a fresh one has {fresh:.0f} MB; it had {each.peak:.0f} MB at most"
            )
