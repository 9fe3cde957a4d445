"""Whether a failed attempt is followed by another, and after how long (SPEC 5, retry)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

DEFAULT_BASE_MS = 1_000
DEFAULT_MAX_MS = 30_000
DEFAULT_MAX_ATTEMPTS = 3

JITTER = 0.15
"""Delays are spread over this part of them in both directions, so that steps that failed together do not return so."""

MAX_RETRY_AFTER_MS = 366 * 86_400_000
"""A handler's `retry_after` is cut to a year: a larger one would leave the range of a timestamp."""


class Backoff(StrEnum):
    """How the delay grows from one attempt to the next."""

    NONE = "none"
    """No delay at all."""
    LINEAR = "linear"
    """base, 2 base, 3 base, …"""
    EXPONENTIAL = "exponential"
    """base, 2 base, 4 base, 8 base, …"""
    FIBONACCI = "fibonacci"
    """base, base, 2 base, 3 base, 5 base, …"""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a step is tried, and how long it waits in between; `max_attempts` counts the first try."""

    retryable: bool = True
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    backoff: Backoff = Backoff.EXPONENTIAL
    base_ms: int = DEFAULT_BASE_MS
    max_ms: int = DEFAULT_MAX_MS

    def will_retry(self, attempt: int, *, failure_retryable: bool) -> bool:
        """Tell whether another attempt follows the `attempt`-th, which failed (SPEC 2.1, failed for good)."""
        return self.retryable and failure_retryable and attempt < self.max_attempts

    def delay_ms(self, attempt: int, random: float) -> int:
        """Compute the wait after the `attempt`-th attempt (from 1) failed.

        `random` in [0, 1) places the delay within the jitter: 0.5 is the plain one. The result is at most
        `max_ms` and its jitter. Cost does not grow with `attempt`. Raises ValueError for an attempt below 1.
        """
        if attempt < 1:
            raise ValueError(f"attempt {attempt}: attempts are counted from 1")
        return int(self._plain_ms(attempt) * (1 - JITTER + 2 * JITTER * random))

    def _plain_ms(self, attempt: int) -> int:
        match self.backoff:
            case Backoff.NONE:
                return 0
            case Backoff.LINEAR:
                return min(self.base_ms * attempt, self.max_ms)
            case Backoff.EXPONENTIAL:
                # A base of 1 reaches any limit within its own number of bits: no need for a larger power.
                doublings = min(attempt - 1, self.max_ms.bit_length())
                return min(self.base_ms << doublings, self.max_ms)
            case Backoff.FIBONACCI:
                return _fibonacci_ms(attempt, self.base_ms, self.max_ms)
            case _:
                assert_never(self.backoff)


def next_delay_ms(policy: RetryPolicy, attempt: int, retry_after_ms: int | None, random: float) -> int:
    """Choose the wait after the `attempt`-th attempt failed: the handler's `retry_after`, else the computed delay.

    `retry_after` is taken as it is, without jitter and beyond the policy's limit; a negative one is 0.
    """
    if retry_after_ms is not None:
        return max(0, min(retry_after_ms, MAX_RETRY_AFTER_MS))
    return policy.delay_ms(attempt, random)


def _fibonacci_ms(attempt: int, base_ms: int, max_ms: int) -> int:
    current, following = base_ms, base_ms
    for _ in range(attempt - 1):
        # A base of 0 never grows: without this the loop would run once for each attempt.
        if current >= max_ms or following == 0:
            break
        current, following = following, current + following
    return min(current, max_ms)
