"""The environment of a child process."""

from __future__ import annotations

import os


def bare(**variables: str) -> dict[str, str]:
    """Make an environment of `variables`, the path to programs and what lets coverage trace the child; no more."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
    return {**kept, **variables}
