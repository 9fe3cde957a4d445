"""Which process serves a data directory, told from `postmaster.pid` and the process table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_SOCKET_LINE = 4
_STATUS_LINE = 7


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The server process as it described itself; `status` is starting, ready or stopping, or empty at first."""

    pid: int
    socket_directory: str
    status: str


def postmaster_file(data: Path) -> Path:
    """Return the file in which a server notes its process number while it runs."""
    return data / "postmaster.pid"


def read_postmaster(data: Path) -> Postmaster | None:
    """Return what `postmaster.pid` says, which may be of a process long gone; None if there is none to read."""
    try:
        lines = postmaster_file(data).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return None
    lines += [""] * (_STATUS_LINE + 1 - len(lines))
    return Postmaster(abs(int(lines[0])), lines[_SOCKET_LINE].strip(), lines[_STATUS_LINE].strip())


def running_postmaster(data: Path) -> Postmaster | None:
    """Return the live server of a data directory, or None.

    A process number alone proves nothing: after a restart of a container it belongs to somebody else. A server works in
    its data directory, so that is what is compared.
    """
    found = read_postmaster(data)
    return found if found is not None and _works_in(found.pid, data) else None


def leftover_processes(data: Path) -> list[int]:
    """Return the processes that still work in a data directory, as those of a killed server do for a moment."""
    return [process.pid for process in psutil.process_iter() if _works_in(process.pid, data)]


def _works_in(pid: int, data: Path) -> bool:
    try:
        return Path(psutil.Process(pid).cwd()) == data
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False  # gone, a zombie, or another user's
