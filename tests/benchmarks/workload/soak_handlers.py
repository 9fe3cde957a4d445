"""Handlers that note begin and end, or publish by the hundred, and a subscriber that is too slow for that."""

import os
import threading
import time
from functools import cache
from pathlib import Path

from tasker_actors import step_handler, subscriber

PAUSE = threading.Event()
EVENTS = 100


@cache
def journal():
    """Open this process's journal below `BENCH_JOURNALS`."""
    path = Path(os.environ["BENCH_JOURNALS"], f"{os.getpid()}.log")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(*words):
    """Write one line, with one system call."""
    os.write(journal(), (" ".join(map(str, (*words, time.time()))) + "\n").encode())


@step_handler("soak.noted")
def noted(context):
    note("begin", context.step_uuid)
    PAUSE.wait(0.05)
    note("end", context.step_uuid)


@step_handler("soak.publish")
def publish(context):
    for number in range(EVENTS):
        context.publish("soak.event", {"number": number, "text": "as long as a short sentence"}, delivery="fast")


@subscriber("soak.event")
def slow(event):
    PAUSE.wait(0.01)
