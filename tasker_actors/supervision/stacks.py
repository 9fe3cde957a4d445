"""What every thread of this process is doing, for the log."""

from __future__ import annotations

import sys
import threading
import traceback


def thread_stacks() -> dict[str, list[str]]:
    """Return the stack of each thread, innermost frame last, by the thread's name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): [line.rstrip() for line in traceback.format_stack(frame)]
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - the documented way to see all threads
    }
