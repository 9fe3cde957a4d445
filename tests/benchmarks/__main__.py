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
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests/support

import batching
import cancelling
import compare
import cost
import fast_events
import growth
import latency
import messaging
import outside
import recovery
import report
import scaling
import server_restart
import soak
import start
import telemetry
import throughput
from aims import AIMS, PEER_AIMS, Aim

SMALL = 100


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
    "cost": cost.run,
    "outside": outside.run,
    "scaling": scaling.run,
    "batching": batching.run,
    "growth": growth.run,
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
    parser.add_argument("--report", type=Path, metavar="DIR", help="also write figures.json and plots there")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # of the server that peers share
    figures: dict[str, list[float]] = {}
    failed = []
    for name in options.cases or CASES:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} measuring {name}\n")
        try:
            figures |= CASES[name](options.rounds)
        except Exception:  # noqa: BLE001 - an hour of other figures must not be lost with one
            sys.stderr.write(f"{name} failed:\n{traceback.format_exc()}")
            failed.append(name)
    measured: dict[str, object] = {"machine": _machine(), "rounds": options.rounds, "figures": figures}
    if any(name.startswith("peer_") for name in options.cases or CASES):
        measured["includes"] = compare.includes()
    if options.report is not None:
        report.write(options.report, measured, figures)
    if options.json:
        sys.stdout.write(json.dumps(measured) + "\n")
    else:
        _print(figures)
        for name, what in compare.includes().items() if "includes" in measured else ():
            sys.stdout.write(f"a unit of {name}: {what}\n")
    if failed:
        sys.exit(f"no figures of {', '.join(failed)}: see above")


def _machine() -> str:
    parts = (f"{os.cpu_count()} CPUs", platform.machine(), platform.system(), f"Python {platform.python_version()}")
    return ", ".join(parts)


def _print(figures: Mapping[str, list[float]]) -> None:
    table = Table(title=_machine())
    for column in ("figure", "median", "least", "most", "aim"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, values in figures.items():
        aim = {**AIMS, **PEER_AIMS}.get(name, Aim(name.replace("_", " "), "", None))
        summary = (statistics.median(values), min(values), max(values))
        cells = [f"{value:,.2f}" if value < SMALL else f"{value:,.0f}" for value in summary]
        target = "" if aim.aim is None else f"{'≤' if aim.is_limit else '≥'} {aim.aim:,g}{aim.unit}"
        table.add_row(aim.text, *(f"{cell}{aim.unit}" for cell in cells), target)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
