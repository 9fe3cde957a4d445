"""Templates, tasks and results in a real database, as the supervisor and its workers would leave them there."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
from psycopg import Connection

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.tasks import create_tasks
from tasker_actors.postgres.templates import register_template
from tasker_actors.postgres.workers import WorkerPlace, register_worker
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.task_planning import NewTaskRow
from tasker_actors.workflow.template import TaskTemplate

ORDER = {
    "name": "order",
    "namespace_name": "shop",
    "version": "1.0.0",
    "description": "An order, from stock to mail",
    "input_schema": {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "integer", "minimum": 1}, "items": {"type": "array"}},
    },
    "steps": [
        {"name": "reserve", "handler": {"callable": "shop.reserve"}},
        {
            "name": "charge",
            "handler": {"callable": "shop.charge"},
            "dependencies": ["reserve"],
            "publishes_events": [{"name": "order.charged", "delivery_mode": "broadcast"}],
        },
        {"name": "notify", "handler": {"callable": "shop.notify"}, "dependencies": ["charge"]},
    ],
}


def register(pool: Pool, **changes: Any) -> RegisteredTemplate:
    """Register the order template, with some keys changed."""
    template = TaskTemplate.model_validate({**ORDER, **changes})
    with pool.connection() as connection:
        return register_template(connection, template, accept_changed_content=False)[0]


def task_row(registered: RegisteredTemplate, **changes: Any) -> NewTaskRow:
    """Make the row of a task of a template, with some columns changed."""
    columns = {
        "task_uuid": new_uuid7(),
        "template_id": registered.template_id,
        "namespace": registered.template.namespace_name,
        "name": registered.template.name,
        "priority": 0,
        "step_uuids": tuple(new_uuid7() for _ in registered.plan),
        "context": b'{"amount":1}',
        "initiator": None,
        "source_system": None,
        "reason": None,
        "tags": (),
        "correlation_id": new_uuid7(),
        "parent_correlation_id": None,
        "idempotency_key": None,
        "identity_hash": None,
        "traceparent": new_trace().traceparent,
        "tracestate": None,
    }
    return NewTaskRow(**{**columns, **changes})


def create(pool: Pool, registered: RegisteredTemplate, **changes: Any) -> NewTaskRow:
    """Create one task and return its row."""
    row = task_row(registered, **changes)
    create_tasks(pool, [row])
    return row


def new_worker(pool: Pool) -> int:
    """Register a worker of a supervisor of its own and return its id."""
    place = WorkerPlace(
        supervisor_id=str(uuid4()),
        host="testhost",
        process_space="test",
        slot=0,
        incarnation=1,
        restarts=0,
        last_reason=None,
    )
    with pool.connection() as connection:
        return register_worker(connection, place)


class FakeWorker:
    """A worker's side of the database: claims steps and commits what they came to."""

    def __init__(self, pool: Pool, namespaces: list[str] | None = None) -> None:
        self._pool = pool
        self._namespaces = namespaces or ["shop"]
        self._seq = 0
        self.worker_id = new_worker(pool)

    def claim(self, limit: int = 100) -> list[dict[str, Any]]:
        """Lease the steps that can run."""
        with self._pool.connection() as connection:
            reply = self._call(
                connection,
                "SELECT tasker.claim_steps_v1(%s, %s, %s, 30000, 1000000)",
                [self.worker_id, self._namespaces, limit],
            )
        steps: list[dict[str, Any]] = reply.get("steps", [])
        return steps

    def commit(self, *results: dict[str, Any], publications: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
        """Commit results made by `result`."""
        self._seq += 1
        document = {
            "worker": self.worker_id,
            "seq": self._seq,
            "lease_ms": 30_000,
            "continue": 0,
            "tasks": sorted({result["task"] for result in results}),
            "labels": [["shop", "order.charged", "durable", "default"]],
            "results": list(results),
            "publications": list(publications),
        }
        with self._pool.connection() as connection:
            return self._call(connection, "SELECT tasker.commit_batch_v1(%s::jsonb)", [orjson.dumps(document).decode()])

    def run(self, **outcome: Any) -> None:
        """Claim what can run and commit the same outcome for all of it, until nothing can run."""
        while steps := self.claim():
            self.commit(*(result(step, **outcome) for step in steps))

    def _call(self, connection: Connection[Any], statement: bytes | str, parameters: list[Any]) -> dict[str, Any]:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        reply: dict[str, Any] = orjson.loads(row[0])
        return reply


def result(step: dict[str, Any], outcome: str = "complete", **changes: Any) -> dict[str, Any]:
    """What one leased step came to: complete, waiting_for_retry or error."""
    value = {"ok": step["position"]}
    return {
        "token": step["token"],
        "task": step["task_uuid"],
        "position": step["position"],
        "attempt": step["attempt"],
        "outcome": outcome,
        "result": value if outcome == "complete" else None,
        "bytes": len(orjson.dumps(value)) if outcome == "complete" else 0,
        "error": None if outcome == "complete" else {"type": "handler_error", "code": None, "message": "no"},
        "delay_ms": 3_600_000,
        "suspect": False,
        "duration_ms": 1.5,
        "events": [],
        "dead_letters": [],
        **changes,
    }


def message(correlation_id: str, *, fired_at: str, name: str = "order.charged", **changes: Any) -> dict[str, Any]:
    """An event's message as SPEC 2.4 lays it out."""
    return {
        "event_id": new_uuid7(),
        "event_name": name,
        "event_version": "1.0",
        "payload": {"amount": 1},
        "execution": None,
        "metadata": {
            "task_uuid": None,
            "step_uuid": None,
            "step_name": None,
            "namespace": "shop",
            "correlation_id": correlation_id,
            "parent_correlation_id": None,
            "fired_at": fired_at,
            "fired_by": "shop.charge",
            "custom": {},
        },
        **changes,
    }


def dead_letter(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A dead letter of an event, as SPEC 2 (rule 2) lays it out."""
    without_payload = {key: value for key, value in event.items() if key != "payload"}
    return {
        "event": without_payload,
        "payload": event["payload"],
        "payload_repr": repr(event["payload"]),
        "reason": {"code": "schema_violation", "message": "amount is too small", "path": "/amount"},
        "failed_at": event["metadata"]["fired_at"],
        **changes,
    }


def send(pool: Pool, queue: str, *documents: Any, headers: dict[str, Any] | None = None) -> list[int]:
    """Put messages into a queue and return their ids."""
    with pool.connection() as connection:
        return [
            connection.execute(
                "SELECT pgmq.send(%s, %s::jsonb, %s::jsonb)",
                [queue, orjson.dumps(document).decode(), orjson.dumps(headers).decode()],
            ).fetchone()[0]  # type: ignore[index]  # a function call has a row
            for document in documents
        ]


def queue_rows(pool: Pool, queue: str) -> list[tuple[Any, ...]]:
    """What is in a queue: (msg_id, message, headers, read_ct) in order."""
    with pool.connection() as connection:
        return connection.execute(
            f"SELECT msg_id, message, headers, read_ct FROM pgmq.q_{queue} ORDER BY msg_id"  # noqa: S608  names of this test
        ).fetchall()
