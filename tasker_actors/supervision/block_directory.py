"""Where the memory blocks of a supervisor's workers are, and what became of those of supervisors that were killed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

_NAME = re.compile(r"tasker-actors-(?P<space>[0-9a-f]{12})-(?P<pid>\d+)-.+")


def make_block_directory(process_space: str) -> Path:
    """Make a directory for this supervisor alone, and remove those that killed supervisors of this user left behind.

    In memory where there is such a place: a page of a disk file that is being written back would make a counting worker
    wait. The names say in which process space their pids mean something.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the directory made in it is ours alone
    place = memory if memory.is_dir() else Path(tempfile.gettempdir())
    space = hashlib.sha256(process_space.encode()).hexdigest()[:12]
    for left in place.glob(f"tasker-actors-{space}-*"):
        match = _NAME.fullmatch(left.name)
        if match is not None and not psutil.pid_exists(int(match["pid"])) and left.stat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"tasker-actors-{space}-{os.getpid()}-", dir=place))
