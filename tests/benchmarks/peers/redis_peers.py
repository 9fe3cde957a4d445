"""Celery and Dramatiq on a Redis that syncs each write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import redis

from peers.peer import processes, script
from peers.place import Place

THREADS = 8


class _RedisPeer:
    """What both have in common."""

    def prepare(self, place: Place) -> None:
        """Nothing is to be made."""
        url = place.redis()
        assert url is not None  # whoever calls this has asked before
        self._url = url
        self._redis: Any = redis.Redis.from_url(url)


class CeleryPeer(_RedisPeer):
    """Prefork, messages acknowledged after their work, prefetched in numbers as its guide has it for short tasks."""

    name = "celery"
    includes = "a message, acknowledged after the work; no result"
    jobs, units, creates = 3_000, 1, True

    def create(self, sent: Sequence[float]) -> None:
        """One by one, over one connection: there is no other way."""
        app, producer = self._client
        for each in sent:
            app.send_task("nothing", (each,), producer=producer, ignore_result=True)

    @cached_property
    def _client(self) -> tuple[Any, Any]:
        from celery import Celery  # noqa: PLC0415  # a second to import, for a round that is not asked for

        app = Celery("bench", broker=self._url)
        return app, app.amqp.Producer(app.connection_for_write())

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """One parent of two processes."""
        command = script("celery", "--app", "celery_worker", "worker", "--pool", "prefork", "--concurrency", "2")
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
        return processes(command, journals, count=1, BENCH_URL=self._url)

    def is_done(self) -> bool:
        """Nothing waits, and nothing is unacknowledged."""
        return not self._redis.exists("celery", "unacked")


class DramatiqPeer(_RedisPeer):
    """Two processes of threads."""

    name = "dramatiq"
    includes = "a message, acknowledged after the work; no result"
    jobs, units, creates = 6_000, 1, True

    def create(self, sent: Sequence[float]) -> None:
        """One by one, over one connection."""
        broker, message = self._client
        for each in sent:
            broker.enqueue(message(queue_name="default", actor_name="nothing", args=(each,), kwargs={}, options={}))

    @cached_property
    def _client(self) -> tuple[Any, Callable[..., Any]]:
        import dramatiq  # noqa: PLC0415  # as above
        from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415  # as above

        return RedisBroker(url=self._url), dramatiq.Message

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """One parent of two processes."""
        command = script("dramatiq", "--processes", "2", "--threads", str(THREADS), "dramatiq_worker")
        return processes(command, journals, count=1, BENCH_URL=self._url)

    def is_done(self) -> bool:
        """Nothing waits, and nothing is unacknowledged."""
        return not any(self._redis.exists(key) for key in ("dramatiq:default", "dramatiq:default.msgs"))
