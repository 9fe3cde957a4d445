"""Fixtures for pytest: with `pytest_plugins = ["tasker_actors.testing.fixtures"]` in a conftest.py they are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasker_actors.testing.clock import ManualClock
from tasker_actors.testing.kit import Kit


@pytest.fixture
def kit() -> Iterator[Kit]:
    """Give a test its clock, ids and chance; with `kit.strict = True` surprises in its tasks fail the test."""
    kit = Kit()
    yield kit
    if kit.strict and (surprises := kit.surprises()):
        pytest.fail("\n".join(surprises), pytrace=False)


@pytest.fixture
def clock(kit: Kit) -> ManualClock:
    """Give a test the clock of its kit."""
    return kit.clock
