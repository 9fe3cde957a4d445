"""What becomes of the steps that a dead worker held (DESIGN 3 rule 3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tasker_actors.delivery.committer import BatchRefusedError
from tasker_actors.delivery.event_log import log_refused
from tasker_actors.delivery.routing import dynamic_keys, event_documents
from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.events.derive import lost_step_message
from tasker_actors.events.facts import StepFacts
from tasker_actors.events.outgoing import BoundDeclaration, Derived
from tasker_actors.postgres.session import DatabaseBusyError, Pool, session
from tasker_actors.postgres.templates import ensure_event_queues, load_definitions
from tasker_actors.postgres.workers import fence, mark_unseen, settle, task_context
from tasker_actors.stats.counters import CommittedCount
from tasker_actors.steps.conclude import refusing
from tasker_actors.steps.lease import StepPlan
from tasker_actors.steps.plans import StepPlans
from tasker_actors.supervision.settled_lease import SettledLease, Store, at_once, one_by_one
from tasker_actors.supervision.verdict import Verdict, judge, may_have_ended_all
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.metrics import Metric
from tasker_actors.telemetry.span_ids import task_span
from tasker_actors.telemetry.trace_context import WorkingOn, correlated, new_trace, parse_traceparent

logger = get_logger("tasker_actors.settlement")

WORKER_LOST = "worker_lost"

ContextOf = Callable[[str], Any]
"""Reads a task's context, for the hooks of publishers: the few leases that need one ask for it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a dead worker had committed in all, and what its end failed: metrics with their labels, one each."""

    committed: tuple[CommittedCount, ...]
    failures: tuple[tuple[Metric, tuple[str, ...]], ...]


