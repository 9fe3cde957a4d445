"""Signals of the supervisor: handlers only put a word into the inbox, the main loop does the work (HAZARDS 7)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from tasker_actors.supervision.inbox import Inbox

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
)


@dataclass(frozen=True, slots=True)
class Signalled:
    """Signal handler → main thread."""

    number: signal.Signals
    at: float
    """When it came, in monotonic seconds: the main thread may be late."""


def install_handlers(inbox: Inbox, ending: Callable[[float], None]) -> None:
    """Send the signals of SPEC 7 to the inbox; only the main thread may call this.

    `ending` is told at once, in the handler, when a signal came that ends the process; it must be reentrant too.

    `SimpleQueue.put` is reentrant, which an ordinary queue's is not: a handler may interrupt any other put.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in (signal.SIGTERM, signal.SIGINT):
            ending(now)
        inbox.put((None, Signalled(signal.Signals(number), now)))

    for number in HANDLED:
        signal.signal(number, forward)
