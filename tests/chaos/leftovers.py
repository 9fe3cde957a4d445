"""What is still there after the last supervisor has stopped, and should not be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import psutil
from chaos.faults import DATABASE
from chaos.guardian import Life, processes_of
from support.stoppable_server import StoppableServer
from support.supervised import is_running
from support.waiting import until

_BLOCKS = Path("/dev/shm")  # noqa: S108 - looked at, not written to
_LEAVE_S = 10.0


def left_running(lives: Sequence[Life], directory: Path, *, wait_s: float = _LEAVE_S) -> Iterator[str]:
    """Name processes of the run in this directory that are still there; what was killed takes a moment to be gone.

    They are those that were seen below a supervisor, whatever they have become since, and those that nobody saw start.
    """

    def left() -> dict[int, str]:
        found = {process.pid: "" for process in processes_of(directory)}
        found |= {
            each.pid: f" of supervisor {life.number}" for life in lives for each in life.processes if each.is_running()
        }
        return {pid: whose for pid, whose in found.items() if is_running(pid)}

    try:
        until(lambda: not left(), wait_s)
    except AssertionError:
        for pid, whose in sorted(left().items()):
            yield f"left: process {pid}{whose} is still running: {_command(pid)}"


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:200]
    except psutil.NoSuchProcess:
        return "gone by now"


def left_in_database(server: StoppableServer, *, wait_s: float = _LEAVE_S) -> Iterator[str]:
    """Name sessions and locks that are still there; a session takes a moment to see that its client is gone."""

    def sessions() -> list[str]:
        rows = server.execute(
            "SELECT pid, application_name, state, wait_event, query FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()",
            DATABASE,
        )
        return [f"left: a session in the database: {row}" for row in rows]

    try:
        until(lambda: not sessions(), wait_s)
    except AssertionError:
        yield from sessions()
    for row in server.execute("SELECT pid, objid, mode FROM pg_locks WHERE locktype = 'advisory'"):
        yield f"left: an advisory lock: {row}"


def left_on_disk(directory: Path, supervisors: Collection[int]) -> Iterator[str]:
    """Name sockets and temporary files in the working directory, and memory blocks of our supervisors, by pid."""
    for path in directory.rglob("*"):
        if path.is_socket() or path.is_fifo() or path.suffix in (".tmp", ".lock", ".pid"):
            yield f"left: {path.name} in the working directory"
    pids = {str(pid) for pid in supervisors}
    for path in _BLOCKS.glob("tasker-actors-*-*-*"):
        if path.name.split("-")[3] in pids:
            yield f"left: memory blocks {path}"
