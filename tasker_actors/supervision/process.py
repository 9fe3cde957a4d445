"""Worker processes, and what tells one process from another."""

from __future__ import annotations

import platform
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasker_actors.supervision.boot import WorkerBoot
from tasker_actors.supervision.spares import Spare


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A started worker and this side of its link."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    process_start: float


def start_worker(spare: Spare, boot: WorkerBoot) -> WorkerProcess:
    """Let a process be this worker. One that has died meanwhile is a worker that dies at its start."""
    with suppress(BrokenPipeError):
        boot.write(spare.boot_pipe)
    return WorkerProcess(spare.process, spare.link, start_time(spare.process.pid) or 0.0)


def process_space() -> str:
    """Name the space in which pids mean something: one boot of one kernel, and one pid namespace of it.

    A host name would not do: containers can share one and not see each other's processes.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text().strip()} {namespace.readlink()}"
    except OSError:
        return f"{platform.node()} {int(psutil.boot_time())}"


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal, or by a debugger, and runs nothing until it is continued."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def start_time(pid: int) -> float | None:
    """Return when a process started, which tells it from a later one with the same pid; None if there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
