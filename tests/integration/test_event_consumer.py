"""Reading events elsewhere: at least once, with the trace continued, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.cutting_proxy import CuttingProxy
from support.exported_spans import ExportedSpans, exported_spans
from support.servers import DatabaseServer
from support.stored_work import message, queue_rows, register, send
from support.waiting import until

from tasker_actors import EventConsumer, ReceivedEvent
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.session import Pool
from tasker_actors.postgres.workers import QueueMissingError
from tasker_actors.telemetry.trace_context import (
    TraceContext,
    current_correlation_id,
    current_trace,
    parse_traceparent,
)

QUEUE = "shop_domain_events"
LETTERS = "shop_domain_events_dlq"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"
PUBLISHER = TraceContext("ab" * 16, "cd" * 8, 3)
HEADERS = {"traceparent": PUBLISHER.traceparent, "correlation_id": ONE}
BAD: tuple[Any, ...] = ([1], "text", None, {"metadata": 7}, {**message(ONE, fired_at=FIRED_AT), "event_id": 7})

DYING = """
import os, signal, sys
from tasker_actors import EventConsumer

def handle(received):
    with open(sys.argv[2], "a") as seen:
        print(received.event.payload, file=seen)
    if received.event.payload == "poison":
        os.kill(os.getpid(), signal.SIGKILL)

