"""From the `kill -9` of a worker until the steps that it was running run again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from system import POLL_SECONDS, RunningSystem, create_tasks, home_directory, running, wait_until_finished

WORKERS = 2
TASKS = 8_000
KILLS = 6
PAUSE_SECONDS = 1.5
"""Between two kills, from when every worker runs steps."""


def run(rounds: int) -> dict[str, list[float]]:
    """Kill workers in turn while thousands of steps of 50 ms are done; all that ran in one is a sample each."""
    figures: dict[str, list[float]] = {"recovery_p50_s": [], "recovery_p99_s": []}
    with home_directory() as home:
        journals = home / "journals"
        journals.mkdir()
        variables = {
            "BENCH_JOURNALS": str(journals),
            "TASKER_WORKER__RESTART_LIMIT": "100000",
            "TASKER_WORKER__RESTART_BACKOFF_MAX_MS": "100",  # as after the first kill in a while
        }
        with running(home, workers=WORKERS, variables=variables) as system:
            for _ in range(rounds):
                gaps = sorted(_round(system, journals))
                figures["recovery_p50_s"].append(gaps[len(gaps) // 2])
                figures["recovery_p99_s"].append(gaps[len(gaps) * 99 // 100])
    return figures


def _round(system: RunningSystem, journals: Path) -> list[float]:
    killed: dict[int, float] = {}
    pause = threading.Event()
    with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
        create_tasks(client, "noted", TASKS)
        for number in range(KILLS):
            pause.wait(PAUSE_SECONDS)
            while not (at_work := _at_work(system, journals)):
                pause.wait(POLL_SECONDS)
            victim = at_work[number % len(at_work)]
            killed[victim] = time.time()
            os.kill(victim, signal.SIGKILL)
        wait_until_finished(connection)
    return list(_gaps(journals, killed))


def _at_work(system: RunningSystem, journals: Path) -> list[int]:
    """The workers, if every slot has one that has begun a step; none of them before that."""
    workers = sorted(system.worker_pids())
    is_complete = len(workers) == WORKERS and all((journals / f"{pid}.log").exists() for pid in workers)
    return workers if is_complete else []


def _gaps(journals: Path, killed: dict[int, float]) -> Iterator[float]:
    begins: dict[str, list[float]] = {}
    cut_short: dict[str, float] = {}
    for path in journals.glob("*.log"):
        pid = int(path.stem)
        running_steps = set()
        for line in path.read_text(encoding="utf-8").splitlines():
            what, step, moment = line.split(" ")
            if what == "begin":
                begins.setdefault(step, []).append(float(moment))
                running_steps.add(step)
            else:
                running_steps.discard(step)
        if pid in killed:
            cut_short |= dict.fromkeys(running_steps, killed[pid])
    for step, at in cut_short.items():
        yield min(began for began in begins[step] if began > at) - at
