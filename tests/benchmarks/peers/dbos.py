"""DBOS: workflows of four steps, called by as many threads as its pool has connections, in two processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from peers.peer import PROCESSES, processes, python
from peers.place import Place


class DbosPeer:
    """Its workflows are called where they run: through its queue each waits for a poll, a second by default."""

    name = "dbos_steps"
    includes = "a step with its result, in a workflow that is recorded too"
    jobs, units, creates = 400, 4, False

    def prepare(self, place: Place) -> None:
        """Its first process makes the tables."""
        self._url = place.database("dbos")
        self._journals = Path()

    def create(self, sent: Sequence[float]) -> None:
        """A share for each process, told when they start."""
        self._chains = len(sent) // PROCESSES

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """Two processes, each with its share."""
        self._journals = journals
        return processes(python("dbos_worker.py", self._url, str(self._chains)), journals)

    def is_done(self) -> bool:
        """Each process says so."""
        return len(list(self._journals.glob("*.done"))) == PROCESSES
