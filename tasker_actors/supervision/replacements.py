"""Replaces workers one after the other, each by a successor that is ready first."""

from __future__ import annotations

import random

import psutil

from tasker_actors.settings import Settings
from tasker_actors.supervision.crew import Crew, Replacement
from tasker_actors.supervision.recycling import RecycleLimits, Usage
from tasker_actors.supervision.slots import Incarnation
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

HUP = "hup"

_LOOK_S = 1.0
_RETRY_S = 60.0
"""After a successor that did not become ready: pause before a worker is recycled again."""


class Replacements:
    """Who is to be replaced, and the one replacement that is under way; used by the supervisor's main thread only.

    Never two slots at once: the next begins when the one before is over, its old worker has ended, and every slot has a
    worker that runs. Whose successor does not become ready goes on working.
    """

    def __init__(self, crew: Crew, settings: Settings) -> None:
        self._crew = crew
        worker = settings.worker
        self._limits = RecycleLimits(
            worker.recycle_steps,
            None if worker.recycle_age_ms is None else worker.recycle_age_ms / 1000,
            worker.recycle_memory_bytes,
        )
        self._jitter = worker.recycle_jitter
        self._own_limits: dict[Incarnation, RecycleLimits] = {}
        self._wanted: dict[int, str] = {}
        self._under_way: Replacement | None = None
        self._next_look = 0.0

    @property
    def are_over(self) -> bool:
        """Whether nothing is to be replaced, and nothing is being replaced."""
        return not self._wanted and self._under_way is None

    def replace_all(self) -> None:
        """Replace every worker, also one that was or is being replaced at this moment: it may have read old code."""
        self._wanted = {slot.number: HUP for slot in self._crew.slots if not slot.is_empty}

    def clear(self) -> None:
        """Replace nobody any more; what is under way comes to its end by itself."""
        self._wanted.clear()

    def tick(self, now: float) -> None:
        """Go on with the replacement that is under way, or begin the next."""
        if self._limits.are_any and now >= self._next_look:
            self._next_look = now + _LOOK_S
            self._look(now)
        if self._under_way is not None:
            self._check(self._under_way, now)
        elif self._wanted and self._crew.is_steady:
            number = next(iter(self._wanted))
            self._under_way = self._crew.replace(number, self._wanted.pop(number))

    def _check(self, replacement: Replacement, now: float) -> None:
        """See whether a replacement is over: its old worker has ended, however, or its successor has failed."""
        old, successor = replacement.old, replacement.successor
        incarnations = self._crew.slots[old.slot].incarnations
        if old in incarnations and (successor in incarnations or successor.is_ready):
            return
        self._under_way = None
        if old not in incarnations:
            return
        if replacement.reason == HUP:
            left = [number for number, reason in self._wanted.items() if reason == HUP]
            self._wanted = {number: reason for number, reason in self._wanted.items() if reason != HUP}
            logger.error("A replacement did not become ready; the workers stay as they are", slots=[old.slot, *left])
        else:
            self._next_look = now + _RETRY_S
            logger.error("A replacement did not become ready; its worker goes on", slot=old.slot)

    def _look(self, now: float) -> None:
        """Find workers that have reached one of their limits."""
        running = [slot.running for slot in self._crew.slots if slot.running is not None and not slot.is_leaving]
        self._own_limits = {one: self._own_limits.get(one) or self._draw() for one in running}
        for one, limits in self._own_limits.items():
            memory = 0 if limits.memory_bytes is None else _resident_bytes(one.pid)
            reason = limits.exceeded_by(Usage(one.finished, now - one.ready_at, memory))
            if reason is not None:
                self._wanted.setdefault(one.slot, reason)

    def _draw(self) -> RecycleLimits:
        return self._limits.with_jitter(self._jitter, random.random())  # noqa: S311 - jitter, no secret


def _resident_bytes(pid: int | None) -> int:
    """The resident memory of a process, 0 if it has just ended."""
    try:
        return 0 if pid is None else int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
