"""Work on the database that is done again until it succeeds, for the steps of a start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tasker_actors.postgres.outages import Backoff
from tasker_actors.postgres.session import PASSING_ERRORS

_PAUSE_MS = 100
_LONGEST_PAUSE_MS = 2_000
_Result = TypeVar("_Result")


def repeat_until(deadline: float, job: Callable[[], _Result], *, failed: Callable[[Exception], None]) -> _Result:
    """Do a job, again after each failure that may pass, until `deadline` in monotonic seconds; blocks.

    The job must be one that can be done twice: it may have been done although its answer was lost. `failed` hears of
    each failure before the pause after it. Raises the last one at the deadline, and any other error at once.
    """
    backoff = Backoff(_PAUSE_MS, _LONGEST_PAUSE_MS)
    while True:
        try:
            return job()
        except PASSING_ERRORS as error:
            backoff.failed()
            pause_s = backoff.pause_s()
            if time.monotonic() + pause_s >= deadline:
                raise
            failed(error)
            time.sleep(pause_s)
