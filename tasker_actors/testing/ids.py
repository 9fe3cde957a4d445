"""Ids that are the same in every run of a test."""

from __future__ import annotations

import uuid
from random import Random

from tasker_actors.testing.clock import ManualClock

_SAME_MILLISECOND = 1 << 12


class SeededIds:
    """Makes UUIDv7 that follow from a seed and a clock; they ascend, and no two are the same."""

    def __init__(self, seed: int, clock: ManualClock) -> None:
        self._random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._clock = clock
        self._made = 0

    def uuid7(self) -> str:
        """Make a UUIDv7 in its canonical text form (RFC 9562); its 12 bits after the time count."""
        milliseconds = self._clock.start_ns // 1_000_000 + int(self._clock.elapsed_s * 1000)
        milliseconds += self._made // _SAME_MILLISECOND
        counter = self._made % _SAME_MILLISECOND
        self._made += 1
        value = milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | self._random.getrandbits(62)
        return str(uuid.UUID(int=value))

    def hex(self, digits: int) -> str:
        """Make an id of a trace or a span: hex digits, not all of them zero."""
        return f"{self._random.getrandbits(digits * 4) or 1:0{digits}x}"
