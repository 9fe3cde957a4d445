"""Durable events: published outside steps beside COPY of the same bytes, and how soon a reader elsewhere has them."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import psycopg
from system import create_chains, home_directory, running

from tasker_actors import EventRequest
from tasker_actors.client.transaction import TransactionClient

EVENTS = 20_000
BATCH = 1_000
PAYLOAD = {"number": 7, "text": "as long as a sentence of a hundred characters may be, which is about as long as this"}
EMPTY = "TRUNCATE pgmq.q_bench_domain_events"
STORED = "SELECT message::text, headers::text FROM pgmq.q_bench_domain_events"
COPY = "COPY pgmq.q_bench_domain_events (message, headers, vt) FROM STDIN"
READ = """
SELECT extract(epoch FROM clock_timestamp() - enqueued_at) * 1000 FROM pgmq.read('bench_domain_events', 60, 100)
"""
CHAINS = 100
POLL_SECONDS = 0.001


def run(rounds: int) -> dict[str, list[float]]:
    """Take turns with COPY, after one round of each that does not count; then read what chains publish."""
    figures: dict[str, list[float]] = {}
    with home_directory() as home, running(home) as system:
        with psycopg.connect(system.database_url, autocommit=True) as connection:
            for number in range(rounds + 1):
                connection.execute(EMPTY)
                before = time.process_time()
                published = _publish(connection)
                own = (time.process_time() - before) / EVENTS * 1e6
                rows = connection.execute(STORED).fetchall()
                connection.execute(EMPTY)
                copied = _copy(connection, rows)
                if number:
                    _note(figures, "events_outside_per_s", published)
                    _note(figures, "events_outside_client_us", own)
                    _note(figures, "copied_events_per_s", copied)
                    _note(figures, "events_outside_per_copied", published / copied)
            connection.execute(EMPTY)
        for number in range(rounds + 1):
            late = sorted(_read_times(system))
            if number:
                _note(figures, "readable_p50_ms", late[len(late) // 2])
                _note(figures, "readable_p99_ms", late[len(late) * 99 // 100])
    return figures


def _note(figures: dict[str, list[float]], name: str, value: float) -> None:
    figures.setdefault(name, []).append(value)


def _publish(connection: psycopg.Connection[Any]) -> float:
    client = TransactionClient(connection)
    began = time.perf_counter()
    for _ in range(EVENTS // BATCH):
        client.publish_events([EventRequest("bench.outside", PAYLOAD, "bench") for _ in range(BATCH)])
    return EVENTS / (time.perf_counter() - began)


def _copy(connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> float:
    """As many a transaction, of rows that are ready: nothing else is done to them."""
    began = time.perf_counter()
    for start in range(0, EVENTS, BATCH):
        with (
            connection.cursor() as cursor,
            cursor.copy(COPY) as copy,
        ):
            for message, headers in rows[start : start + BATCH]:
                copy.write_row((message, headers, "now"))
    return EVENTS / (time.perf_counter() - began)


def _read_times(system: Any) -> list[float]:
    """Milliseconds from the commit of a chain's steps, at the earliest, until somebody else has read their events.

    `enqueued_at` is when the transaction of the commit began: the commit itself is a part of what is measured.
    """
    late: list[float] = []
    pause, ended = threading.Event(), threading.Event()

    def create() -> None:
        with system.client() as client:
            for _ in range(CHAINS):
                create_chains(client, 1)
                pause.wait(0.02)
        ended.set()

    creator = threading.Thread(target=create)
    with closing(psycopg.connect(system.database_url, autocommit=True)) as connection:
        creator.start()
        while not ended.is_set() or len(late) < CHAINS * 4:
            rows = connection.execute(READ, prepare=True).fetchall()
            late.extend(float(row[0]) for row in rows)
            if not rows:
                pause.wait(POLL_SECONDS)
        creator.join()
        connection.execute(EMPTY)
    return late
