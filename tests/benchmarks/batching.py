"""Steps a second of chains by the size of commits: what the batches of the durable publisher are worth."""

from __future__ import annotations

import psycopg
from system import create_chains, home_directory, running, wait_until_finished
from throughput import now, rate_since

BATCHES = (1, 10, 100, 300)
"""Most steps of one commit; 300 is the default."""

CHAINS_OF_ONE = 500
CHAINS = 3_000


def run(rounds: int) -> dict[str, list[float]]:
    """Start a system with each size in turn, and let it work off what was created before."""
    figures: dict[str, list[float]] = {f"batch_{batch}_steps_per_s": [] for batch in BATCHES}
    for _ in range(rounds):
        for batch in BATCHES:
            figures[f"batch_{batch}_steps_per_s"].append(_rate(batch))
    return figures


def _rate(batch: int) -> float:
    variables = {"TASKER_COMMIT__MAX_BATCH": str(batch)}
    with (
        home_directory() as home,
        running(home, variables=variables) as system,
        system.client() as client,
        psycopg.connect(system.database_url, autocommit=True) as connection,
    ):
        create_chains(client, CHAINS_OF_ONE if batch == 1 else CHAINS)
        created = now(connection)
        wait_until_finished(connection)
        return rate_since(connection, created)
