"""Dead letters: events that could not be published (SPEC 2, rule 2), listed and sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from tasker_actors.postgres.events import EVENTS_SUFFIX, Messages, find_queues, newest_messages, queue_table
from tasker_actors.postgres.session import Pool, named_statements, session, statement_for
from tasker_actors.telemetry.trace_context import TraceContext

DEAD_LETTERS_SUFFIX = "_domain_events_dlq"
MAX_NAMED = 100
"""Dead letters that one request may name: with the largest payloads, what a server takes in one statement."""

_BATCH = 500
_BATCH_BYTES = 8 * 1024 * 1024
_NAMED_BYTES = 2**62
_FAILED_AT = ["failed_at"]


@dataclass(frozen=True, slots=True)
class RedriveRequest:
    """Which dead letters of a namespace are sent again: those named by one of the two, or all after `after_msg_id`.

    Of all, `event_name`, `reason` (its code) and the moments of their failure leave only some.

    `payload` is JSON text to publish in place of the kept payload, for a request that names exactly one.
    """

    namespace: str
    msg_ids: Sequence[int] | None = None
    event_ids: Sequence[str] | None = None
    after_msg_id: int = 0
    payload: bytes | None = None
    event_name: str | None = None
    reason: str | None = None
    failed_before: datetime | None = None
    failed_after: datetime | None = None

    @property
    def names_some(self) -> bool:
        """Whether it is about certain dead letters, and not about all."""
        return self.msg_ids is not None or self.event_ids is not None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A dead letter that was not sent again, and why; what was not found has only the id that it was named by."""

    msg_id: int | None
    event_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Redrive:
    """What one batch did: (msg_id, event_id) of what was published again, what was not, and where the next begins.

    `next_after_msg_id` is None if this was everything that was asked for.
    """

    redriven: tuple[tuple[int, str], ...]
    refused: tuple[Refusal, ...]
    next_after_msg_id: int | None


def read_dead_letters(pool: Pool, *, namespace: str | None = None, limit: int) -> Messages | None:
    """Return the newest dead letters of one namespace or all, in the order of `failed_at`.

    None for an unknown namespace. Raises what `session` raises.
    """
    with session(pool) as connection:
        queues = find_queues(connection, DEAD_LETTERS_SUFFIX, namespace)
        if not queues and namespace is not None:
            return None
        return newest_messages(
            connection, queues, "read_dead_letters", time_path=_FAILED_AT, correlation_id=None, limit=limit
        )


def redrive(pool: Pool, request: RedriveRequest, trace: TraceContext) -> Redrive | None:
    """Publish one batch of dead letters again, each with its own `event_id`, and remove them, in one transaction.

    All that are named, or else the next 500 with about 8 MiB of payloads. Of two calls at the same time one publishes
    a dead letter and the other does not find it. `trace` is for events whose task is not known any more. None for an
    unknown namespace. Raises what `session` raises; after an OutcomeUnknownError the batch was moved entirely or not
    at all.
    """
    letters = queue_table(f"{request.namespace}{DEAD_LETTERS_SUFFIX}")
    with session(pool) as connection, connection.transaction():
        if not find_queues(connection, DEAD_LETTERS_SUFFIX, request.namespace):
            return None
        connection.execute(named_statements()["limit_lock_wait"])
        rows = _lock(connection, request, letters)
        redriven: list[tuple[int, str]] = []
        refused: list[Refusal] = []
        for msg_id, event_id, is_event, has_payload, _ in rows:
            refusal = _refusal(
                msg_id, event_id, is_event=is_event, has_payload=has_payload or request.payload is not None
            )
            if refusal is None:
                redriven.append((msg_id, event_id))
            else:
                refused.append(refusal)
        if redriven:
            _move(connection, request, letters, [msg_id for msg_id, _ in redriven], trace)
    refused.extend(_not_found(request, rows))
    more = bool(rows) and rows[0][4] > len(rows)
    return Redrive(tuple(redriven), tuple(refused), rows[-1][0] if more else None)


def _lock(connection: Connection[TupleRow], request: RedriveRequest, letters: sql.Identifier) -> list[TupleRow]:
    parameters = {
        "msg_ids": None if request.msg_ids is None else list(request.msg_ids),
        "event_ids": None if request.event_ids is None else list(request.event_ids),
        "after": request.after_msg_id,
        "event_name": request.event_name,
        "reason": request.reason,
        "failed_before": request.failed_before,
        "failed_after": request.failed_after,
        # One more than a batch tells whether there is another.
        "limit": None if request.names_some else _BATCH + 1,
        "max_bytes": _NAMED_BYTES if request.names_some else _BATCH_BYTES,
    }
    statement = statement_for("lock_dead_letters", letters=letters)
    rows = connection.execute(statement, parameters, prepare=False).fetchall()
    return rows if request.names_some else rows[:_BATCH]


def _move(
    connection: Connection[TupleRow],
    request: RedriveRequest,
    letters: sql.Identifier,
    msg_ids: list[int],
    trace: TraceContext,
) -> None:
    parameters = {
        "queue": f"{request.namespace}{EVENTS_SUFFIX}",
        "payload": None if request.payload is None else request.payload.decode(),
        "traceparent": trace.traceparent,
        "tracestate": trace.tracestate,
        "msg_ids": msg_ids,
    }
    connection.execute(statement_for("republish_dead_letters", letters=letters), parameters, prepare=False)
    connection.execute(statement_for("delete_dead_letters", letters=letters), {"msg_ids": msg_ids}, prepare=False)


def _refusal(msg_id: int, event_id: str | None, *, is_event: bool, has_payload: bool) -> Refusal | None:
    if not is_event:
        text = "this message is no dead letter of an event: it has no event_id, event_name or correlation_id"
        return Refusal(msg_id, event_id, "not_an_event", text)
    if not has_payload:
        text = "its payload could not be stored: redrive it alone with a corrected `payload`"
        return Refusal(msg_id, event_id, "no_payload", text)
    return None


def _not_found(request: RedriveRequest, rows: Sequence[TupleRow]) -> list[Refusal]:
    """Name what was asked for and is not there."""
    text = "there is no such dead letter: it was redriven or removed already"
    msg_ids = {row[0] for row in rows}
    event_ids = {row[1] for row in rows}
    return [
        *(Refusal(msg_id, None, "not_found", text) for msg_id in request.msg_ids or () if msg_id not in msg_ids),
        *(Refusal(None, each, "not_found", text) for each in request.event_ids or () if each not in event_ids),
    ]
