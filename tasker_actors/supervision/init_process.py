"""What the first process of a container has to do: reap whoever is left to it, and hand signals on."""

from __future__ import annotations

import os
import signal

from tasker_actors.supervision.signals import HANDLED

_BY_SIGNAL = 128
"""A process that a signal ended has this and the signal's number as its exit code, as shells have it."""


def leave_init_behind() -> None:
    """Fork, and return in the child only; the parent reaps, hands signals on to it, and ends with its exit code.

    Processes whose parents have ended become children of the first one, which nobody asks for: without this their
    entries would stay for ever. The supervisor itself cannot reap them all, because it would take the exit codes of its
    own children from those that wait for them. To be called while there is one thread.
    """
    watched = {*HANDLED, signal.SIGCHLD}
    # Blocked and waited for, so that none is lost; the kernel ignores for the first process what it has no handler for.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child:
        os._exit(_stay(child, watched))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # A group of its own: else a terminal would send it each Ctrl-C once more, and the second one means to stop at once.
    os.setpgid(0, 0)


def _stay(child: int, watched: set[signal.Signals]) -> int:
    """Serve until the child has ended; returns its exit code."""
    while True:
        number = signal.sigwait(watched)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else _BY_SIGNAL - code
            if pid == 0:
                break
