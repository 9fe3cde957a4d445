"""Procrastinate: its asynchronous worker, jobs deleted when they are done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg

from peers.peer import processes, script
from peers.place import Place

CONCURRENCY = 16


class ProcrastinatePeer:
    """Jobs are deleted when they are done."""

    name = "procrastinate"
    includes = "a job and its events, both deleted at its end"
    jobs, units, creates = 1_000, 1, True

    def prepare(self, place: Place) -> None:
        """Apply its schema."""
        self._url = place.database("procrastinate")
        import procrastinate  # noqa: PLC0415  # this module has its name

        self._connection = psycopg.connect(self._url, autocommit=True)
        self._loop = asyncio.new_event_loop()
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self._url))
        self._loop.run_until_complete(self._open())

    async def _open(self) -> None:
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    def create(self, sent: Sequence[float]) -> None:
        """All in one statement."""
        jobs = [{"sent": each} for each in sent]
        deferred = self._app.configure_task("nothing", queue="bench").batch_defer_async(*jobs)
        self._loop.run_until_complete(deferred)

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """Two processes."""
        command = script("procrastinate", "--app", "procrastinate_worker.app", "worker", "--queues", "bench")
        command += ["--concurrency", str(CONCURRENCY), "--delete-jobs", "always"]
        return processes(command, journals, BENCH_URL=self._url)

    def is_done(self) -> bool:
        """Nothing is in its table."""
        row = self._connection.execute("SELECT NOT EXISTS (SELECT FROM procrastinate_jobs)")
        return row.fetchone() == (True,)
