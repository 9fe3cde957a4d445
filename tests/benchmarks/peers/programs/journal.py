"""Handlers that do nothing else note here when they were entered: the same for every peer."""

import os
import time
from pathlib import Path

_entered = False


def entered(sent: float) -> None:
    """Note the moment of this process's first job, and how long ago one was created that says when."""
    global _entered  # noqa: PLW0603  # one process, one first job
    now = time.monotonic()
    directory = Path(os.environ["BENCH_JOURNALS"])
    if not _entered:
        _entered = True
        write(directory / f"{os.getpid()}.first", str(now))
    if sent:
        with (directory / f"{os.getpid()}.latency").open("a") as file:
            file.write(f"{now - sent}\n")


def write(path: Path, text: str) -> None:
    """Write a file that is there at once or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text)
    unfinished.rename(path)
