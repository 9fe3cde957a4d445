"""How long a process that ends may go on exporting what is left of its telemetry (SPEC 4.1)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final, NoReturn

from tasker_actors.settings import Settings
from tasker_actors.telemetry import phases

ESCALATED_MS: Final = 500
"""An actor failed for good: nothing runs twice before this process is gone."""

CUT_OFF_MS: Final = 250
"""Fenced, or the supervisor is gone: what runs here runs elsewhere soon, so this is to be over quickly."""

_LAST_LINE_MS: Final = 100
"""Beyond those: for the line that says what was lost."""


def drained_ms(settings: Settings) -> float:
    """For a worker that has drained, for its supervisor after it, and for a process of hooks that has served.

    Half each of `telemetry.shutdown_timeout_ms`: they end one after the other, and the whole is not to last longer.
    """
    return settings.telemetry.shutdown_timeout_ms / 2


def cut_short_ms(settings: Settings, limit_ms: float) -> float:
    """For a worker that ends without having drained."""
    return min(limit_ms, settings.telemetry.shutdown_timeout_ms)


def end_process(code: int, limit_ms: float, say: Callable[[], None]) -> NoReturn:
    """End this process, from any thread, as soon as what is left is exported, or its time is over, or that fails.

    `say` logs why, within that time: a log that nobody reads any more must not keep the process.
    """
    try:
        # Whatever hangs: nobody may go on here whose work runs elsewhere.
        timer = threading.Timer((limit_ms + _LAST_LINE_MS) / 1000, os._exit, (code,))
        timer.daemon = True
        timer.start()
        say()
        phases.shut_down(limit_ms)
    finally:
        os._exit(code)
