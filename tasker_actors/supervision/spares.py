"""Interpreters for workers: each loads what a worker needs before anybody says which worker it is."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

logger = logging.getLogger("tasker_actors.supervisor")

_OWNED = frozenset({signal.SIGINT, signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Spare:
    """A started process, this side of its link, and the pipe over which it is told who it is."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    boot_pipe: int

    def discard(self) -> None:
        """End a process that was told nothing."""
        self.process.kill()
        self.process.wait()
        self.link.close()
        os.close(self.boot_pipe)


class Spares:
    """Starts processes that load while the supervisor itself does, and hands them out; for its main thread.

    A context: whatever is left at its end is killed.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._left: list[Spare] = []

    def __enter__(self) -> Self:
        try:
            while len(self._left) < self._count:
                self._left.append(start_process())
        except BaseException:
            self._discard_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._discard_all()

    def take(self) -> Spare:
        """Return a process that is loading or has loaded, or start one."""
        while self._left:
            spare = self._left.pop(0)
            code = spare.process.poll()
            if code is None:
                return spare
            logger.warning(
                "A process for a worker ended while it loaded; another one is started", extra={"exit_code": code}
            )
            spare.discard()
        return start_process()

    def _discard_all(self) -> None:
        for spare in self._left:
            spare.discard()
        self._left.clear()


def start_process() -> Spare:
    """Start a process; call it from the main thread, whose end the worker takes for its supervisor's (HAZARDS 4).

    A new interpreter and not a fork: no thread, lock or connection of this process exists in it (HAZARDS 1, 5).
    """
    ours, theirs = socket.socketpair()
    boot_read, boot_write = os.pipe()
    try:
        # The terminal's Ctrl-C reaches every process of the group. Until the worker ignores it, it is blocked there.
        allowed = signal.pthread_sigmask(signal.SIG_BLOCK, _OWNED)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable,
                    "-m",
                    "tasker_actors.supervision.worker",
                    str(boot_read),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=(boot_read, theirs.fileno()),
                stdin=subprocess.DEVNULL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
    except BaseException:
        ours.close()
        os.close(boot_write)
        raise
    finally:
        os.close(boot_read)
        theirs.close()
    return Spare(process, ours, boot_write)


def leave_signals_to_the_supervisor() -> None:
    """Ignore, in a worker, what a terminal or a service manager sends to the whole group."""
    for number in _OWNED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OWNED)
