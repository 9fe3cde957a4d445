"""When a crashed worker is started again, and when the supervisor gives up; pure, times are arguments (DESIGN G11)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartBudget:
    """Counts crashes of all slots within a window; beyond the limit the supervisor gives up (DESIGN G11).

    A worker that is replaced on purpose is no crash.
    """

    limit: int
    window_s: float
    backoff_s: float
    backoff_max_s: float
    crashes: deque[float] = field(default_factory=deque)

    def crashed(self, now: float) -> float | None:
        """Note a crash at `now`; returns the seconds to wait before the restart, or None to give up."""
        while self.crashes and self.crashes[0] <= now - self.window_s:
            self.crashes.popleft()
        self.crashes.append(now)
        if len(self.crashes) > self.limit:
            return None
        return min(self.backoff_s * 2.0 ** (len(self.crashes) - 1), self.backoff_max_s)
