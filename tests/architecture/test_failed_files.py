"""Which failed tests `scripts/test` runs once more: few, and only of real processes and servers."""

from __future__ import annotations

import pytest
from support.failed_files import MOST, files_to_run_again

STOP = "tests/acceptance/test_signals.py::test_stop"
KILL = "tests/chaos/test_kills.py::test_kill"
RULE = "tests/unit/workflow/test_rules.py::test_rule"


@pytest.mark.parametrize(
    ("failed", "files"),
    [
        ([], []),
        ([STOP], ["tests/acceptance/test_signals.py"]),
        ([KILL, STOP, f"{STOP}_again[1]"], ["tests/acceptance/test_signals.py", "tests/chaos/test_kills.py"]),
        ([STOP, RULE], []),
        ([f"{STOP}_{number}" for number in range(MOST + 1)], []),
    ],
)
def test_files_of_a_few_failed_tests_run_again(failed: list[str], files: list[str]) -> None:
    assert files_to_run_again(failed) == files
