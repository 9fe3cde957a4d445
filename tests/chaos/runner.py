"""Carries a schedule out: begins each fault when it is due, and ends those that last."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from chaos.faults import End, NotNowError, Scene, begin, length_s
from chaos.schedule import Fault

_AGAIN_S = 0.25
_PATIENCE_S = 30.0
"""A fault whose victim does not appear for so long is given up, and counted as such."""
_FIRST_PATIENCE_S = 60.0
"""The same for the first of its kind: a run without one would prove less than it says."""


class Runner:
    """Runs in the thread that calls it. `begun` counts faults by kind, `given_up` those that found no victim."""

    def __init__(self, scene: Scene, say: Callable[[str], None]) -> None:
        self._scene = scene
        self._say = say
        self._entries = 0
        self._due: list[tuple[float, int, Fault, End | None]] = []
        self.begun: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()

    def run(self, schedule: Sequence[Fault]) -> None:
        """Return when every fault was begun and ended."""
        start = time.monotonic()
        pause = threading.Event()
        for fault in schedule:
            self._push(start + fault.at_s, fault, None)
        while self._due:
            at, _, fault, end = heapq.heappop(self._due)
            pause.wait(max(0.0, at - time.monotonic()))
            if end is not None:
                end()
                self._say(f"{time.monotonic() - start:7.1f} s  {fault.number:4}  {fault.kind} is over")
            else:
                self._begin(fault, start)

    def _begin(self, fault: Fault, start: float) -> None:
        try:
            end = begin(fault, self._scene)
        except NotNowError:
            patience_s = _PATIENCE_S if self.begun[fault.kind] else _FIRST_PATIENCE_S
            if time.monotonic() > start + fault.at_s + patience_s:
                self.given_up[fault.kind] += 1
            else:
                self._push(time.monotonic() + _AGAIN_S, fault, None)
            return
        self.begun[fault.kind] += 1
        self._say(f"{time.monotonic() - start:7.1f} s  {fault.number:4}  {fault.kind}")
        if end is not None:
            self._push(time.monotonic() + length_s(fault), fault, end)

    def _push(self, at: float, fault: Fault, end: End | None) -> None:
        self._entries += 1
        heapq.heappush(self._due, (at, self._entries, fault, end))
