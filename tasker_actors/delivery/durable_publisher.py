"""DurablePublisher: commits results together with their durable events, as many at once as are waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.delivery.announcements import Announcements
from tasker_actors.delivery.batch import MAX_BATCH_BYTES, BatchLimits, batch_json, cut, fallbacks
from tasker_actors.delivery.committer import BatchRefusedError, Committer
from tasker_actors.delivery.returns import returned
from tasker_actors.delivery.routing import commit_item
from tasker_actors.events.text import described
from tasker_actors.messages import CommitItem, CommitItems, StepsCommitted
from tasker_actors.steps.capacity import Capacity
from tasker_actors.steps.lease import LeasedStep, TaskFacts
from tasker_actors.steps.ledger import Ledger, Stage
from tasker_actors.telemetry.trace_context import Correlated, Correlation, WorkingOn

_OF_MANY = Correlation(None, None)
"""What a batch is worked on under: its entries are of many tasks, whichever of them the first message was about."""


@dataclass(slots=True)
class CommitState:
    """What outlives a failure of the actor: the number of the last commit, and one that was sent and not answered."""

    seq: int = 0
    unanswered: tuple[bytes, list[CommitItem]] | None = None


class DurablePublisher(Actor):
    """Group commit: what waits in the mailbox goes into one transaction, alone when idle, hundreds under load.

    Nothing of a batch is told to anybody before the server said that it is ready again (DESIGN 3 rule 6).
    """

    def __init__(
        self,
        *,
        worker_id: int,
        ledger: Ledger,
        capacity: Capacity,
        state: CommitState,
        committer: Committer,
        lease: Callable[[Mapping[str, Any], TaskFacts], LeasedStep],
        listeners: Sequence[LocalAddress],
        announce: Announcements,
        logger: Any,
        limits: BatchLimits,
        lease_ms: int,
    ) -> None:
        self._worker_id = worker_id
        self._ledger = ledger
        self._capacity = capacity
        self._state = state
        self._committer = committer
        self._lease = lease
        self._listeners = listeners
        self._announce = announce
        self._logger = logger
        self._limits = limits
        self._lease_ms = lease_ms

    def on_start(self) -> None:
        """Finish what an earlier instance had begun: first the batch whose answer is missing, then the rest."""
        if self._state.unanswered is not None:
            payload, items = self._state.unanswered
            try:
                self._send(payload, items)
            except BatchRefusedError as error:
                self._state.unanswered = None
                self._refused(items, str(error))
        self._commit_all(
            deque(
                returned(item.step) if item.finished is None else commit_item(item.finished)
                for item in self._ledger.items(Stage.COMMITTING)
            )
        )

    def receive(self, message: CommitItems) -> None:
        """Commit this message's entries and those of the messages that wait behind it, in full batches."""
        with WorkingOn(_OF_MANY):
            self._commit_all(deque(message.items))

    def _commit_all(self, pending: deque[CommitItem]) -> None:
        while True:
            while len(pending) < self._limits.max_count:
                waiting = self.take_waiting(self._limits.max_count - len(pending), CommitItems)
                if not waiting:
                    break
                for envelope in waiting:
                    pending.extend(envelope.message.items)
            if not pending:
                return
            batch = next(cut(pending, self._limits.max_count, self._limits.max_bytes))
            for _ in batch:
                pending.popleft()
            held = self._held(batch)
            if held:
                self._commit(held)

    def _held(self, batch: Sequence[CommitItem]) -> list[CommitItem]:
        """Leave out what an instance that failed has committed, or taken from the ledger as well as the mailbox."""
        by_token = {one.token: one for one in batch if self._ledger.get(one.token) is not None}
        return [one for one in batch if one.publication is not None or by_token.get(one.token) is one]

    def _commit(self, batch: list[CommitItem]) -> None:
        """Commit a batch; if PostgreSQL refuses it, halve it until the culprit is alone and pays alone."""
        reason = self._try(batch)
        if reason is not None:
            self._refused(batch, reason)

    def _refused(self, batch: list[CommitItem], reason: str) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            self._commit(batch[:middle])
            self._commit(batch[middle:])
            return
        with WorkingOn(self._source(batch[0])):
            self._refused_alone(batch[0], reason)

    def _refused_alone(self, item: CommitItem, reason: str) -> None:
        self._logger.error("PostgreSQL refused an entry", reason=reason, token=item.token)
        if not any(self._try([instead]) is None for instead in fallbacks(item, reason)):
            # Only a damaged schema refuses our own plain failure; the lease ends by itself and the step runs again.
            self._logger.error("an entry could not be stored in any form", reason=reason, token=item.token)
            self._ledger.remove([item.token])
            if item.publication is not None:
                item.publication.reply.fail(BatchRefusedError(reason))

    def _source(self, item: CommitItem) -> Correlated:
        """Whose ids lines about an entry have; a step that is given back is in the ledger."""
        held = self._ledger.get(item.token)
        return item.finished or item.publication or (_OF_MANY if held is None else held.step)

    def _try(self, batch: list[CommitItem]) -> str | None:
        """Commit a batch; returns why it cannot be stored as it is, None if it was."""
        size = sum(item.size for item in batch)
        if size > MAX_BATCH_BYTES:
            return f"it has {size} bytes, and no value of PostgreSQL can have more than {MAX_BATCH_BYTES}"
        held_after = len(self._ledger) - sum(1 for item in batch if item.publication is None)
        try:
            payload = batch_json(
                batch,
                worker_id=self._worker_id,
                seq=self._state.seq + 1,
                lease_ms=self._lease_ms,
                places=0 if self._ledger.outflow.is_full else self._capacity.free(held_after),
                max_continued_bytes=self._limits.max_continued_bytes,
            )
        except (MemoryError, TypeError, ValueError) as error:
            # Nothing was sent. Whatever is in one entry, the others are stored without it.
            return f"it cannot be written as JSON: {described(error)}"
        try:
            self._send(payload, batch)
        except BatchRefusedError as error:
            self._state.unanswered = None
            return str(error)
        return None

    def _send(self, payload: bytes, batch: list[CommitItem]) -> None:
        self._state.unanswered = (payload, batch)
        sent_at = time.monotonic()
        reply = self._committer.commit(payload)
        committed_at = time.monotonic()
        self._state.seq += 1
        self._state.unanswered = None
        won = tuple(item for item in batch if item.publication is not None or item.token in reply.won)
        lost = tuple(item for item in batch if item.publication is None and item.token not in reply.won)
        facts = {
            item.task_uuid: held.step.task
            for item in batch
            if (held := self._ledger.get(item.token)) is not None and item.task_uuid is not None
        }
        continued = tuple(self._lease(row, facts[row["task_uuid"]]) for row in reply.steps)
        # Added before the others are removed, so that the ledger is never empty in between.
        self._ledger.add(continued)
        removed = self._ledger.remove(item.token for item in batch if item.publication is None)
        if lost:
            self._logger.warning("results came after their leases had ended", count=len(lost))
        committed = StepsCommitted(
            won=won,
            lost=lost,
            continued=continued,
            released=reply.released,
            finished_tasks=reply.finished_tasks,
            sent_at=sent_at,
            committed_at=committed_at,
        )
        self._ledger.outflow.to_router(sum(item.event_bytes for item in removed))
        for listener in self._listeners:
            listener.tell(committed)
        if reply.cancelled:
            self._ledger.cancel(token for token, worker_id in reply.cancelled if worker_id == self._worker_id)
            if others := [token for token, worker_id in reply.cancelled if worker_id != self._worker_id]:
                self._announce.cancelled(others)
        if reply.released:
            self._announce.released(
                sorted({item.finished.step.plan.namespace for item in won if item.finished is not None})
            )
