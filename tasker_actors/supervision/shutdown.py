"""One deadline from the signal to the end of the process, and what enforces it whatever hangs (DESIGN G6)."""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass
from typing import Final

from tasker_actors.errors import DrainDeadlineError
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

LEAST_S: Final = 5.0
"""Kept for what comes after the handlers, however short the deadline is: so long a shutdown may take at least."""

_MOST_KEPT_S = 9.0
_KEPT_SHARE = 0.36
_WORKERS_SHARE = 0.5
_SETTLED_SHARE = 0.65

AT_ONCE_S: Final = 5.0
"""From a second signal to the end of the process."""

_NOT_ARMED_S = 10.0
_LAST_LINE_S = 0.2


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The moments of one shutdown, in monotonic seconds, each phase ending at one of them, all by `exit_by`.

    Handlers may run until `handlers_until`; what they leave is given back, and workers that have not ended by
    `workers_until` are killed; what those held is settled by `settled_until`; then HTTP, telemetry and the embedded
    server end. A phase that is over earlier leaves its time to the next.
    """

    handlers_until: float
    workers_until: float
    settled_until: float
    exit_by: float

    @classmethod
    def within(cls, began: float, total_s: float) -> Shutdown:
        """Divide the time from the signal on: what comes after the handlers gets 9 s of 25, and never less than 5."""
        kept = min(_MOST_KEPT_S, max(LEAST_S, total_s * _KEPT_SHARE))
        exit_by = began + max(total_s, kept)
        handlers_until = exit_by - kept
        return cls(
            handlers_until,
            handlers_until + kept * _WORKERS_SHARE,
            handlers_until + kept * _SETTLED_SHARE,
            exit_by,
        )


class ExitDeadline:
    """Ends this process at a moment that is set once it is to end, with `exit_code`, whatever its threads are doing.

    A thread of its own waits for that moment: the main thread may be blocked, by a full pipe behind standard error or
    by an exit handler of users' code, and is not needed for it. Workers end with this process in any case.
    """

    def __init__(self) -> None:
        self.exit_code = DrainDeadlineError.exit_code
        self._moments: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._exit_by: float | None = None
        self._thread = threading.Thread(target=self._run, name="exit-deadline", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def arm(self, moment: float) -> None:
        """End the process at this moment (monotonic), or earlier if that was set before; also from signal handlers."""
        self._exit_by = moment if self._exit_by is None else min(moment, self._exit_by)
        self._moments.put(moment)

    def left_s(self, share: float = 1.0) -> float:
        """A share of the time that is left until the process must have ended; of 10 s where nothing has been set."""
        exit_by = self._exit_by
        return share * (_NOT_ARMED_S if exit_by is None else max(0.0, exit_by - time.monotonic()))

    def _run(self) -> None:
        exit_by = self._moments.get()
        while (left := exit_by - time.monotonic()) > 0:
            try:
                exit_by = min(exit_by, self._moments.get(timeout=left))
            except queue.Empty:
                break
        try:
            # In a thread that is not waited for: the log may be what hangs.
            last_line = threading.Thread(target=self._say, daemon=True)
            last_line.start()
            last_line.join(_LAST_LINE_S)
        finally:
            os._exit(self.exit_code)

    def _say(self) -> None:
        logger.error("The supervisor did not end in time and is ended", exit_code=self.exit_code)
