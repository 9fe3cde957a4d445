"""DurablePublisher in a real actor system, with somebody who listens to it, and a database that a test plays."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from support.leases import Inbox

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.delivery.announcements import Announcements
from tasker_actors.delivery.batch import BatchLimits
from tasker_actors.delivery.committer import BatchRefusedError, CommitReply, Committer
from tasker_actors.delivery.durable_publisher import CommitState, DurablePublisher
from tasker_actors.delivery.routing import commit_item
from tasker_actors.messages import CommitItem, CommitItems, StepsCommitted
from tasker_actors.steps.capacity import Capacity
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep, TaskFacts
from tasker_actors.steps.ledger import Ledger
from tasker_actors.steps.outflow import Outflow
from tasker_actors.telemetry.logging import get_logger

Answer = Callable[[dict[str, Any]], CommitReply]


def tokens(batch: dict[str, Any]) -> list[int]:
    return [result["token"] for result in batch["results"]]


def everything_won(batch: dict[str, Any]) -> CommitReply:
    return CommitReply(frozenset(tokens(batch)), {}, 0, ())


class Database:
    """Answers batches as the test says, every one it was sent kept in `batches`; closed it lets them wait."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.always: Answer = everything_won
        self.opened = threading.Event()
        self.opened.set()

    def commit(self, batch: bytes) -> CommitReply:
        """Answer one batch."""
        document = orjson.loads(batch)
        self.batches.append(document)
        assert self.opened.wait(10)
        answer = self.always if self.answers.empty() else self.answers.get()
        return answer(document)


def refuse(bad: int) -> Answer:
    """Refuse every batch with this step's own result in it."""

    def answer(batch: dict[str, Any]) -> CommitReply:
        if any(result["token"] == bad and "result" in result for result in batch["results"]):
            raise BatchRefusedError("bad")
        return everything_won(batch)

    return answer


def nothing_to_lease(row: Mapping[str, Any], task: TaskFacts) -> LeasedStep:
    """Stand for the plans of a worker that is never given a continued step."""
    raise AssertionError(f"no step was to be continued: {row} of {task}")


class Publishing:
    """A DurablePublisher with its ledger; `heard` is what it told its listeners, `released` whom it woke."""

    def __init__(
        self,
        system: ActorSystem,
        committer: Committer,
        *,
        worker_id: int = 1,
        lease: Callable[[Mapping[str, Any], TaskFacts], LeasedStep] = nothing_to_lease,
        max_batch: int = 300,
        max_batch_bytes: int = 4 * 1024 * 1024,
        concurrency: int = 8,
    ) -> None:
        self.ledger = Ledger(None, Outflow(16 * 1024 * 1024))
        self.capacity = Capacity(concurrency, prefetch=0)
        self.state = CommitState()
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.released: list[tuple[str, ...]] = []
        self.cancelled: list[int] = []
        inbox = system.start("inbox", lambda: Inbox(self.heard))
        self.address: LocalAddress = system.start(
            "durable_publisher",
            lambda: DurablePublisher(
                worker_id=worker_id,
                ledger=self.ledger,
                capacity=self.capacity,
                state=self.state,
                committer=committer,
                lease=lease,
                listeners=(inbox,),
                announce=Announcements(
                    released=lambda namespaces: self.released.append(tuple(namespaces)),
                    cancelled=self.cancelled.extend,
                ),
                logger=get_logger("tests"),
                limits=BatchLimits(max_batch, max_batch_bytes, max_continued_bytes=1024 * 1024),
                lease_ms=30_000,
            ),
        )

    def hold(self, *results: FinishedStep) -> tuple[CommitItem, ...]:
        """Take results into the ledger as the router does, and make their entries."""
        self.ledger.add(finished.step for finished in results)
        for finished in results:
            item = self.ledger.begin(finished.step.token, 0, 0.0)
            assert item is not None
            self.ledger.finish(item, finished)
        self.ledger.committing([finished.step.token for finished in results])
        return tuple(map(commit_item, results))

    def send(self, *items: CommitItem) -> None:
        """Send entries in one message."""
        self.address.tell(CommitItems(items))

    def committed(self, entries: int) -> list[StepsCommitted]:
        """Wait for the commits of so many entries."""
        commits: list[StepsCommitted] = []
        while sum(len(one.won) + len(one.lost) for one in commits) < entries:
            commits.append(self.heard.get(timeout=10))
        return commits
