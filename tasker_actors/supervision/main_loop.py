"""What the supervisor's main thread shows of itself to other threads."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class MainLoop:
    """When the main thread last went round its loop, in monotonic seconds, and whether it drains."""

    last_round: float = field(default_factory=time.monotonic)
    is_draining: bool = False
