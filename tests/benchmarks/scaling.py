"""Steps a second by the number of workers, of handlers that only wait: 5 ms each, 16 at a time in a worker."""

from __future__ import annotations

import psycopg
from system import create_tasks, home_directory, running, wait_until_finished
from throughput import now, rate_since

WORKERS = (1, 2, 4, 8)
TASKS_A_WORKER = 4_000
CONCURRENCY = 16


def run(rounds: int) -> dict[str, list[float]]:
    """Start as many workers as the round wants, and let them work off what was created before."""
    figures: dict[str, list[float]] = {f"waiting_steps_per_s_{workers}_workers": [] for workers in WORKERS}
    for _ in range(rounds):
        for workers in WORKERS:
            figures[f"waiting_steps_per_s_{workers}_workers"].append(_rate(workers))
    return figures


def _rate(workers: int) -> float:
    variables = {"TASKER_WORKER__CONCURRENCY": str(CONCURRENCY)}
    with (
        home_directory() as home,
        running(home, workers=workers, variables=variables) as system,
        system.client() as client,
        psycopg.connect(system.database_url, autocommit=True) as connection,
    ):
        create_tasks(client, "waiting", TASKS_A_WORKER * min(workers, 4))
        created = now(connection)
        wait_until_finished(connection)
        return rate_since(connection, created)
