"""The durable queue of the example, read as any other system would read it: with PGMQ's own client (SPEC 2, rule 5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from pgmq import Message, PGMQueue

QUEUE = "flights_domain_events"

_MOST_EVENTS_OF_A_TASK = 100
# A reader has a message to itself for this long, unless it lets go of it before.
_VISIBILITY_TIMEOUT_S = 1


class DurableQueue:
    """Reads the queue and consumes nothing; use `open_queue`."""

    def __init__(self, client: PGMQueue) -> None:
        self._client = client

    def length(self) -> int:
        """Count the messages, which takes a scan of the queue: nothing to do all the time."""
        return int(self._client.metrics(QUEUE).queue_length)

    def trace_ids(self, correlation_id: str) -> dict[str, str]:
        """Return the trace id of each event of a task, by event id, from the headers of its messages."""
        condition: dict[str, Any] = {"metadata": {"correlation_id": correlation_id}}
        found = self._client.read(QUEUE, vt=_VISIBILITY_TIMEOUT_S, qty=_MOST_EVENTS_OF_A_TASK, conditional=condition)
        messages = cast("list[Message]", found)  # a list, because more than one was asked for
        for message in messages:
            self._client.set_vt(QUEUE, message.msg_id, 0)  # whoever reads next sees them again at once
        headers = [message.headers for message in messages if message.headers is not None]
        return {header["event_id"]: header["traceparent"].split("-")[1] for header in headers}


@contextmanager
def open_queue(database_url: str) -> Iterator[DurableQueue]:
    """Connect for the block."""
    client = PGMQueue(conn_string=database_url, init_extension=False, pool_size=1)
    try:
        yield DurableQueue(client)
    finally:
        client.close()
