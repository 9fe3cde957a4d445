"""Prints the files of the tests that failed in the last run, for a second run of these alone.

As a program (`python -m support.failed_files`) it ends with 1, and prints nothing, where there is nothing to run again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST = 3
WITH_PROCESSES = ("tests/integration/", "tests/acceptance/", "tests/chaos/")


def files_to_run_again(failed: Sequence[str]) -> list[str]:
    """Return the files of failed tests, given by their ids; none of more than MOST, or where one needs no process."""
    excused = len(failed) <= MOST and all(test.startswith(WITH_PROCESSES) for test in failed)
    return sorted({test.partition("::")[0] for test in failed}) if excused else []


if __name__ == "__main__":
    files = files_to_run_again(list(orjson.loads(LAST_FAILED.read_bytes())) if LAST_FAILED.exists() else [])
    sys.stdout.write(" ".join(files) + "\n")
    sys.exit(not files)
