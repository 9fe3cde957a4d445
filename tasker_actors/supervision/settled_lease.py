"""A dead worker's lease with what was decided about it, and how that is stored although PostgreSQL refuses a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasker_actors.delivery.batch import as_dead_letters, batch_json
from tasker_actors.delivery.committer import BatchRefusedError
from tasker_actors.delivery.routing import dead_letter_documents
from tasker_actors.events.outgoing import Derived
from tasker_actors.messages import CommitItem
from tasker_actors.stats.counters import CommittedCount
from tasker_actors.steps.lease import StepPlan
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.trace_context import TraceContext, WorkingOn

logger = get_logger("tasker_actors.settlement")


@dataclass(frozen=True, slots=True)
class SettledLease:
    """One lease of a dead worker and what becomes of it: its commit document, the events in it, its spans."""

    lease: Mapping[str, Any]
    plan: StepPlan
    document: dict[str, Any]
    derived: Derived
    task_trace: TraceContext
    parent_span_id: str | None
    trace: TraceContext

    @property
    def correlation_id(self) -> str:
        """The task's correlation id."""
        return str(self.lease["correlation_id"])

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Why the attempt is over; None if it had not begun."""
        return self.document.get("error")


Apply = Callable[[bytes], tuple[Mapping[str, Any], tuple[CommittedCount, ...]]]
"""Stores a batch of a fenced worker, see `postgres.workers.settle`."""

Stored = tuple[list[SettledLease], dict[str, str], tuple[CommittedCount, ...]]
"""The leases that were still there, the tasks that this finished, and all that the worker has committed."""

Store = Callable[[int, Sequence[SettledLease], Apply], Stored]


def at_once(worker_id: int, decided: Sequence[SettledLease], apply: Apply) -> Stored:
    """Store all decisions in one statement; raises BatchRefusedError."""
    reply, committed = apply(_batch(worker_id, decided))
    return [one for one in decided if one.lease["token"] in reply["won"]], dict(reply["finished"]), committed


def one_by_one(worker_id: int, decided: Sequence[SettledLease], apply: Apply) -> Stored:
    """Store each decision by itself, so that what PostgreSQL refuses of one costs no other (DESIGN 3 rule 7).

    Tasks are locked in the order of their uuids, as everywhere. A lease that cannot be settled in any form ends by
    itself, and its step runs again.
    """
    stored: list[SettledLease] = []
    finished: dict[str, str] = {}
    for one in sorted(decided, key=lambda one: str(one.lease["task_uuid"])):
        reason = ""
        for form in (_as_it_is, _with_dead_letters, _without_events):
            try:
                won, ended, _ = at_once(worker_id, [form(one, reason)], apply)
            except BatchRefusedError as error:
                reason = str(error)
                with WorkingOn(one):
                    logger.error("PostgreSQL refused to settle a lease", reason=reason, token=one.lease["token"])
            else:
                stored += won
                finished |= ended
                break
    return stored, finished, at_once(worker_id, (), apply)[2]


def _as_it_is(one: SettledLease, _reason: str) -> SettledLease:
    return one


def _with_dead_letters(one: SettledLease, reason: str) -> SettledLease:
    derived = as_dead_letters(one.derived, reason)
    bare = _without_events(one, reason)
    return replace(
        bare, document=bare.document | {"dead_letters": dead_letter_documents(derived.refused)}, derived=derived
    )


def _without_events(one: SettledLease, _reason: str) -> SettledLease:
    document = {key: value for key, value in one.document.items() if key not in ("events", "dead_letters")}
    return replace(one, document=document, derived=Derived())


def _batch(worker_id: int, decided: Sequence[SettledLease]) -> bytes:
    items = [
        CommitItem(
            document=one.document, size=0, token=one.lease["token"], task_uuid=one.lease["task_uuid"], finished=None
        )
        for one in decided
    ]
    return batch_json(items, worker_id=worker_id, seq=0, lease_ms=0, places=0)
