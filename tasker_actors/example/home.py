"""The directory of one run of the example: its database and its log, new for each run."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasker_actors.postgres.embedded import EmbeddedServer
from tasker_actors.postgres.embedded.files import ServerFiles
from tasker_actors.postgres.embedded.process import running_postmaster

_START_TIMEOUT_MS = 30_000
_STOP_S = 20.0


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Give a new directory for the block, and leave nothing of it behind, not even a database server.

    The server's supervisor stops it. It is still there only if that was killed.
    """
    home = Path(tempfile.mkdtemp(prefix="tasker-example-"))
    try:
        yield home
    finally:
        if running_postmaster(ServerFiles.below(home).data) is not None:
            EmbeddedServer.start(home, _START_TIMEOUT_MS).stop(time.monotonic() + _STOP_S)
        shutil.rmtree(home)


def kept_home(configured: Path) -> Path:
    """Return the configured home if it has nothing in it yet, so that other commands find it; else a new directory."""
    home = configured.absolute()
    if not home.exists() or not any(home.iterdir()):
        home.mkdir(parents=True, exist_ok=True)
        return home
    return Path(tempfile.mkdtemp(prefix="tasker-example-"))
