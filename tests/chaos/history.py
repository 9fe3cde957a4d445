"""What is there when all is over, as plain values: rows of tables, messages of queues, journals of handlers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.stoppable_server import StoppableServer

NAMESPACES = ("chaos", "storm")


@dataclass(slots=True)
class Task:
    """A row of tasks."""

    task_uuid: str
    namespace: str
    name: str
    status: str
    key: str
    correlation_id: str
    number: int
    scripts: Mapping[str, Sequence[str]]
    code_events: bool


@dataclass(slots=True)
class Step:
    """A row of steps."""

    task_uuid: str
    step_uuid: str
    name: str
    state: str
    attempts: int
    blocked: bool
    worker_id: int | None
    token: int | None
    value: int | None
    result_attempt: int | None


@dataclass(slots=True)
class Attempt:
    """A row of step_attempts; `outcome` is `lost` for one that does not count."""

    task_uuid: str
    step: str
    token: int
    attempt: int
    outcome: str
    worker_id: int
    error_type: str | None
    error: str = ""


@dataclass(slots=True)
class Message:
    """A message of a queue of events, or a dead letter (then `code` says why)."""

    namespace: str
    event_id: str
    event_name: str
    task_uuid: str | None
    step_uuid: str | None
    attempt: int | None
    correlation_id: str
    code: str | None = None


@dataclass(slots=True)
class Count:
    """A row of worker_counts."""

    supervisor_id: str
    namespace: str
    event_name: str
    mode: str
    publisher: str
    published: int
    failed: int


@dataclass(slots=True)
class Worker:
    """A row of workers."""

    worker_id: int
    supervisor_id: str
    slot: int
    incarnation: int
    pid: int | None
    alive: bool


@dataclass(slots=True)
class Noted:
    """A line of a journal: `begin` or `end` of an attempt of a step, or `event` for a delivery to a subscriber."""

    pid: int
    what: str
    subject: str
    detail: str
    step_uuid: str
    at: float


@dataclass(slots=True)
class History:
    """All of it."""

    tasks: list[Task] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    letters: list[Message] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    journal: list[Noted] = field(default_factory=list)


_TASKS = """
SELECT task_uuid::text, namespace, name, status, coalesce(idempotency_key, '') AS key, correlation_id::text,
       (context ->> 'number')::integer AS number, context -> 'scripts' AS scripts,
       (context ->> 'code_events')::boolean AS code_events
FROM tasker.tasks
"""
_STEPS = """
SELECT task_uuid::text, step_uuid::text, name, state, attempts, blocked, worker_id, token,
       (result ->> 'value')::integer AS value, (result ->> 'attempt')::integer AS result_attempt
FROM tasker.steps
"""
_ATTEMPTS = """
SELECT a.task_uuid::text, s.name AS step, a.token, a.attempt, a.outcome, a.worker_id,
       a.error ->> 'error_type' AS error_type, coalesce(a.error ->> 'message', '') AS error
FROM tasker.step_attempts a JOIN tasker.steps s USING (task_uuid, position)
ORDER BY a.token
"""
_MESSAGES = """
SELECT '{0}' AS namespace, message ->> 'event_id' AS event_id, message ->> 'event_name' AS event_name,
       message -> 'metadata' ->> 'task_uuid' AS task_uuid, message -> 'metadata' ->> 'step_uuid' AS step_uuid,
       (message -> 'execution' ->> 'attempt')::integer AS attempt,
       message -> 'metadata' ->> 'correlation_id' AS correlation_id
FROM pgmq.q_{0}_domain_events
"""
_LETTERS = """
SELECT '{0}' AS namespace, e ->> 'event_id' AS event_id, e ->> 'event_name' AS event_name,
       e -> 'metadata' ->> 'task_uuid' AS task_uuid, e -> 'metadata' ->> 'step_uuid' AS step_uuid,
       (e -> 'execution' ->> 'attempt')::integer AS attempt, e -> 'metadata' ->> 'correlation_id' AS correlation_id,
       message -> 'reason' ->> 'code' AS code
FROM pgmq.q_{0}_domain_events_dlq CROSS JOIN LATERAL (SELECT message -> 'event' AS e) AS letter
"""
_COUNTS = """
SELECT w.supervisor_id::text, c.namespace, c.event_name, c.delivery_mode AS mode, c.publisher,
       sum(c.published)::integer AS published, sum(c.failed)::integer AS failed
FROM tasker.worker_counts c JOIN tasker.workers w USING (worker_id)
GROUP BY 1, 2, 3, 4, 5
"""
_WORKERS = "SELECT worker_id, supervisor_id::text, slot, incarnation, pid, alive FROM tasker.workers"


def read_history(server: StoppableServer, database: str, directory: Path) -> History:
    """Read everything from the database, past every proxy, and the journals below the project's directory."""

    def rows(query: str) -> list[dict[str, Any]]:
        return server.execute(query, database=database)

    return History(
        [Task(**row) for row in rows(_TASKS)],
        [Step(**row) for row in rows(_STEPS)],
        [Attempt(**row) for row in rows(_ATTEMPTS)],
        [Message(**row) for name in NAMESPACES for row in rows(_MESSAGES.format(name))],
        [Message(**row) for name in NAMESPACES for row in rows(_LETTERS.format(name))],
        [Count(**row) for row in rows(_COUNTS)],
        [Worker(**row) for row in rows(_WORKERS)],
        sorted(_journals(directory), key=lambda line: line.at),
    )


def _journals(directory: Path) -> Iterator[Noted]:
    for path in directory.glob("journal-*.log"):
        pid = int(path.stem.partition("-")[2])
        for line in path.read_text(encoding="utf-8").splitlines():
            what, subject, detail, *rest = line.split(" ")
            at = float(rest[-1])
            # begin STEP ATTEMPT TIME, end STEP ATTEMPT TIME, event ID NAME STEP TIME
            yield Noted(pid, what, subject, detail, rest[0] if what == "event" else subject, at)
