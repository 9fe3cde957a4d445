"""An actor system of its own for each test, and in it a DurablePublisher before a database that the test plays."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.exporting import Lines, log_lines
from support.publishing import Database, Publishing

from tasker_actors.actors import ActorSystem


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    system = ActorSystem("worker-0")
    yield system
    assert system.stop_all([], time.monotonic() + 5) == ()


@pytest.fixture
def publisher(system: ActorSystem, database: Database) -> Publishing:
    return Publishing(system, database, worker_id=7, max_batch=10)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with log_lines() as written:
        yield written
