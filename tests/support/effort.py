"""How many examples the tests with generated input try: few in every run, many where `TEST_EFFORT` says so."""

from __future__ import annotations

import os

from hypothesis import settings

EFFORT = int(os.environ.get("TEST_EFFORT", "1"))
"""Factor for the number of examples. With 20 it is a search of many minutes, which needs other time limits:

    TEST_EFFORT=20 scripts/test -o timeout=0 -o faulthandler_timeout=0 tests/properties
"""


def examples(count: int) -> int:
    """Return how many examples to try where a normal run tries `count`."""
    return count * EFFORT


def use_effort() -> None:
    """Let tests without a number of examples of their own follow `TEST_EFFORT` too; a failure says how to repeat it."""
    current = settings()
    settings.register_profile(
        "effort", parent=current, max_examples=examples(current.max_examples), deadline=None, print_blob=True
    )
    settings.load_profile("effort")