class Settlement:
    """Shuts dead workers out and gives their work back, in one transaction each; for one thread.

    Publishers' hooks of steps that end here run in a process of their own, if `isolated` says so: one that hangs or
    exits would take the supervisor with it. `trace` hears of what was settled,
    and of the tasks that this finished with their final status.
    """

    def __init__(
        self,
        pool: Pool,
        plans: StepPlans,
        *,
        max_payload_bytes: int,
        isolated: Callable[
            [Sequence[BoundDeclaration]], AbstractContextManager[Sequence[BoundDeclaration]]
        ] = nullcontext,
        trace: Callable[[Sequence[SettledLease], Mapping[str, str]], None],
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._plans = plans
        self._max_payload_bytes = max_payload_bytes
        self._isolated = isolated
        self._trace = trace
        self._random = uniform

    def settle(self, worker_id: int, *, running: Collection[int] | None, reason: str) -> Settled:
        """Settle a dead worker; doing it again changes nothing.

        Durable and broadcast events of a step that was on its last attempt are published in the same transaction.
        Raises DatabaseUnavailableError while the database is away: nothing was done or everything was.
        """
        try:
            return self._settle(worker_id, running, reason, at_once)
        except BatchRefusedError as error:
            logger.warning("PostgreSQL refused a settlement; it is done lease by lease", error=str(error))
            self._make_queues()
            return self._settle(worker_id, running, reason, one_by_one)

    def _make_queues(self) -> None:
        try:
            with session(self._pool) as connection:
                for namespace in sorted(self._plans.namespaces):
                    ensure_event_queues(connection, namespace)
        except (DatabaseUnavailableError, DatabaseBusyError):
            raise
        except Exception as error:  # noqa: BLE001 - the events of that namespace pay, not the worker's other steps
            logger.error("The queues of domain events could not be made", error=str(error))

    def _settle(self, worker_id: int, running: Collection[int] | None, reason: str, store: Store) -> Settled:
        with session(self._pool) as connection, connection.transaction():
            _, leases = fence(connection, worker_id, reason)
            new = {lease["template_id"] for lease in leases if lease["template_id"] not in self._plans}
            for template_id, template in load_definitions(connection, new).items():
                self._plans.add(template_id, template)
            decided = self._decide(leases, running, reason, partial(task_context, connection))
            settled, finished, committed = store(worker_id, decided, partial(settle, connection))
            if running is None:
                _mark_unseen(connection, [one.lease for one in settled])
        for one in settled:
            _log(one)
        self._trace(settled, finished)
        return Settled(committed, tuple(_failures(settled, finished)))

    def _decide(
        self,
        leases: Sequence[Mapping[str, Any]],
        running: Collection[int] | None,
        reason: str,
        context_of: ContextOf,
    ) -> list[SettledLease]:
        verdicts = judge(
            [lease["token"] for lease in leases],
            _tokens(leases, "suspect"),
            running,
            noted=_tokens(leases, "begun"),
            unseen=_tokens(leases, "unseen"),
        )
        return [self._settled(lease, verdicts[lease["token"]], reason, context_of) for lease in leases]

    def _settled(self, lease: Mapping[str, Any], verdict: Verdict, reason: str, context_of: ContextOf) -> SettledLease:
        plan = self._plans.get(lease["template_id"], lease["definition"] or lease["position"])
        given = parse_traceparent(lease["traceparent"], lease["tracestate"]) or new_trace()
        task_trace, parent_span_id = task_span(lease["task_uuid"], given)
        trace = task_trace.child()
        document: dict[str, Any] = {
            "token": lease["token"],
            "task": lease["task_uuid"],
            "position": lease["position"],
            "attempt": lease["attempt"],
            "outcome": verdict,
        }
        derived = Derived()
        if verdict != "returned":
            document["error"] = {
                "error_type": WORKER_LOST,
                "error_code": None,
                "message": f"the worker that ran this attempt was lost ({reason})",
                "retryable": True,
            }
        if verdict == "charged":
            if plan.retry.will_retry(lease["attempt"], failure_retryable=True):
                document["outcome"] = "waiting_for_retry"
                document["delay_ms"] = plan.retry.delay_ms(lease["attempt"], self._random())
            else:
                document["outcome"] = "error"
                with correlated(trace, lease["correlation_id"]):
                    derived = self._lost_events(lease, plan, context_of(lease["task_uuid"]))
                document.update(event_documents(derived, trace, lease["correlation_id"]))
                document.update(dynamic_keys(plan, "error", {}, is_instance=False))
        return SettledLease(lease, plan, document, derived, task_trace, parent_span_id, trace)

    def _lost_events(self, lease: Mapping[str, Any], plan: StepPlan, context: Any) -> Derived:
        def derive(declarations: Sequence[BoundDeclaration]) -> Derived:
            return lost_step_message(
                _facts(lease, plan, context),
                failed_at=datetime.now(UTC),
                declarations=declarations,
                max_payload_bytes=self._max_payload_bytes,
            )

        try:
            with self._isolated(plan.declarations) as declarations:
                return derive(declarations)
        except BaseException:  # noqa: BLE001 - a hook raised what is no Exception: it costs its event only
            return derive(refusing(plan.declarations))


def _tokens(leases: Iterable[Mapping[str, Any]], flag: str) -> frozenset[int]:
    return frozenset(lease["token"] for lease in leases if lease[flag])


def _mark_unseen(connection: Any, leases: Sequence[Mapping[str, Any]]) -> None:
    tokens = [lease["token"] for lease in leases]
    marked = may_have_ended_all(tokens, _tokens(leases, "suspect"), _tokens(leases, "begun"))
    mark_unseen(connection, [lease for lease in leases if lease["token"] in marked])


def _log(one: SettledLease) -> None:
    """Say what became of an attempt that had begun, under its own ids."""
    if one.error is None:
        return
    with WorkingOn(one):
        logger.warning(
            "An attempt was lost with its worker",
            task_uuid=one.lease["task_uuid"],
            step_uuid=one.lease["step_uuid"],
            step_name=one.lease["name"],
            namespace=one.plan.namespace,
            attempt=one.lease["attempt"],
            outcome=one.document["outcome"],
            error=one.error["message"],
        )
        for refused in one.derived.refused:
            log_refused(logger, refused, one.lease["task_uuid"])


def _failures(settled: Sequence[SettledLease], finished: Mapping[str, str]) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    for one in settled:
        plan = one.plan
        if one.document["outcome"] not in ("waiting_for_retry", "error"):
            continue
        yield metrics.STEP_EXECUTIONS, (plan.namespace, plan.name)
        yield metrics.STEP_FAILURES, (plan.namespace, plan.name, WORKER_LOST, "true")
        if finished.get(one.lease["task_uuid"]) == "error":
            yield metrics.TASK_FAILURES, (plan.namespace, plan.task_type, WORKER_LOST)


def _facts(lease: Mapping[str, Any], plan: StepPlan, context: Any) -> StepFacts:
    return StepFacts(
        task_uuid=lease["task_uuid"],
        step_uuid=lease["step_uuid"],
        step_name=lease["name"],
        namespace=plan.namespace,
        correlation_id=lease["correlation_id"],
        parent_correlation_id=lease["parent_correlation_id"],
        handler_name=plan.handler_name,
        attempt=lease["attempt"],
        max_attempts=plan.retry.max_attempts,
        duration_ms=0.0,
        input_data=context,
    )
