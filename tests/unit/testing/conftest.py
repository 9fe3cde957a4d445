"""The kit's own fixtures, and a flight of the worked example."""

from __future__ import annotations

import pytest

from tasker_actors.example import flight_data
from tasker_actors.testing.fixtures import clock, kit

__all__ = ["clock", "delayed", "kit"]


@pytest.fixture
def delayed():
    """A flight that was late."""
    return next(dict(flight) for flight in flight_data.flights() if (flight["dep_delay"] or 0) >= 15)
