"""What people do to steps: reset, resolve and complete them by hand. Pools are in autocommit mode.

Every function blocks for as long as the database takes, and raises what `session` raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row

from tasker_actors.errors import TaskerError
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.session import Pool, named_statements, session
from tasker_actors.postgres.templates import load_definitions
from tasker_actors.workflow.template import TaskTemplate


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a step: one of `StepAction`, who it was and why.

    `result` is JSON text with its size where the step is completed with one; `dynamic` is what it means for other
    steps, by the keys of a commit.
    """

    action: str
    by: str
    reason: str
    metadata: bytes | None = None
    result: bytes | None = None
    result_bytes: int = 0
    dynamic: Mapping[str, Any] | None = None


class TooManyStepsError(TaskerError):
    """A task would have more steps than it can."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a decision did: the states before and after, how many steps it released, how it finished its task.

    `refused` is the code of a refusal, which changed nothing; `details` then says more. The rest says whose step it
    is, as in `NewTaskRow`.
    """

    refused: str | None
    details: Mapping[str, Any]
    released: int
    finished: str | None
    task_uuid: str
    namespace: str
    name: str
    correlation_id: str
    traceparent: str
    tracestate: str | None


@dataclass(frozen=True, slots=True)
class FoundStep:
    """Which step of which template a row is; `kind` is its type there."""

    template_id: int
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class FailedTasks:
    """Which failed tasks are meant; None means any. Ages are those of their ends, `after` is an id of the order."""

    namespace: str | None = None
    name: str | None = None
    error_type: str | None = None
    failed_before: datetime | None = None
    failed_after: datetime | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class TaskReset:
    """What a reset of a task did: its state before, and how many failed steps run again."""

    status: str
    steps: int


def find_step(pool: Pool, task_uuid: str, step_uuid: str) -> FoundStep | None:
    """Look up a step; None if there is none."""
    with session(pool) as connection:
        row = connection.execute(named_statements()["find_step"], {"task": task_uuid, "step": step_uuid}).fetchone()
    return None if row is None else FoundStep(*row)


def read_template(pool: Pool, template_id: int) -> TaskTemplate:
    """Read the content of a template that a task was created with."""
    with session(pool) as connection:
        return load_definitions(connection, [template_id])[template_id]


def resolve_step(pool: Pool, task_uuid: str, step_uuid: str, decision: Decision) -> Resolution | None:
    """Do to a step what was decided, with all that follows from it, in one transaction; None for an unknown task.

    Raises TooManyStepsError for a batch that the task has no room for, and changes nothing then.
    """
    request = {
        "task": task_uuid,
        "step": step_uuid,
        "action": decision.action,
        "by": decision.by,
        "reason": decision.reason,
        "metadata": None if decision.metadata is None else orjson.Fragment(decision.metadata),
        "result": None if decision.result is None else orjson.Fragment(decision.result),
        "bytes": decision.result_bytes,
        "dynamic": decision.dynamic or {},
    }
    parameters = {"task": task_uuid, "request": orjson.dumps(request).decode()}
    with session(pool) as connection:
        try:
            row = connection.execute(named_statements()["resolve_step"], parameters).fetchone()
        except psycopg.errors.ProgramLimitExceeded as error:
            raise TooManyStepsError(reason_of(error)) from error
    if row is None:
        return None
    reply: dict[str, Any] = row[0]
    return Resolution(reply.get("refused"), reply, reply.get("released", 0), reply.get("finished"), *row[1:])


def read_audits(pool: Pool, task_uuid: str, step_uuid: str) -> list[dict[str, Any]]:
    """Return what became of a step and by whom, the last 1,000 in order; `result` and `metadata` are JSON text."""
    with session(pool) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute(named_statements()["read_audits"], {"task": task_uuid, "step": step_uuid}).fetchall()


def reset_task(pool: Pool, task_uuid: str, *, by: str, reason: str) -> TaskReset | None:
    """Let every step of a task run again that failed for good, in one transaction; None for an unknown task."""
    request = orjson.dumps({"task": task_uuid, "by": by, "reason": reason}).decode()
    with session(pool) as connection:
        row = connection.execute(named_statements()["reset_task"], {"request": request}).fetchone()
    assert row is not None  # noqa: S101 - a function call returns one row
    reply: dict[str, Any] | None = row[0]
    return None if reply is None else TaskReset(reply["status"], reply["steps"])


def find_failed_tasks(pool: Pool, wanted: FailedTasks, limit: int) -> list[str]:
    """List failed tasks by id, the oldest first. Raises QueryTimeoutError after 10 s."""
    parameters = {
        "namespace": wanted.namespace,
        "name": wanted.name,
        "error_type": wanted.error_type,
        "failed_before": wanted.failed_before,
        "failed_after": wanted.failed_after,
        "after": wanted.after,
        "limit": limit,
    }
    with session(pool) as connection, connection.transaction():
        connection.execute(named_statements()["begin_listing"], prepare=False)
        rows = connection.execute(named_statements()["find_failed_tasks"], parameters, prepare=False).fetchall()
    return [row[0] for row in rows]
