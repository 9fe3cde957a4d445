"""Measures what README's table of figures says: `scripts/bench [--rounds N] [--json] [CASE ...]`.

Each case warms up with a round that does not count, runs several rounds, and prints median, least and most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests/support

import cancelling
import compare
import fast_events
import latency
import messaging
import recovery
import server_restart
import soak
import start
import telemetry
import throughput


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is, and what it should be; at most this for times and memory, else at least."""

    text: str
    unit: str
    aim: float | None
    is_limit: bool = False


SMALL = 100

AIMS: Mapping[str, Aim] = {
    "steps_per_s": Aim("steps a second, 2 workers, one durable event each", "/s", None),
    "steps_per_s_with_creation": Aim("the same, from the creation of the first task", "/s", None),
    "pgbench_commits_per_s": Aim("one-row commits of pgbench, 8 clients", "/s", None),
    "steps_per_pgbench_commit": Aim("steps per pgbench commit", "", 0.7),
    "chain_p50_ms": Aim("four-step chain, idle, p50", " ms", 20.0, is_limit=True),
    "chain_p99_ms": Aim("four-step chain, idle, p99", " ms", None),
    "cancel_p50_ms": Aim("a cancel reaches a running handler, p50", " ms", 200.0, is_limit=True),
    "cancel_p99_ms": Aim("a cancel reaches a running handler, p99", " ms", 200.0, is_limit=True),
    "cancel_elsewhere_p50_ms": Aim("the same, asked at another supervisor, p50", " ms", 200.0, is_limit=True),
    "cancel_elsewhere_p99_ms": Aim("the same, asked at another supervisor, p99", " ms", 200.0, is_limit=True),
    "fast_events_per_s": Aim("fast events, one worker, one subscriber", "/s", 40_000),
    "tell_per_second": Aim("tell to another process, 500 bytes", "/s", 60_000),
    "ask_per_second_one_asker": Aim("ask to another process, one asker", "/s", None),
    "ask_per_second_eight_askers": Aim("ask to another process, eight askers", "/s", 10_000),
    "bare_one_way_per_second": Aim("a bare socket pair, one way", "/s", None),
    "bare_round_trips_per_second": Aim("a bare socket pair, there and back", "/s", None),
    "tell_to_bare": Aim("tell per bare one way", "", None),
    "ask_to_bare": Aim("ask per bare round trip", "", None),
    "start_to_ready_s": Aim("start to ready, embedded server present", " s", 3.0, is_limit=True),
    "telemetry_off_steps_per_s": Aim("steps a second, telemetry off", "/s", None),
    "telemetry_sampled_1_percent_steps_per_s": Aim("the same, 1 % of traces sampled", "/s", None),
    "telemetry_sampled_all_steps_per_s": Aim("the same, all traces sampled", "/s", None),
    "telemetry_dead_collector_steps_per_s": Aim("the same, all sampled, no collector answers", "/s", None),
    "telemetry_sampled_1_percent_cost_percent": Aim("cost of 1 % sampled", " %", 5.0, is_limit=True),
    "telemetry_sampled_all_cost_percent": Aim("cost of all sampled", " %", 50.0, is_limit=True),
    "telemetry_dead_collector_cost_percent": Aim("cost of a dead collector, all sampled", " %", 5.0, is_limit=True),
    "telemetry_sampled_all_dropped_percent": Aim("spans dropped, all sampled", " %", None),
    "telemetry_off_worker_rss_mb": Aim("memory of a worker after it, telemetry off", " MB", None),
    "telemetry_dead_collector_worker_rss_mb": Aim("the same, dead collector", " MB", None),
    "worker_rss_mb": Aim("resident memory of a worker at rest", " MB", 90.0, is_limit=True),
    "recovery_p50_s": Aim("kill -9 of a worker until its steps run again, p50", " s", 2.0, is_limit=True),
    "recovery_p99_s": Aim("the same, p99", " s", 2.0, is_limit=True),
    "server_restart_down_s": Aim("a restart of the server under load: seconds without it", " s", None),
    "server_restart_full_speed_s": Aim("from its return until full speed again", " s", None),
    "backlog_worker_peak_mb": Aim("100,000 steps in backlog, peak memory of a worker", " MB", 150.0, is_limit=True),
    "backlog_supervisor_peak_mb": Aim("the same, of the supervisor", " MB", None),
    "fast_events_worker_peak_mb": Aim(
        "a million fast events to a slow subscriber, peak memory of a worker", " MB", 150.0, is_limit=True
    ),
    "fast_events_supervisor_peak_mb": Aim("the same, of the supervisor", " MB", None),
}


def _messaging(rounds: int) -> dict[str, list[float]]:
    measured = [messaging.run(1) for _ in range(rounds)]
    return {name: [one[name] for one in measured] for name in measured[0]}


CASES: Mapping[str, Callable[[int], dict[str, list[float]]]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "cancelling": cancelling.run,
    "fast_events": fast_events.run,
    "messaging": _messaging,
    "start": start.run,
    "telemetry": telemetry.run,
    "recovery": recovery.run,
    "server_restart": server_restart.run,
    "soak": soak.run,
    "peer_jobs": compare.jobs,
    "peer_steps": compare.steps,
    "peer_starts": compare.starts,
    "peer_chains_alone": compare.chains_alone,
    "peer_actors": compare.actors,
}


def main() -> None:
    """Run the cases that were asked for, or all."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each case (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    figures: dict[str, list[float]] = {}
    for name in options.cases or CASES:
        sys.stderr.write(f"measuring {name}\n")
        figures |= CASES[name](options.rounds)
    if options.json:
        sys.stdout.write(json.dumps({"machine": _machine(), "rounds": options.rounds, "figures": figures}) + "\n")
    else:
        _print(figures)


def _machine() -> str:
    parts = (f"{os.cpu_count()} CPUs", platform.machine(), platform.system(), f"Python {platform.python_version()}")
    return ", ".join(parts)


def _print(figures: Mapping[str, list[float]]) -> None:
    table = Table(title=_machine())
    for column in ("figure", "median", "least", "most", "aim"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, values in figures.items():
        aim = AIMS.get(name, Aim(name.replace("_", " "), "", None))
        summary = (statistics.median(values), min(values), max(values))
        cells = [f"{value:,.2f}" if value < SMALL else f"{value:,.0f}" for value in summary]
        target = "" if aim.aim is None else f"{'≤' if aim.is_limit else '≥'} {aim.aim:,g}{aim.unit}"
        table.add_row(aim.text, *(f"{cell}{aim.unit}" for cell in cells), target)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
