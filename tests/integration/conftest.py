"""A database of its own for each file, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.flow import Flow, own_database
from support.servers import DatabaseServer


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    """The database of all tests of a file; for other fixtures."""
    yield from own_database(embedded_server)


@pytest.fixture
def flow(database: Flow) -> Iterator[Flow]:
    """The file's database without any work in it."""
    yield from database.emptied()
