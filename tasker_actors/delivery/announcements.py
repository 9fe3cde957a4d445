"""What a worker's commits mean for others: work that they may claim, and leases that they hold no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Announcements:
    """Told to the supervisor after a commit: the namespaces of released steps, cancelled leases of others."""

    released: Callable[[Sequence[str]], None]
    cancelled: Callable[[Sequence[int]], None]
