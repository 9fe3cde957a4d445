"""Steps a second, beside the one-row commits of the server's own pgbench in the same minutes."""

from __future__ import annotations

import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
from system import STEPS, create_chains, home_directory, running, wait_until_finished

from tasker_actors.postgres.embedded import programs

CHAINS = 5_000
PGBENCH_CLIENTS = 8
PGBENCH_SECONDS = 3

# From the moment at which the last task was created, so that workers, server and nothing else have the machine.
_RATE = """
SELECT count(*) / extract(epoch FROM max(finished_at) - %(since)s)
FROM tasker.step_attempts WHERE finished_at > %(since)s
"""
_RATE_WITH_CREATION = """
SELECT count(*) * %(steps)s / extract(epoch FROM max(completed_at) - min(created_at))
FROM tasker.tasks WHERE created_at >= %(since)s
"""


def run(rounds: int) -> dict[str, list[float]]:
    """Alternate pgbench and chains, after one round of each that does not count."""
    figures: dict[str, list[float]] = {"steps_per_s": [], "steps_per_s_with_creation": [], "pgbench_commits_per_s": []}
    with (
        home_directory() as home,
        running(home) as system,
        system.client() as client,
        psycopg.connect(system.database_url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text)")
        for number in range(rounds + 1):
            rates = _round(home, client, connection)
            if number:
                for name, rate in zip(figures, rates, strict=True):
                    figures[name].append(rate)
    ratios = zip(figures["steps_per_s"], figures["pgbench_commits_per_s"], strict=True)
    figures["steps_per_pgbench_commit"] = [steps / commits for steps, commits in ratios]
    return figures


def _round(home: Path, client: httpx.Client, connection: psycopg.Connection[Any]) -> tuple[float, float, float]:
    commits = _pgbench(home)
    began = now(connection)
    create_chains(client, CHAINS)
    created = now(connection)
    wait_until_finished(connection)
    rate = rate_since(connection, created)
    return rate, _one(connection, _RATE_WITH_CREATION, {"since": began, "steps": STEPS}), commits


def rate_since(connection: psycopg.Connection[Any], moment: datetime) -> float:
    """Return the steps a second of what has run since then."""
    return _one(connection, _RATE, {"since": moment})


def now(connection: psycopg.Connection[Any]) -> datetime:
    """Return the server's time."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def _one(connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any]) -> float:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return float(row[0])


def _pgbench(home: Path) -> float:
    """One-row commits a second of eight clients."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("INSERT INTO one_row (value) VALUES (repeat('x', 100));\n")
        script.flush()
        output = subprocess.run(
            [
                str(programs() / "pgbench"),
                *("-n", "-c", str(PGBENCH_CLIENTS), "-j", "2", "-T", str(PGBENCH_SECONDS), "-f", script.name),
                *("-h", str(home / "postgres" / "run"), "-U", "postgres", "tasker"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    line = next(line for line in output.splitlines() if line.startswith("tps"))
    return float(line.split()[2])
