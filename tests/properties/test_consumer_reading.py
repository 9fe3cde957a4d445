"""Whatever fails on the way, every message ends where it belongs and none is lost."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasker_actors.consumer.holding import Held
from tasker_actors.consumer.reading import Reading
from tasker_actors.consumer.received import ReceivedEvent
from tasker_actors.consumer.stop import StopRequest
from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.event_queue import QueuedMessage

NOW = datetime(2025, 12, 1, 10, 30, tzinfo=UTC)


def event(number: int) -> str:
    keys = ("event_name", "event_version")
    return json.dumps(
        {"event_id": str(number), **dict.fromkeys(keys, "a.b"), "payload": number, "execution": None, "metadata": {}}
    )


@dataclass
class Queue:
    """What PostgreSQL guarantees of a queue; `cuts` says of each statement in turn when its connection is lost."""

    stored: dict[int, QueuedMessage]
    cuts: list[str]
    name: str = "shop_domain_events"
    hidden: set[int] = field(default_factory=set)
    archived: set[int] = field(default_factory=set)
    letters: dict[int, str] = field(default_factory=dict)

    def _statement(self, done: Any) -> Any:
        cut = self.cuts.pop() if self.cuts else "no"
        if cut == "before":
            raise DatabaseUnavailableError(cut)
        answer = done()
        if cut == "after":
            raise DatabaseUnavailableError(cut)
        return answer

    def read(self, limit: int, _timeout: int) -> list[QueuedMessage]:
        def done() -> list[QueuedMessage]:
            ids = [msg_id for msg_id in sorted(self.stored) if msg_id not in self.hidden][:limit]
            for msg_id in ids:
                self.stored[msg_id] = replace(self.stored[msg_id], read_count=self.stored[msg_id].read_count + 1)
            self.hidden.update(ids)
            return [self.stored[msg_id] for msg_id in ids]

        return self._statement(done)  # type: ignore[no-any-return]  # what `done` returns

    def acknowledge(self, msg_id: int) -> bool:
        def done() -> bool:
            self.archived.add(msg_id)
            return self.stored.pop(msg_id, None) is not None

        return bool(self._statement(done))

    def mark(self, message: QueuedMessage, mark: str) -> bool:
        def done() -> bool:
            marked = json.dumps({mark: message.read_count})
            self.stored[message.msg_id] = replace(self.stored[message.msg_id], headers=marked)
            return True

        return bool(self._statement(done))

    def reject(self, message: QueuedMessage, *, code: str, reason: str) -> bool:
        def done() -> bool:
            self.letters[message.msg_id] = code
            return self.stored.pop(message.msg_id, None) is not None

        return bool(self._statement(done))

    def give_back(self, held: Mapping[int, int]) -> None:
        def done() -> None:
            for msg_id in held:
                self.stored[msg_id] = replace(self.stored[msg_id], read_count=self.stored[msg_id].read_count - 1)
            self.hidden.difference_update(held)

        self._statement(done)

    def pause_s(self) -> float:
        return 0.001


def consume(queue: Queue, handle: Any, *, batch_size: int, max_reads: int, stop: StopRequest) -> None:
    reading = Reading(
        queue,  # type: ignore[arg-type]  # the methods that it calls, with PostgreSQL's promises
        handle,
        Held(),
        stop,
        visibility_timeout_s=30,
        batch_size=batch_size,
        poll_interval_s=1,
        max_reads=max_reads,
    )
    reading.run(until_empty=True)


@settings(deadline=None)  # a busy machine is no failure
@given(
    kinds=st.lists(st.sampled_from(["works", "fails", "fails once", "is none"]), max_size=8),
    cuts=st.lists(st.sampled_from(["no", "no", "before", "after"]), max_size=40),
    stops_at=st.sets(st.integers(1, 20), max_size=3),
    batch_size=st.integers(1, 5),
    max_reads=st.integers(1, 4),
)
def test_every_message_ends_where_it_belongs(
    kinds: list[str], cuts: list[str], stops_at: Collection[int], batch_size: int, max_reads: int
) -> None:
    stored = {
        number: QueuedMessage(number, 0, NOW, "[]" if kind == "is none" else event(number), None)
        for number, kind in enumerate(kinds)
    }
    queue = Queue(stored, cuts)
    calls: list[int] = []
    stop = StopRequest()

    def handle(received: ReceivedEvent) -> None:
        number = received.event.payload
        calls.append(number)
        if len(calls) in stops_at:
            stop.make()
        if kinds[number] == "fails" or (kinds[number] == "fails once" and calls.count(number) == 1):
            raise ValueError(number)

    while queue.stored:
        stop = StopRequest()
        consume(queue, handle, batch_size=batch_size, max_reads=max_reads, stop=stop)
        queue.hidden.clear()  # time passes

    assert queue.archived.isdisjoint(queue.letters)
    assert queue.archived | queue.letters.keys() == set(range(len(kinds)))
    for number, kind in enumerate(kinds):
        where = queue.letters.get(number, "archive")
        match kind:
            case "works":
                # Set aside only if a stop kept it from being acknowledged after it had been read too often.
                assert where == "archive" or (where == "consumer_lost" and calls.count(number) >= 1)
            case "fails":
                assert where == "handler_failed" or (stops_at and where == "consumer_lost")
                assert calls.count(number) >= 1
            case "fails once":
                assert where in ("archive", "handler_failed", "consumer_lost")
            case _:
                assert where == "not_an_event" or (stops_at and where == "consumer_lost")
                assert calls.count(number) == 0
