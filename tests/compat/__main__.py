"""Runs tasker-py's own Python examples on this runtime: `scripts/compat PATH [--json]`.

PATH is a checkout of tasker-systems/tasker-core. Nothing of it is in this repository, and nothing in it is written to.
Exit code 0 if every example comes to what is expected of it, else 1; 2 for a PATH that is no such checkout.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from compat.cases import CASES
from compat.checkout import Checkout, CheckoutError
from compat.report import as_json, as_text
from compat.running import RunError, run_cases

_FOREIGN = ("TASKER_", "DATABASE_URL", "TELEMETRY_", "OTEL_", "PG", "LOG_LEVEL", "LOG_FORMAT", "NOTIFY_SOCKET")


def main() -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="scripts/compat", description=__doc__)
    parser.add_argument("path", metavar="PATH", type=Path, help="a checkout of tasker-systems/tasker-core")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")
    parser.add_argument("--only", metavar="TEXT", default="", help="run only the examples with this in their names")
    parser.add_argument("--workers", type=int, default=2, help="workers of the supervisor (2)")
    parser.add_argument("--from", dest="origin", type=Path, default=Path(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    # An end that is asked for takes the supervisor along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        checkout = Checkout(options.origin / options.path)
    except CheckoutError as error:
        print(f"compat: {error}", file=sys.stderr)
        return 2
    cases = [case for case in CASES if options.only in f"{case.name} {case.style}"]
    try:
        report = run_cases(checkout, cases, workers=options.workers, note=lambda line: print(line, file=sys.stderr))
    except RunError as error:
        print(f"compat: {error}", file=sys.stderr)
        return 1
    print(as_json(report) if options.json else as_text(report))
    return 0 if report.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
