"""What a step costs beside its handler: processor time of workers, supervisor and server; memory."""

from __future__ import annotations

from collections.abc import Iterable

import psutil
import psycopg
from system import RunningSystem, create_chains, home_directory, running, wait_until_finished

CHAINS = 5_000


def run(rounds: int) -> dict[str, list[float]]:
    """Weigh each group of processes over rounds of chains, after one that does not count."""
    figures: dict[str, list[float]] = {}
    with home_directory() as home, running(home) as system:
        for number in range(rounds + 1):
            spent = _spent_in_round(system)
            if number:
                for name, microseconds in spent.items():
                    figures.setdefault(f"{name}_us_per_step", []).append(microseconds)
        heaviest = max(psutil.Process(pid).memory_info().rss for pid in system.worker_pids())
        figures["worker_rss_under_load_mb"] = [heaviest / 1e6]
    return figures


def _spent_in_round(system: RunningSystem) -> dict[str, float]:
    with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
        create_chains(client, CHAINS)
        before = _processor_seconds(system)
        left = _open_steps(connection)
        wait_until_finished(connection)
        after = _processor_seconds(system)
    return {name: (after[name] - before[name]) / left * 1e6 for name in before}


def _open_steps(connection: psycopg.Connection[tuple[int, ...]]) -> int:
    row = connection.execute("SELECT sum(open_steps) FROM tasker.tasks WHERE completed_at IS NULL").fetchone()
    assert row is not None
    return int(row[0])


def _processor_seconds(system: RunningSystem) -> dict[str, float]:
    """Of the workers, the supervisor and every process of the server."""
    server = int((system.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(server)
    return {
        "workers": _sum(psutil.Process(pid) for pid in system.worker_pids()),
        "supervisor": _sum([psutil.Process(system.pid)]),
        "server": _sum([postmaster, *postmaster.children()]),
    }


def _sum(processes: Iterable[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
