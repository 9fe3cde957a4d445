"""Start to ready with the embedded server present, and what a worker weighs when it has nothing to do."""

from __future__ import annotations

import psutil
from system import home_directory, running


def run(rounds: int) -> dict[str, list[float]]:
    """Start and stop in the same home; the first start, which makes the server's files, does not count."""
    figures: dict[str, list[float]] = {"start_to_ready_s": [], "worker_rss_mb": []}
    with home_directory() as home:
        for number in range(rounds + 1):
            with running(home) as system:
                megabytes = [psutil.Process(pid).memory_info().rss / 1e6 for pid in system.worker_pids()]
            if number:
                figures["start_to_ready_s"].append(system.seconds_to_ready)
                figures["worker_rss_mb"].append(max(megabytes))
    return figures
