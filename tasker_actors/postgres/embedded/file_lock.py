"""Locks between processes on one machine, by files; the system lets go of them when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasker_actors.errors import StartupError

_PAUSE_S = 0.02


class SharedUse:
    """A shared lock that says "in use"; the last one to hold it can tell that it is the last."""

    def __init__(self, path: Path) -> None:
        """Take the lock; whoever may take it exclusively holds `exclusive` of another file around that."""
        self._descriptor: int | None = _open(path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_sole(self) -> bool:
        """Return whether nobody else uses it; keeps the shared lock."""
        if self._descriptor is None:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return True

    def release(self) -> None:
        """Let go; does nothing the second time."""
        if self._descriptor is not None:
            # Explicitly: a forked child has a copy of the descriptor, and closing ours alone would keep the lock.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def exclusive(path: Path, deadline: float) -> Iterator[None]:
    """Hold a lock for the block; waits for it until the deadline (of `time.monotonic`), then raises StartupError."""
    descriptor = _open(path)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    msg = f"another process holds {path}: it is starting or stopping the embedded server"
                    raise StartupError(msg) from None
                time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
