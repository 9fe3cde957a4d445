"""Starts worker processes: a fresh interpreter each, with two inherited descriptors and nothing else shared."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasker_actors.supervision.boot import WorkerBoot


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A started worker and this side of its link."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    process_start: float


def start_worker(boot: WorkerBoot) -> WorkerProcess:
    """Start a worker; call it from the main thread, whose end the worker takes for its supervisor's (HAZARDS 4).

    A new interpreter and not a fork: no thread, lock or connection of this process exists in it (HAZARDS 1, 5).
    """
    ours, theirs = socket.socketpair()
    boot_read, boot_write = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                sys.executable,
                "-m",
                "tasker_actors.supervision.worker",
                str(boot_read),
                str(theirs.fileno()),
            ],
            pass_fds=(boot_read, theirs.fileno()),
            stdin=subprocess.DEVNULL,
        )
    except BaseException:
        ours.close()
        os.close(boot_write)
        raise
    finally:
        os.close(boot_read)
        theirs.close()
    boot.write(boot_write)
    return WorkerProcess(process, ours, start_time(process.pid) or 0.0)


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
