"""Breaks a running system by a seeded schedule and checks that nothing was lost: `scripts/chaos --minutes M --seed S`.

Exit code 0 if there is nothing to complain of, else 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.run import Plan, chaos
from chaos.schedule import FaultKind

_FOREIGN = ("TASKER_", "DATABASE_URL", "TELEMETRY_", "OTEL_", "PG", "LOG_LEVEL", "LOG_FORMAT", "NOTIFY_SOCKET")


def main() -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are injected (10)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="makes the schedule and the work (the time)")
    parser.add_argument("--workers", type=int, default=3, help="workers of the supervisor (3)")
    parser.add_argument("--rate", type=float, default=20.0, help="most requests a second that create tasks (20)")
    parser.add_argument("--open-tasks", type=int, default=400, help="create no more while so many are open (400)")
    parser.add_argument("--pause", type=float, default=2.5, help="seconds between two faults, on average (2.5)")
    parser.add_argument("--only", nargs="+", metavar="KIND", type=FaultKind, help="inject nothing but these kinds")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")
    parser.add_argument("--keep", action="store_true", help="keep logs and journals also where all is well")
    parser.add_argument("--list", action="store_true", help="print the schedule and do nothing")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    plan = Plan(
        options.seed,
        options.minutes * 60,
        options.workers,
        options.rate,
        options.open_tasks,
        options.pause,
        options.keep,
        tuple(options.only or FaultKind),
    )
    # An end that is asked for takes the server and all other processes along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.list:
        for fault in plan.schedule:
            print(f"{fault.at_s:7.1f} s  {fault.kind}  choice {fault.choice:.3f}  {fault.duration_s:.1f} s")
        return 0
    report = chaos(plan, lambda line: print(line, file=sys.stderr, flush=True))
    print(report.as_json() if options.json else report.as_text())
    return 1 if report.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
