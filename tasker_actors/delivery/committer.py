"""What DurablePublisher needs of a database: one batch stored exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class BatchRefusedError(Exception):
    """PostgreSQL refused a batch for what is in it: the transaction was rolled back, another try gives the same."""


class WorkerFencedError(BaseException):
    """This worker was declared dead: its leases are gone and it must end at once."""


@dataclass(frozen=True, slots=True)
class CommitReply:
    """What a transaction did. `steps` are the rows of successors that it leased to this worker.

    `cancelled` are leases that ended with their steps, as token and worker: the rest of a batch that fails fast.
    """

    won: frozenset[int]
    finished_tasks: Mapping[str, str]
    released: int
    steps: Sequence[Mapping[str, Any]]
    cancelled: Sequence[tuple[int, int]] = ()


class Committer(Protocol):
    """Stores batches, each exactly once."""

    def commit(self, batch: bytes) -> CommitReply:
        """Store a batch; blocks, through outages too, until it is known to be stored.

        Raises BatchRefusedError, after which nothing of it is stored, and WorkerFencedError.
        """
