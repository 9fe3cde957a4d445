"""When a worker has lived long enough: after so many steps, so long, with so much memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What a worker has come to: attempts that it finished, its age, and its resident memory."""

    steps: int
    age_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class RecycleLimits:
    """What one worker may come to before it is replaced; None is without limit."""

    steps: float | None = None
    age_s: float | None = None
    memory_bytes: float | None = None

    @property
    def are_any(self) -> bool:
        """Whether there is anything to look at."""
        return not (self.steps is None and self.age_s is None and self.memory_bytes is None)

    def with_jitter(self, jitter: float, random: float) -> RecycleLimits:
        """Lower every limit by up to the share `jitter`; `random` in [0, 1) says how far.

        Lower and never higher: a limit is what somebody can rely on. Workers that started together do not come to
        theirs together.
        """
        share = 1 - jitter * random
        return RecycleLimits(_times(self.steps, share), _times(self.age_s, share), _times(self.memory_bytes, share))

    def exceeded_by(self, usage: Usage) -> str | None:
        """Name the limit that was reached, as the reason of a restart; the most urgent one first."""
        if self.memory_bytes is not None and usage.memory_bytes >= self.memory_bytes:
            return "memory"
        if self.age_s is not None and usage.age_s >= self.age_s:
            return "age"
        if self.steps is not None and usage.steps >= self.steps:
            return "count"
        return None


def _times(limit: float | None, share: float) -> float | None:
    return None if limit is None else limit * share
