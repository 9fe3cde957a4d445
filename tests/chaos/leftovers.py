"""What is still there after the last supervisor has stopped, and should not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from chaos.faults import DATABASE
from chaos.guardian import Life
from support.stoppable_server import StoppableServer
from support.waiting import until

_BLOCKS = Path("/dev/shm")  # noqa: S108 - looked at, not written to
_LEAVE_S = 10.0


def left_running(lives: Sequence[Life]) -> Iterator[str]:
    """Name processes that are still there."""
    for life in lives:
        for process in life.workers:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield f"left: worker {process.pid} of supervisor {life.number} is still running"


def left_in_database(server: StoppableServer) -> Iterator[str]:
    """Name sessions and locks that are still there; a session takes a moment to see that its client is gone."""

    def sessions() -> list[str]:
        rows = server.execute(
            "SELECT pid, application_name, state, wait_event, query FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()",
            DATABASE,
        )
        return [f"left: a session in the database: {row}" for row in rows]

    try:
        until(lambda: not sessions(), _LEAVE_S)
    except AssertionError:
        yield from sessions()
    for row in server.execute("SELECT pid, objid, mode FROM pg_locks WHERE locktype = 'advisory'"):
        yield f"left: an advisory lock: {row}"


def left_on_disk(directory: Path, lives: Sequence[Life]) -> Iterator[str]:
    """Name sockets and temporary files in the working directory, and memory blocks of any of our supervisors."""
    for path in directory.rglob("*"):
        if path.is_socket() or path.is_fifo() or path.suffix in (".tmp", ".lock", ".pid"):
            yield f"left: {path.name} in the working directory"
    pids = {str(life.pid) for life in lives}
    for path in _BLOCKS.glob("tasker-actors-*") if _BLOCKS.is_dir() else ():
        if path.name.split("-")[3:4] and path.name.split("-")[3] in pids:
            yield f"left: memory blocks {path}"
