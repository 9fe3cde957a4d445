"""When a crashed worker is started again, and when the supervisor gives up; pure, times are arguments (DESIGN G11)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AfterCrash:
    """What to do after a crash: start again after `delay_s`, unless a limit is `exceeded`, which says which."""

    delay_s: float
    exceeded: str | None = None


@dataclass(slots=True)
class RestartBudget:
    """Counts crashes within a window, of each slot and of all together; beyond either limit the supervisor gives up.

    The limit of a slot finds the worker that cannot live, the one of all together what makes many die in turn. By
    default that is one crash for each slot beside those that a single one may have: what befalls a whole machine at
    once, such as a pause, ends every worker once and is no crash loop. To be replaced on purpose is no crash.
    """

    limit: int
    limit_overall: int | None
    window_s: float
    backoff_s: float
    backoff_max_s: float
    crashes: deque[tuple[float, int]] = field(default_factory=deque)

    def crashed(self, slot: int, slots: int, now: float) -> AfterCrash:
        """Note a crash in one of so many slots at `now`; the pause doubles with each crash of that slot."""
        while self.crashes and self.crashes[0][0] <= now - self.window_s:
            self.crashes.popleft()
        self.crashes.append((now, slot))
        own = sum(1 for _, crashed in self.crashes if crashed == slot)
        overall = self.limit + slots if self.limit_overall is None else self.limit_overall
        within = f"within {self.window_s * 1000:.0f} ms"
        exceeded = None
        if own > self.limit:
            exceeded = f"the worker in slot {slot} crashed more than {self.limit} times {within}"
        elif len(self.crashes) > overall:
            exceeded = f"workers crashed more than {overall} times in all {within}"
        return AfterCrash(min(self.backoff_s * 2.0 ** (own - 1), self.backoff_max_s), exceeded)
