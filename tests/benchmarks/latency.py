"""From the creation of a four-step chain to its completion, on a system that does nothing else."""

from __future__ import annotations

import threading

import psycopg
from system import create_chains, home_directory, running, wait_until_finished

CHAINS = 100
PAUSE_SECONDS = 0.03
"""Between a chain's creation and the first look at it, so that looking does not slow it."""

_LATENCIES = """
SELECT extract(epoch FROM completed_at - created_at) * 1000 FROM tasker.tasks ORDER BY created_at DESC LIMIT %s
"""


def run(rounds: int) -> dict[str, list[float]]:
    """Create chains one by one, each when the one before is finished."""
    figures: dict[str, list[float]] = {"chain_p50_ms": [], "chain_p99_ms": []}
    pause = threading.Event()
    with (
        home_directory() as home,
        running(home) as system,
        system.client() as client,
        psycopg.connect(system.database_url, autocommit=True) as connection,
    ):
        create_chains(client, CHAINS)
        wait_until_finished(connection)
        for _ in range(rounds):
            for _ in range(CHAINS):
                client.post("/v1/tasks", json={"namespace": "bench", "name": "chain", "context": {}})
                pause.wait(PAUSE_SECONDS)
                wait_until_finished(connection)
            rows = connection.execute(_LATENCIES, (CHAINS,)).fetchall()
            milliseconds = sorted(float(row[0]) for row in rows)
            figures["chain_p50_ms"].append(milliseconds[CHAINS // 2])
            figures["chain_p99_ms"].append(milliseconds[CHAINS * 99 // 100])
    return figures
