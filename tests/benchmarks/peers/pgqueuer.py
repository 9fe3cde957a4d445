"""PgQueuer: asyncpg, uvloop and large batches, as its guide to performance and its own benchmark have it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import asyncpg
import psycopg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from peers.peer import processes, python, script
from peers.place import Place

BATCH = 1000


class PgQueuerPeer:
    """Jobs are deleted when they are done, and a row of its log is written for each."""

    name = "pgqueuer"
    includes = "a job, and a row of a log"
    jobs, units, creates = 10_000, 1, True

    def prepare(self, place: Place) -> None:
        """Install its durable tables, and its settings for autovacuum."""
        self._url = place.database("pgqueuer")
        for command in ("install", "autovac"):
            subprocess.run(script("pgq", "--pg-dsn", self._url, command), check=True, stdout=subprocess.DEVNULL)
        self._connection = psycopg.connect(self._url, autocommit=True)
        self._loop = asyncio.new_event_loop()
        self._queries: Queries | None = None

    def create(self, sent: Sequence[float]) -> None:
        """A thousand in one statement."""
        self._loop.run_until_complete(self._enqueue(sent))

    async def _enqueue(self, sent: Sequence[float]) -> None:
        self._queries = self._queries or Queries(AsyncpgDriver(await asyncpg.connect(self._url)))
        for start in range(0, len(sent), BATCH):
            batch = [repr(each).encode() for each in sent[start : start + BATCH]]
            await self._queries.enqueue(["nothing"] * len(batch), batch, [0] * len(batch))

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """Two processes."""
        return processes(python("pgqueuer_worker.py", self._url), journals)

    def is_done(self) -> bool:
        """Nothing is in its table."""
        return self._connection.execute("SELECT NOT EXISTS (SELECT FROM pgqueuer)").fetchone() == (True,)
