"""What StepSource needs of a database: steps to run, and leases that last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tasker_actors.steps.lease import LeasedStep


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one look at the queue gave. `more` tells that there was more than asked for; `next_run_in_ms` is None if
    nothing is scheduled. `foreign` steps are of templates that cannot run here, and are to be given back.
    """

    steps: tuple[LeasedStep, ...]
    more: bool
    next_run_in_ms: float | None
    foreign: tuple[LeasedStep, ...] = ()


class Beginning(StrEnum):
    """Whether a suspect may begin."""

    BEGUN = "begun"
    LOST = "lost"
    """Its lease is gone."""
    LATER = "later"
    """Another one may end this whole supervisor, or the database cannot be reached now."""


class Claimer(Protocol):
    """Takes steps from the queue."""

    def claim(self, limit: int, max_bytes: int) -> Claimed | None:
        """Lease up to `limit` steps; None if the database cannot be reached now. Blocks for one round trip."""

    def extend(self, steps: Sequence[LeasedStep]) -> Collection[int] | None:
        """Extend the leases of steps, give back those the worker does not know of, and return tokens that are lost.

        None if the database cannot be reached now: nothing was extended.
        """

    def begin_alone(self, step: LeasedStep) -> Beginning:
        """Note, before a suspect begins, that it does, and that nothing else does in this worker until it has ended."""

    def pause_s(self) -> float:
        """Return how long to wait after an answer that did not come: longer each time, with jitter, bounded."""
