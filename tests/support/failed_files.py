"""Prints the files of the tests that failed in the last run, for a second run of these alone.

As a program (`python -m support.failed_files MOST`) it ends with 1, and prints nothing, where no test failed or more
than MOST did.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")


def failed_files(cached: Path, most: int) -> list[str]:
    """Read pytest's own list; empty where it has more tests than that."""
    failed = json.loads(cached.read_bytes()) if cached.exists() else {}
    return sorted({test.partition("::")[0] for test in failed}) if len(failed) <= most else []


if __name__ == "__main__":
    files = failed_files(LAST_FAILED, int(sys.argv[1]))
    sys.stdout.write(" ".join(files) + "\n")
    sys.exit(not files)
