"""Ends a process whose users' code has left threads behind."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final

from tasker_actors.telemetry.logging import get_logger

PATIENCE_S: Final = 1.0


def end_despite_threads(code: int, patience_s: float = PATIENCE_S) -> None:
    """Let the interpreter end as it does, hooks at exit included, but not wait for threads for longer than this.

    An interpreter joins every thread that is no daemon first, of pools too: one that a handler or a subscriber has
    started and forgotten would keep the process until it is killed. Call it last; returns at once.
    """
    timer = threading.Timer(patience_s, _end, (code,))
    timer.daemon = True
    timer.start()


def _end(code: int) -> None:
    left = [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    try:
        get_logger("tasker_actors.worker").warning(
            "The process ends without threads that handlers or subscribers have left", threads=left
        )
        sys.stdout.flush()
        sys.stderr.flush()
        logging.shutdown()
    finally:
        os._exit(code)
