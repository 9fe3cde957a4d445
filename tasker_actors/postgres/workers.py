"""Rows of worker processes: registered before they start, kept alive, and settled when they are dead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import psycopg
from psycopg import Connection

from tasker_actors.delivery.committer import BatchRefusedError
from tasker_actors.errors import TaskerError
from tasker_actors.postgres.outages import Trouble, trouble
from tasker_actors.postgres.statements import load_statements
from tasker_actors.stats.counters import CommittedCount

_SQL = load_statements()


class QueueMissingError(TaskerError):
    """A queue of a namespace is not there (any more): nothing was done; make it and try again."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a heartbeat says of one worker."""

    worker_id: int
    state: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Which incarnation a worker is, and where. `process_space` names where its pid means something."""

    supervisor_id: str
    host: str
    process_space: str
    slot: int
    incarnation: int
    restarts: int
    last_reason: str | None


def register_worker(connection: Connection[Any], place: WorkerPlace) -> int:
    """Make the row of an incarnation before its process starts, and return its id."""
    row = connection.execute(_SQL["register_worker"], asdict(place)).fetchone()
    assert row is not None  # noqa: S101 - RETURNING gives the inserted row
    return int(row[0])


def worker_started(connection: Connection[Any], worker_id: int, *, pid: int, process_start: float) -> None:
    """Note the process of an incarnation: pid and start time together name it on its host."""
    connection.execute(_SQL["worker_started"], {"worker_id": worker_id, "pid": pid, "process_start": process_start})


def heartbeat(connection: Connection[Any], workers: Iterable[WorkerState]) -> None:
    """Say of all workers of a supervisor, in one statement, that they are alive."""
    states = [{"worker_id": one.worker_id, "state": one.state, "in_flight": one.in_flight} for one in workers]
    connection.execute(_SQL["heartbeat_workers"], {"workers": orjson.dumps(states).decode()})


def fence(connection: Connection[Any], worker_id: int, reason: str) -> tuple[bool, Sequence[Mapping[str, Any]]]:
    """Shut a worker out and return whether it was alive, and its leases, each with the worker's slot.

    Inside the caller's transaction.
    """
    row = connection.execute(_SQL["fence_worker"], {"worker_id": worker_id, "reason": reason}).fetchone()
    assert row is not None  # noqa: S101 - a function call returns one row
    reply = orjson.loads(row[0])
    return reply["was_alive"], [{**lease, "slot": row[1]} for lease in reply["leases"]]


def mark_unseen(connection: Connection[Any], leases: Sequence[Mapping[str, Any]]) -> None:
    """Note of steps whose leases were just settled that nobody saw their process die."""
    connection.execute(
        _SQL["mark_unseen"],
        {"tasks": [lease["task_uuid"] for lease in leases], "positions": [lease["position"] for lease in leases]},
    )


def task_context(connection: Connection[Any], task_uuid: str) -> Any:
    """Read the context of a task."""
    row = connection.execute(_SQL["task_context"], {"task_uuid": task_uuid}).fetchone()
    assert row is not None  # noqa: S101 - the caller has a lease of one of its steps
    return row[0]


def settle(connection: Connection[Any], batch: bytes) -> tuple[Mapping[str, Any], tuple[CommittedCount, ...]]:
    """Apply decisions about a fenced worker's leases; returns the reply and all that the worker has committed.

    Raises BatchRefusedError for what PostgreSQL refuses: nothing of the batch is stored then, and the caller's
    transaction goes on.
    """
    try:
        with connection.transaction():
            row = connection.execute(_SQL["settle_results"], {"batch": batch.decode()}).fetchone()
    except psycopg.Error as error:
        if trouble(error) is not Trouble.CONTENT:
            raise
        raise BatchRefusedError(str(error).strip()) from error
    assert row is not None  # noqa: S101 - a function call returns one row
    reply = orjson.loads(row[0])
    return reply, tuple(CommittedCount(*count) for count in reply["counts"])


def local_workers(connection: Connection[Any], process_space: str) -> Sequence[tuple[int, int | None, float | None]]:
    """List the workers of a process space that are not settled: id, pid, process start."""
    return connection.execute(_SQL["local_workers"], {"process_space": process_space}).fetchall()


def stale_workers(connection: Connection[Any], *, supervisor_id: str, stale_ms: int, grace_ms: int) -> Sequence[int]:
    """List workers of any host that were not heard of for `stale_ms`; none in the first `grace_ms` of the server.

    None of the asking supervisor's own that have a process: it watches those itself, and knows better than a row that
    it may have been kept from writing.
    """
    parameters = {"supervisor_id": supervisor_id, "stale_ms": stale_ms, "grace_ms": grace_ms}
    return [row[0] for row in connection.execute(_SQL["stale_workers"], parameters).fetchall()]


def try_lead(connection: Connection[Any]) -> bool:
    """Become the one supervisor that does maintenance, until the end of the caller's transaction."""
    row = connection.execute(_SQL["try_lead"]).fetchone()
    return row is not None and bool(row[0])


def expire_leases(connection: Connection[Any], *, grace_ms: int) -> int:
    """Give back leases that ended although their worker lives; returns how many.

    None in the first `grace_ms` of the server: workers could not extend what they hold while it was away.
    """
    row = connection.execute(_SQL["expire_leases"], {"grace_ms": grace_ms}).fetchone()
    return 0 if row is None else int(row[0])


def forget_workers(connection: Connection[Any]) -> None:
    """Delete rows of workers that have been dead for a day."""
    connection.execute(_SQL["forget_workers"])


def other_supervisors(connection: Connection[Any], supervisor_id: str) -> bool:
    """Whether another supervisor has workers on this database."""
    row = connection.execute(_SQL["other_supervisors"], {"supervisor_id": supervisor_id}).fetchone()
    return row is not None and bool(row[0])
