"""Makes sure that no worker outlives its supervisor, and that no group of users' processes outlives a worker."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its supervisor ends (Linux); exits at once if that has happened.

    The end of the link says the same a moment later and works everywhere; both, because a process that holds the
    interpreter cannot read the link (HAZARDS 4). The supervisor must start workers from its main thread: the kernel
    watches the thread that forked.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
