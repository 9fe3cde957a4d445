"""Claiming steps and keeping their leases, over one connection of StepSource's thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson
import psycopg

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.postgres.outages import Session, Trouble, reason_of
from tasker_actors.postgres.templates import load_definitions
from tasker_actors.steps.claimable import ClaimableNamespaces
from tasker_actors.steps.claimer import Beginning, Claimed
from tasker_actors.steps.lease import LeasedStep, TaskFacts
from tasker_actors.steps.plans import StepPlans, task_facts

_CLAIM = "SELECT tasker.claim_steps_v1(%s, %s, %s, %s, %s)"
_BEGIN_ALONE = "SELECT tasker.begin_alone_v1(%s, %s, %s, %s)"
_EXTEND = "SELECT tasker.extend_leases_v1(%s, %s::uuid[], %s::smallint[], %s::bigint[], %s, %s)"

_UNKNOWN_LEASE_MARGIN_MS = 5_000
"""A lease that this worker does not know of is given back when it is older than this: its reply may be on its way."""


class PostgresClaimer:
    """Claims for one worker. An outage is not an error here: nothing is claimed until it is over."""

    def __init__(
        self,
        session: Session,
        *,
        worker_id: int,
        namespaces: Sequence[str],
        plans: StepPlans,
        lease_ms: int,
        new_plans: Callable[[int], None],
        logger: Any,
    ) -> None:
        self._session = session
        self._worker_id = worker_id
        self._namespaces = ClaimableNamespaces(namespaces)
        self._plans = plans
        self._lease_ms = lease_ms
        self._new_plans = new_plans
        self._logger = logger
        self._refusal: str | None = None

    def claim(self, limit: int, max_bytes: int) -> Claimed | None:
        """Lease up to `limit` steps, oldest first, as `Claimer` says; raises WorkerFencedError."""
        try:
            with self._session.asking():
                reply, tasks = self._ask(limit, max_bytes)
        except psycopg.Error as error:
            self._note(error, "claim")
            return None
        self._answered()
        steps: list[LeasedStep] = []
        foreign: list[LeasedStep] = []
        for row in reply.get("steps", ()):
            step = self._plans.lease(row, tasks[row["task_uuid"]])
            (steps if self._plans.missing(step.task.template_id) is None else foreign).append(step)
        for namespace in {step.plan.namespace for step in foreign}:
            self._namespaces.leave_out(namespace)
        return Claimed(
            steps=tuple(steps),
            foreign=tuple(foreign),
            more=reply.get("more", False),
            next_run_in_ms=reply.get("next_run_in_ms"),
        )

    def _ask(self, limit: int, max_bytes: int) -> tuple[dict[str, Any], dict[str, TaskFacts]]:
        connection = self._session.connection()
        row = connection.execute(
            _CLAIM, (self._worker_id, self._namespaces.now(), limit, self._lease_ms, max_bytes)
        ).fetchone()
        assert row is not None  # noqa: S101 - a function call returns one row
        reply = orjson.loads(row[0])
        if reply.get("fenced"):
            raise WorkerFencedError
        tasks = {task["task_uuid"]: task_facts(task) for task in reply.get("tasks", ())}
        new = {facts.template_id for facts in tasks.values() if facts.template_id not in self._plans}
        for template_id, template in load_definitions(connection, new).items():
            self._plans.add(template_id, template)
            self._new_plans(template_id)
            self._warn_of_missing(template_id)
        return reply, tasks

    def extend(self, steps: Sequence[LeasedStep]) -> Collection[int] | None:
        """Extend leases in one statement, as `Claimer` says."""
        try:
            parameters = (
                self._worker_id,
                [step.task.task_uuid for step in steps],
                [step.position for step in steps],
                [step.token for step in steps],
                self._lease_ms,
                _UNKNOWN_LEASE_MARGIN_MS,
            )
            with self._session.asking():
                row = self._session.connection().execute(_EXTEND, parameters).fetchone()
        except psycopg.Error as error:
            self._note(error, "extend leases")
            return None
        self._answered()
        return frozenset(row[0]) if row is not None else ()

    def begin_alone(self, step: LeasedStep) -> Beginning:
        """Note that a suspect begins, as `Claimer` says; one round trip."""
        try:
            row = (
                self._session.connection()
                .execute(_BEGIN_ALONE, (self._worker_id, step.task.task_uuid, step.position, step.token))
                .fetchone()
            )
        except psycopg.Error as error:
            self._note(error, "begin a suspect")
            return Beginning.LATER
        self._answered()
        assert row is not None  # noqa: S101 - a function call returns one row
        return Beginning(row[0])

    def pause_s(self) -> float:
        """Return how long to wait before the next try, as `Claimer` says."""
        return self._session.pause_s()

    def _warn_of_missing(self, template_id: int) -> None:
        if (step := self._plans.missing(template_id)) is not None:
            self._logger.warning(
                "A handler is missing here; steps of the template are given back, its namespace is left to others",
                namespace=step.namespace,
                template=step.task_type,
                template_id=template_id,
                step_name=step.name,
                handler=step.handler_name,
            )

    def _answered(self) -> None:
        self._session.worked()
        self._refusal = None

    def _note(self, error: psycopg.Error, what: str) -> None:
        """Take note of an error; a refusal, which will not pass by itself, is told once and not at each try."""
        if self._session.failed(error) is Trouble.CONTENT and self._refusal != (why := reason_of(error)):
            self._refusal = why
            self._logger.error("PostgreSQL refuses what a worker needs; it tries again", doing=what, error=why)
