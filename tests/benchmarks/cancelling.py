"""From the request that cancels a task until its handler sees it, sent to its own supervisor and to another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
from system import home_directory, running

TASKS = 50
POLL_SECONDS = 0.001
LIMIT_SECONDS = 30


def run(rounds: int) -> dict[str, list[float]]:
    """Cancel tasks one by one, each when its handler runs; monotonic time is one for all processes of a machine."""
    figures: dict[str, list[float]] = {}
    with (
        home_directory() as home,
        running(home, workers=1) as system,
        home_directory() as second,
        running(second, workers=1, variables={"DATABASE_URL": system.database_url}) as other,
        system.client() as own,
        other.client() as foreign,
    ):
        for number in range(rounds + 1):
            seen: dict[bool, list[float]] = {True: [], False: []}
            while min(map(len, seen.values())) < TASKS:
                # Whichever worker takes it: one of the two supervisors runs it, the first is asked to cancel it.
                runs_here, milliseconds = _cancelled_after(home, own, foreign)
                seen[runs_here].append(milliseconds)
            if number:
                for runs_here, name in ((True, "cancel"), (False, "cancel_elsewhere")):
                    found = sorted(seen[runs_here])
                    figures.setdefault(f"{name}_p50_ms", []).append(found[len(found) // 2])
                    figures.setdefault(f"{name}_p99_ms", []).append(found[len(found) * 99 // 100])
    return figures


def _cancelled_after(home: Path, own: httpx.Client, foreign: httpx.Client) -> tuple[bool, float]:
    creator = own if time.monotonic_ns() % 2 else foreign
    body = {"namespace": "bench", "name": "until_cancelled", "context": {"directory": str(home)}}
    task_uuid = creator.post("/v1/tasks", json=body).raise_for_status().json()["task_uuid"]
    begun = _wait_for(home / f"{task_uuid}.begun")
    asked = time.monotonic()
    own.delete(f"/v1/tasks/{task_uuid}").raise_for_status()
    told = float(_wait_for(home / f"{task_uuid}.cancelled"))
    own_pids = {
        worker["pid"] for worker in own.get("/v1/workers").json()["workers"] if worker["supervisor_id"] == _id(own)
    }
    return int(begun) in own_pids, (told - asked) * 1000


def _id(client: httpx.Client) -> str:
    return str(client.get("/metrics/events").json()["worker_id"])


def _wait_for(path: Path) -> str:
    pause, end = threading.Event(), time.monotonic() + LIMIT_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        pause.wait(POLL_SECONDS)
    return path.read_text()
