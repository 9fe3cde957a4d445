"""When a failed actor is started again, and when that is given up; pure, times and chance are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_JITTER = 0.15


class RestartReason(StrEnum):
    """What failed an actor, as far as it tells where to look; a label of metrics, so these are all (SPEC 4.3)."""

    ERROR = "error"
    """Any other exception: a fault of its code, or of what it was told."""
    SYSTEM = "system"
    """The operating system refused something: a descriptor, a file, a connection, a thread."""
    MEMORY = "memory"
    """There was no memory."""
    EXIT = "exit"
    """Code that it ran wanted the process to end."""


_REASONS: Final = (
    (MemoryError, RestartReason.MEMORY),
    (OSError, RestartReason.SYSTEM),
    ((SystemExit, KeyboardInterrupt), RestartReason.EXIT),
)


def restart_reason(failure: BaseException) -> RestartReason:
    """Tell which of the few reasons a failure is; its class and message belong into the log."""
    return next((reason for kinds, reason in _REASONS if isinstance(failure, kinds)), RestartReason.ERROR)


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """What to do after a failure: `delay_ms` is how long to wait before the restart, None means give up.

    `restarts` are the times, in seconds, of the restarts that still count, this one included; keep them for the next
    decision.
    """

    restarts: tuple[float, ...]
    delay_ms: float | None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Allows `max_restarts` within any `window_ms`, each after a longer pause than the one before.

    The pause doubles from `backoff_base_ms` to `backoff_max_ms`, with a jitter of ±15 % so that actors that failed
    together do not come back together (DESIGN 2).
    """

    max_restarts: int = 5
    window_ms: int = 30_000
    backoff_base_ms: int = 10
    backoff_max_ms: int = 1_000

    def __post_init__(self) -> None:
        if self.max_restarts < 0 or self.window_ms <= 0 or not 0 <= self.backoff_base_ms <= self.backoff_max_ms:
            message = (
                f"{self} is no restart policy: max_restarts must be 0 or more, window_ms positive, "
                "and backoff_base_ms between 0 and backoff_max_ms"
            )
            raise ValueError(message)

    def decide(self, restarts: Sequence[float], now: float, random: float) -> RestartDecision:
        """Decide about a failure at `now` seconds, after `restarts` before it; `random` in [0, 1) is the jitter."""
        window_start = now - self.window_ms / 1000
        recent = tuple(moment for moment in restarts if moment > window_start)
        if len(recent) >= self.max_restarts:
            return RestartDecision(recent, None)
        # 2**64 exceeds every sensible ceiling; without the bound a policy of thousands of restarts makes huge integers.
        doubled = self.backoff_base_ms * 2 ** min(len(recent), 64)
        delay_ms = min(doubled, self.backoff_max_ms) * (1 - _JITTER + 2 * _JITTER * random)
        return RestartDecision((*recent, now), delay_ms)
