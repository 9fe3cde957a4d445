"""Interruptions by the hundred, in a process that nothing traces.

One of them may hit coverage's own code while it holds its lock, and the traced process would wait for that for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("interruption_cases.py")


def test_a_time_limit_that_passes_while_telemetry_is_handed_over_leaves_everything_usable() -> None:
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        env=untraced,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
