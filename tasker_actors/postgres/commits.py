"""Storing a batch exactly once, through everything that can happen to a connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from tasker_actors.delivery.committer import BatchRefusedError, CommitReply, WorkerFencedError
from tasker_actors.postgres.outages import Session, Trouble, reason_of

# In text format: the JSON goes out as the bytes that it is, which may be many, and is not copied on the way.
_COMMIT = "SELECT tasker.commit_batch_v1(%t)"


class PostgresCommitter:
    """Commits a worker's batches over one connection of DurablePublisher's thread.

    A connection that is lost in the middle leaves the outcome unknown. The same batch is then sent again with the same
    number: the function looks first whether that number is taken and answers with what happened (DESIGN 3 rule 5).
    """

    def __init__(self, session: Session, *, repair_queues: Callable[[], None], logger: Any) -> None:
        self._session = session
        self._repair_queues = repair_queues
        self._logger = logger

    def commit(self, batch: bytes) -> CommitReply:
        """Store a batch as `Committer` says; waits through outages as long as they last."""
        document = Jsonb(batch, dumps=bytes)
        repaired = False
        while True:
            try:
                with self._session.asking():
                    row = self._session.connection().execute(_COMMIT, (document,)).fetchone()
            except psycopg.errors.UndefinedTable as error:
                if repaired:
                    raise BatchRefusedError(str(error).strip()) from error
                repaired = True
                self._logger.warning("a queue is missing; it is made again", error=str(error).strip())
                self._repair()
            except psycopg.Error as error:
                self._wait(error)
            else:
                self._session.worked()
                assert row is not None  # noqa: S101 - a function call returns one row
                return _reply(row[0])

    def _wait(self, error: psycopg.Error) -> None:
        if self._session.failed(error) is Trouble.CONTENT:
            told = (error.diag.message_primary, error.diag.message_detail)  # without the lines of functions
            raise BatchRefusedError(": ".join(part for part in told if part) or reason_of(error)) from error
        time.sleep(self._session.pause_s())

    def _repair(self) -> None:
        try:
            with self._session.asking():
                self._repair_queues()
        except psycopg.Error as error:
            self._logger.warning("the queue could not be made", error=str(error).strip())


def _reply(text: str) -> CommitReply:
    reply = orjson.loads(text)
    if reply.get("fenced"):
        raise WorkerFencedError
    return CommitReply(
        won=frozenset(reply["won"]),
        finished_tasks=dict(reply["finished"]),
        released=reply["released"],
        steps=reply.get("steps", ()),
        cancelled=[(token, worker) for token, worker in reply.get("cancelled", ())],
    )