EventConsumer(sys.argv[1], "shop", visibility_timeout_s=1, max_reads=2).run(handle, until_empty=True)
"""


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with open_pool(database_url, application_name="tests", max_size=4) as opened:
        register(opened)
        yield opened


@pytest.fixture
def spans() -> Iterator[ExportedSpans]:
    with exported_spans() as exported:
        yield exported


def publish(pool: Pool, *payloads: Any, headers: dict[str, Any] | None = None) -> list[int]:
    events = [message(ONE, fired_at=FIRED_AT, payload=payload) for payload in payloads]
    return send(pool, QUEUE, *events, headers=HEADERS if headers is None else headers)


def archived(pool: Pool) -> int:
    with pool.connection() as connection:
        row = connection.execute("SELECT count(*) FROM pgmq.a_shop_domain_events").fetchone()
    assert row is not None
    return int(row[0])


def show_all(pool: Pool) -> None:
    """End every visibility timeout, as time would."""
    with pool.connection() as connection:
        connection.execute("UPDATE pgmq.q_shop_domain_events SET vt = clock_timestamp()")


def letters(pool: Pool) -> list[tuple[str, str]]:
    """Payload and reason of dead letters, as texts: one of them is no number to Python."""
    with pool.connection() as connection:
        found = connection.execute(
            "SELECT message ->> 'payload', message #>> '{reason,code}' FROM pgmq.q_shop_domain_events_dlq"
        ).fetchall()
    return [(payload, code) for payload, code in found]


def fail(received: ReceivedEvent) -> None:
    raise ValueError(f"no {received.event.payload}")


# What a handler gets, and when an event is acknowledged


def test_a_handler_gets_each_event_with_what_the_queue_knows_of_it(pool: Pool, database_url: str) -> None:
    first, second = publish(pool, {"n": 1}, {"n": 2})
    seen: list[ReceivedEvent] = []

    EventConsumer(database_url, "shop").run(seen.append, until_empty=True)

    assert [(one.msg_id, one.event.payload, one.read_count) for one in seen] == [
        (first, {"n": 1}, 1),
        (second, {"n": 2}, 1),
    ]
    assert seen[0].headers == HEADERS
    assert seen[0].event.event_name == "order.charged"
    assert seen[0].enqueued_at.tzname() == "UTC"


def test_an_event_is_acknowledged_after_its_handler(pool: Pool, database_url: str) -> None:
    publish(pool, 1, 2)
    left: list[int] = []

    EventConsumer(database_url, "shop").run(lambda _: left.append(len(queue_rows(pool, QUEUE))), until_empty=True)

    assert left == [2, 1]
    assert archived(pool) == 2


def test_events_are_deleted_where_nobody_wants_an_archive(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    EventConsumer(database_url, "shop", acknowledge="delete").run(lambda _: None, until_empty=True)
    assert queue_rows(pool, QUEUE) == []
    assert archived(pool) == 0


def test_events_that_come_later_are_found_by_polling(pool: Pool, database_url: str) -> None:
    seen: list[Any] = []
    with EventConsumer(database_url, "shop", poll_interval_s=0.01) as consumer, ThreadPoolExecutor() as threads:
        done = threads.submit(consumer.run, lambda received: seen.append(received.event.payload))
        publish(pool, 1)
        until(lambda: seen == [1])
        publish(pool, 2)
        until(lambda: seen == [1, 2])
        consumer.stop()
        done.result(20)


def test_an_async_handler_is_awaited_under_its_own_span(pool: Pool, database_url: str, spans: ExportedSpans) -> None:
    publish(pool, 1, 2)
    seen: list[tuple[int, asyncio.AbstractEventLoop]] = []

    async def handle(received: ReceivedEvent) -> None:
        await asyncio.sleep(0)
        seen.append((trace.get_current_span().get_span_context().span_id, asyncio.get_running_loop()))

    EventConsumer(database_url, "shop").run(handle, until_empty=True)

    assert [span_id for span_id, _ in seen] == [span.context.span_id for span in spans.all()]
    assert seen[0][1] is seen[1][1]


# The trace


def test_the_handler_works_in_the_publishers_trace(pool: Pool, database_url: str, spans: ExportedSpans) -> None:
    (msg_id,) = publish(pool, 1)
    contexts: list[Any] = []

    def handle(_: ReceivedEvent) -> None:
        contexts.extend((current_correlation_id(), current_trace()))
        with trace.get_tracer("application").start_as_current_span("own work"):
            pass

    EventConsumer(database_url, "shop").run(handle, until_empty=True)

    process, own = spans.one(f"process {QUEUE}"), spans.one("own work")
    assert process.parent is not None
    assert own.parent is not None
    assert process.parent.is_remote
    assert trace.format_span_id(process.parent.span_id) == PUBLISHER.span_id
    assert own.parent.span_id == process.context.span_id
    assert trace.format_trace_id(own.context.trace_id) == PUBLISHER.trace_id
    assert process.attributes is not None
    assert process.attributes["messaging.destination.name"] == QUEUE
    assert process.attributes["messaging.message.conversation_id"] == ONE
    assert process.attributes["event_name"] == "order.charged"
    assert process.attributes["namespace"] == "shop"
    assert process.attributes["msg_id"] == msg_id
    assert process.status.status_code is StatusCode.UNSET
    assert contexts[0] == ONE
    assert contexts[1].span_id == trace.format_span_id(process.context.span_id)
    assert current_trace() is None


@pytest.mark.parametrize("traceparent", ["no traceparent", 7, "ff-" + "1" * 32 + "-" + "1" * 16 + "-01"])
def test_an_unreadable_traceparent_costs_the_parent_and_not_the_event(
    pool: Pool, database_url: str, spans: ExportedSpans, traceparent: Any
) -> None:
    publish(pool, 1, headers={"traceparent": traceparent})
    EventConsumer(database_url, "shop").run(lambda _: None, until_empty=True)
    assert spans.one(f"process {QUEUE}").parent is None
    assert archived(pool) == 1


def test_a_failure_is_recorded_once_on_its_span(pool: Pool, database_url: str, spans: ExportedSpans) -> None:
    publish(pool, 1)
    EventConsumer(database_url, "shop").run(fail, until_empty=True)
    span = spans.one(f"process {QUEUE}")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: no 1"
    assert [event.name for event in span.events] == ["exception"]


def test_without_an_sdk_a_handler_can_still_pass_the_trace_on(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    seen: list[TraceContext | None] = []
    EventConsumer(database_url, "shop").run(lambda _: seen.append(current_trace()), until_empty=True)
    assert seen == [parse_traceparent(PUBLISHER.traceparent)]


# Failures


def test_a_handler_that_raises_leaves_its_event_for_later_and_harms_no_other(
    pool: Pool, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (bad, _, _) = publish(pool, "bad", 2, 3)
    consumer = EventConsumer(database_url, "shop")
    tried: list[Any] = []

    def handle(received: ReceivedEvent) -> None:
        tried.append((received.event.payload, received.read_count))
        if received.event.payload == "bad" and received.read_count == 1:
            fail(received)

    consumer.run(handle, until_empty=True)
    assert [(msg_id, read_ct) for msg_id, _, _, read_ct in queue_rows(pool, QUEUE)] == [(bad, 1)]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.message == "Handling an event failed; it comes again"
    assert (record.correlation_id, record.msg_id, record.queue) == (ONE, bad, QUEUE)
    assert record.exc_info is not None

    show_all(pool)
    consumer.run(handle, until_empty=True)
    assert tried == [("bad", 1), (2, 1), (3, 1), ("bad", 2)]
    assert archived(pool) == 3


def test_a_failed_event_comes_again_when_its_timeout_ends(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    counts: list[int] = []
    with EventConsumer(database_url, "shop", visibility_timeout_s=1, poll_interval_s=0.05) as consumer:

        def handle(received: ReceivedEvent) -> None:
            counts.append(received.read_count)
            if received.read_count == 1:
                fail(received)
            consumer.stop()

        consumer.run(handle)
    assert counts == [1, 2]


def test_after_max_reads_an_event_is_a_dead_letter_with_the_reason(
    pool: Pool, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(pool, {"amount": 7})
    consumer = EventConsumer(database_url, "shop", max_reads=3)
    for _ in range(3):
        show_all(pool)
        consumer.run(fail, until_empty=True)

    assert queue_rows(pool, QUEUE) == []
    ((_, letter, headers, _),) = queue_rows(pool, LETTERS)
    assert letter["payload"] == {"amount": 7}
    assert letter["reason"]["code"] == "handler_failed"
    assert letter["reason"]["message"].startswith("ValueError: no ")
    assert headers == HEADERS
    assert caplog.records[-1].message == "An event became a dead letter"
    assert caplog.records[-1].levelno == logging.ERROR


def test_messages_that_are_no_events_are_set_aside_and_kill_nobody(
    pool: Pool, database_url: str, caplog: pytest.LogCaptureFixture, spans: ExportedSpans
) -> None:
    send(pool, QUEUE, *BAD)
    with pool.connection() as connection:
        connection.execute("SELECT pgmq.send('shop_domain_events', '{\"n\": 1e400}'::jsonb, '[1]'::jsonb)")
    publish(pool, "good")
    seen: list[Any] = []

    EventConsumer(database_url, "shop", max_reads=1).run(
        lambda received: seen.append(received.event.payload), until_empty=True
    )

    assert seen == ["good"]
    assert queue_rows(pool, QUEUE) == []
    assert Counter(code for _, code in letters(pool)) == {"not_an_event": len(BAD) + 1}
    assert len([span for span in spans.all() if span.status.status_code is StatusCode.ERROR]) == len(BAD) + 1
    faults = {str(record.exc_info[1]) for record in caplog.records if record.exc_info}
    assert "this is no domain event: it is an array and no object" in faults


def test_an_interruption_goes_through_and_what_was_not_begun_is_given_back(pool: Pool, database_url: str) -> None:
    first, second = publish(pool, 1, 2)

    def interrupt(_: ReceivedEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EventConsumer(database_url, "shop").run(interrupt, until_empty=True)

    assert [(msg_id, read_ct) for msg_id, _, _, read_ct in queue_rows(pool, QUEUE)] == [(first, 1), (second, 0)]


def test_a_namespace_without_a_queue_is_an_error(pool: Pool, database_url: str) -> None:
    with pytest.raises(QueueMissingError):
        EventConsumer(database_url, "shops").run(print)


# Starting, stopping, and several at once


def test_stop_settles_the_event_in_hand_and_gives_the_others_back(pool: Pool, database_url: str) -> None:
    _, second = publish(pool, 1, 2)
    with EventConsumer(database_url, "shop") as consumer:
        consumer.run(lambda _: consumer.stop())
    assert archived(pool) == 1
    assert [(msg_id, read_ct) for msg_id, _, _, read_ct in queue_rows(pool, QUEUE)] == [(second, 0)]


def test_a_signal_handler_of_the_application_may_stop_it(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    consumer = EventConsumer(database_url, "shop", poll_interval_s=60)
    before = signal.signal(signal.SIGUSR2, lambda *_: consumer.stop())
    try:
        # The first event is handled, the queue is empty: the consumer waits when the signal comes.
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR2))
        consumer.run(lambda _: timer.start())
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert archived(pool) == 1


def test_leaving_the_block_waits_for_the_handler(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    began, goes_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def handle(_: ReceivedEvent) -> None:
        began.set()
        goes_on.wait(20)
        ended.append(True)

    with ThreadPoolExecutor() as threads:
        with EventConsumer(database_url, "shop") as consumer:
            threads.submit(consumer.run, handle)
            assert began.wait(20)
            threading.Timer(0.05, goes_on.set).start()
        assert ended == [True]
    assert archived(pool) == 1


def test_a_consumer_runs_once_at_a_time(pool: Pool, database_url: str) -> None:
    publish(pool, 1)
    consumer = EventConsumer(database_url, "shop")
    errors: list[str] = []

    def handle(_: ReceivedEvent) -> None:
        with pytest.raises(RuntimeError) as caught:
            consumer.run(handle)
        errors.append(str(caught.value))

    consumer.run(handle, until_empty=True)
    assert errors == ["this consumer is running already; make another one to read beside it"]


def test_consumers_side_by_side_share_the_events(pool: Pool, database_url: str) -> None:
    publish(pool, *range(120))
    both_began = threading.Barrier(2, timeout=20)
    seen: list[tuple[int, Any]] = []

    def consume(number: int) -> None:
        waited: list[bool] = []

        def handle(received: ReceivedEvent) -> None:
            if not waited:
                waited.append(True)
                both_began.wait()
            seen.append((number, received.event.payload))

        EventConsumer(database_url, "shop", batch_size=5).run(handle, until_empty=True)

    with ThreadPoolExecutor() as threads:
        list(threads.map(consume, range(2)))

    assert sorted(payload for _, payload in seen) == list(range(120))
    assert {number for number, _ in seen} == {0, 1}
    assert archived(pool) == 120


def test_a_handler_may_take_longer_than_the_visibility_timeout(pool: Pool, database_url: str) -> None:
    msg_ids = publish(pool, 1, 2)
    other: list[Any] = []
    first: list[Any] = []

    def hidden_until() -> dict[int, Any]:
        with pool.connection() as connection:
            return dict(connection.execute("SELECT msg_id, vt FROM pgmq.q_shop_domain_events").fetchall())

    def handle(received: ReceivedEvent) -> None:
        first.append(received.event.payload)
        if len(first) == 1:
            began = hidden_until()
            # Both, the one that is handled and the one that waits for it, are hidden for longer than at first.
            until(lambda: all((hidden_until()[each] - began[each]).total_seconds() > 1.0 for each in msg_ids))
            EventConsumer(database_url, "shop").run(other.append, until_empty=True)

    EventConsumer(database_url, "shop", visibility_timeout_s=1).run(handle, until_empty=True)

    assert (first, other) == ([1, 2], [])


def test_what_another_consumer_has_read_meanwhile_is_left_to_it(
    pool: Pool, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, second = publish(pool, 1, 2)
    seen: list[Any] = []

    def handle(received: ReceivedEvent) -> None:
        seen.append(received.event.payload)
        with pool.connection() as connection:
            connection.execute("SELECT pgmq.set_vt('shop_domain_events', %s::bigint, 0)", [second])
            connection.execute("SELECT pgmq.read('shop_domain_events', 60, 1)")
        until(lambda: "Events were read by another consumer meanwhile" in caplog.messages)

    EventConsumer(database_url, "shop", visibility_timeout_s=1).run(handle, until_empty=True)

    assert seen == [1]
    assert [(msg_id, read_ct) for msg_id, _, _, read_ct in queue_rows(pool, QUEUE)] == [(second, 2)]


# Kills and outages


def run_dying(database_url: str, seen: Path) -> int:
    """Run a consumer in a process of its own, which its handler of `poison` kills before the acknowledgement."""
    return subprocess.run([sys.executable, "-c", DYING, database_url, seen], check=False, timeout=60).returncode


def test_an_event_that_was_handled_and_not_acknowledged_comes_again(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    publish(pool, "poison")
    assert run_dying(database_url, tmp_path / "seen") == -signal.SIGKILL

    counts: list[int] = []
    with EventConsumer(database_url, "shop", poll_interval_s=0.05) as consumer:

        def handle(received: ReceivedEvent) -> None:
            counts.append(received.read_count)
            consumer.stop()

        consumer.run(handle)

    assert counts == [2]
    assert archived(pool) == 1


def test_only_the_event_that_kills_its_consumers_is_set_aside(pool: Pool, database_url: str, tmp_path: Path) -> None:
    publish(pool, "poison", "innocent", "bystander")
    codes = []
    for _ in range(4):
        show_all(pool)
        codes.append(run_dying(database_url, tmp_path / "seen"))

    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert (tmp_path / "seen").read_text().split() == ["poison"] * 3 + ["innocent", "bystander"]
    assert letters(pool) == [("poison", "consumer_lost")]
    assert archived(pool) == 2


@pytest.fixture
def proxy(database_url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(database_url)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("when", ["request", "reply", "row"])
@pytest.mark.parametrize("statement", [b"pgmq.read", b"pgmq.archive"])
def test_a_connection_that_is_cut_costs_no_event(
    pool: Pool, proxy: CuttingProxy, caplog: pytest.LogCaptureFixture, statement: bytes, when: str
) -> None:
    publish(pool, 1, 2)
    seen: list[Any] = []
    proxy.cut(statement, when)
    with EventConsumer(proxy.url, "shop", visibility_timeout_s=1, poll_interval_s=0.05) as consumer:

        def handle(received: ReceivedEvent) -> None:
            seen.append(received.event.payload)
            if len(seen) == 2:
                consumer.stop()

        consumer.run(handle)

    assert sorted(seen) == [1, 2]
    assert archived(pool) == 2
    assert "The database does not answer; the consumer waits for it" in caplog.messages
    assert "An event was acknowledged by another consumer too" not in caplog.messages


def test_it_waits_while_the_database_is_away(
    pool: Pool, database_url: str, embedded_server: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    name = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))

    def on_server(statement: str) -> None:
        with psycopg.connect(embedded_server.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(name))  # type: ignore[arg-type]  # the statements are below

    def go_away(_: ReceivedEvent) -> None:
        on_server("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        on_server(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'tasker consumer'"
        )

    def come_back() -> None:
        until(lambda: caplog.messages.count("The database does not answer; the consumer waits for it") == 1)
        on_server("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    publish(pool, 1)
    with ThreadPoolExecutor() as threads:
        back = threads.submit(come_back)
        EventConsumer(database_url, "shop").run(go_away, until_empty=True)
        back.result()

    assert archived(pool) == 1
    assert caplog.messages.count("The database answers again") == 1


def test_a_stop_during_an_outage_says_which_event_comes_again(
    pool: Pool, database_url: str, embedded_server: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    name = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    (msg_id, _) = publish(pool, 1, 2)
    consumer = EventConsumer(database_url, "shop")

    def handle(_: ReceivedEvent) -> None:
        with psycopg.connect(embedded_server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE application_name = 'tasker consumer'"
            )
        consumer.stop()

    consumer.run(handle)

    with psycopg.connect(embedded_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "An event could not be settled before the stop; it comes again"
    assert record.msg_id == msg_id
    assert len(queue_rows(pool, QUEUE)) == 2


def test_it_reads_through_a_pooler_in_transaction_mode(pgbouncer_url: str) -> None:
    with open_pool(pgbouncer_url, application_name="tests", max_size=2) as pool:
        register(pool)
        publish(pool, *range(12))  # more than a connection repeats a statement before it prepares it
        seen: list[Any] = []
        EventConsumer(pgbouncer_url, "shop").run(lambda received: seen.append(received.event.payload), until_empty=True)
        assert seen == list(range(12))
        assert archived(pool) == 12


# The seat of a user


def test_it_is_written_with_public_names_only(pool: Pool, database_url: str) -> None:
    publish(pool, {"n": 1})
    handled: list[bytes] = []

    def handler(received: ReceivedEvent) -> None:
        handled.append(orjson.dumps(received.event.to_dict()["payload"]))

    run: Callable[..., None] = EventConsumer(database_url, namespace="shop", max_reads=2).run
    run(handler, until_empty=True)
    assert handled == [b'{"n":1}']
