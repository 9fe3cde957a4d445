"""Handlers that do nothing, so that what is measured is the runtime."""

import os
import threading
import time
from pathlib import Path

from tasker_actors import step_handler

PAUSE = threading.Event()


@step_handler("bench.nothing")
def nothing(context):
    return {"done": True}


@step_handler("bench.entered")
def entered(context):
    """Note the first entry and the latency, as peers' handlers do."""
    import journal  # noqa: PLC0415  # is on the path only beside peers

    journal.entered(context.input_data.get("sent", 0.0))
    return {"done": True}


@step_handler("bench.until_cancelled")
def until_cancelled(context):
    """Note which process runs this, and when it saw that its task was cancelled."""
    directory, pause = Path(context.input_data["directory"]), threading.Event()
    _note(directory / f"{context.task_uuid}.begun", str(os.getpid()))
    while not context.cancelled:
        pause.wait(0.001)
    _note(directory / f"{context.task_uuid}.cancelled", repr(time.monotonic()))


def _note(path, text):
    """Write a file that is there at once or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text)
    unfinished.rename(path)


@step_handler("bench.waiting")
def waiting(context):
    """Wait as for a service that takes 5 ms."""
    PAUSE.wait(0.005)
    return {"done": True}
