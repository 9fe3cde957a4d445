"""The most memory of each process: a backlog of 100,000 steps, and a million fast events to a slow subscriber."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import httpx
import psycopg
from system import (
    POLL_SECONDS,
    STEPS,
    RunningSystem,
    create_chains,
    create_tasks,
    home_directory,
    running,
    wait_until_finished,
)

BACKLOG_STEPS = 100_000
EVENTS = 1_000_000
EVENTS_A_STEP = 100
DISPATCH_SECONDS = 60


def run(_rounds: int) -> dict[str, list[float]]:
    """Measure once: a process's peak is of all its life, and one round is long enough."""
    figures: dict[str, list[float]] = {}
    with home_directory() as home, running(home) as system:
        with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
            create_chains(client, BACKLOG_STEPS // STEPS)
            wait_until_finished(connection)
        figures |= _peaks(system, "backlog")
    with home_directory() as home, running(home) as system:
        with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
            create_tasks(client, "publish", EVENTS // EVENTS_A_STEP)
            wait_until_finished(connection)
            _wait_until_dispatched(client)
        figures |= _peaks(system, "fast_events")
    return figures


def _wait_until_dispatched(client: httpx.Client) -> None:
    """Wait until the bus has handed over what was committed; all but a few events fall out of the full buffer."""
    pause = threading.Event()
    deadline = time.monotonic() + DISPATCH_SECONDS
    while (bus := client.get("/metrics/events").json()["in_process_bus"])["total_events_dispatched"] < EVENTS:
        assert time.monotonic() < deadline, bus
        pause.wait(POLL_SECONDS)
    assert bus["subscriber_drops"] > 0, bus


def _peaks(system: RunningSystem, what: str) -> dict[str, list[float]]:
    workers = [_peak_mb(pid) for pid in system.worker_pids()]
    return {f"{what}_worker_peak_mb": [max(workers)], f"{what}_supervisor_peak_mb": [_peak_mb(system.pid)]}


def _peak_mb(pid: int) -> float:
    """The most resident memory that a process has ever had, as the kernel noted it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6
