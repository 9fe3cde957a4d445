"""Ours: tasks created inside a transaction of the client's own, run by a supervisor with two workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import system

from peers.peer import PROCESSES, PROGRAMS
from peers.place import Place
from tasker_actors import TaskRequest
from tasker_actors.client.transaction import TransactionClient

BATCH = 1000


@dataclass(slots=True)
class TaskerActors:
    """Tasks of one template, in a database of their own."""

    name: str
    template: str
    jobs: int
    units: int
    includes: str
    creates: bool = True
    _home: Path = field(init=False)
    _url: str = field(init=False)
    _connection: psycopg.Connection[Any] = field(init=False)

    def prepare(self, place: Place) -> None:
        """Make the tables and register the templates, by a start."""
        self._home = place.home / self.name
        self._home.mkdir()
        self._url = place.database(self.name)
        self._connection = psycopg.connect(self._url, autocommit=True)
        with self.workers(self._home):
            pass

    def create(self, sent: Sequence[float]) -> None:
        """A thousand in one statement."""
        client = TransactionClient(self._connection)
        for start in range(0, len(sent), BATCH):
            client.create_tasks([TaskRequest(self.template, {"sent": each}) for each in sent[start : start + BATCH]])

    @contextmanager
    def workers(self, journals: Path) -> Iterator[None]:
        """Run a supervisor."""
        variables = {"DATABASE_URL": self._url, "BENCH_JOURNALS": str(journals)}
        variables["PYTHONPATH"] = f"{system.WORKLOAD}:{PROGRAMS}"
        with system.running(self._home, workers=PROCESSES, variables=variables):
            yield

    def is_done(self) -> bool:
        """No task is open."""
        row = self._connection.execute("SELECT NOT EXISTS (SELECT FROM tasker.tasks WHERE completed_at IS NULL)")
        return row.fetchone() == (True,)


def tasks() -> TaskerActors:
    """Tasks of a single step."""
    includes = "a task with its status, a step with its attempt and result, exact counters"
    return TaskerActors("ours", "bench/single", jobs=10_000, units=1, includes=includes)


def chains() -> TaskerActors:
    """Tasks of four steps in a row, each with a durable event."""
    includes = "a step with its attempt and result, its successor, a durable event, exact counters; a task for four"
    return TaskerActors("our_steps", "bench/stamped_chain", jobs=2_500, units=4, includes=includes)
