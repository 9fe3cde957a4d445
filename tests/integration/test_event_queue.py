"""A durable queue as a consumer uses it: what is whose, and nothing is lost on its way (SPEC 2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
from support.stored_work import message, queue_rows, register, send

from tasker_actors.errors import DatabaseUnavailableError, TaskerError
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.dead_letters import RedriveRequest, read_dead_letters, redrive
from tasker_actors.postgres.event_queue import EventQueue
from tasker_actors.postgres.events import queue_table
from tasker_actors.postgres.session import Pool, statement_for
from tasker_actors.postgres.workers import QueueMissingError
from tasker_actors.telemetry.trace_context import new_trace

QUEUE = "shop_domain_events"
LETTERS = "shop_domain_events_dlq"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"


def event(**changes: Any) -> dict[str, Any]:
    return message(ONE, fired_at=FIRED_AT, **changes)


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        register(opened)
        yield opened


@pytest.fixture
def queue(pool: Pool, any_database_url: str) -> Iterator[EventQueue]:
    with closing(EventQueue(any_database_url, "shop", archive=True)) as opened:
        yield opened


def visible(pool: Pool) -> list[int]:
    with pool.connection() as connection:
        found = connection.execute(
            "SELECT msg_id FROM pgmq.q_shop_domain_events WHERE vt <= clock_timestamp() ORDER BY msg_id"
        ).fetchall()
    return [row[0] for row in found]


def read_elsewhere(pool: Pool, msg_id: int) -> None:
    """Read a message as another consumer would after its timeout."""
    with pool.connection() as connection:
        connection.execute("SELECT pgmq.set_vt('shop_domain_events', %s::bigint, 0)", [msg_id])
        connection.execute("SELECT pgmq.read('shop_domain_events', 60, 1)")


def test_messages_come_oldest_first_and_nobody_else_gets_them(pool: Pool, queue: EventQueue) -> None:
    written = [event(), event(), event()]
    msg_ids = send(pool, QUEUE, *written, headers={"event_id": "x"})

    first = queue.read(2, 30)
    second = queue.read(2, 30)

    assert [found.msg_id for found in (*first, *second)] == msg_ids
    assert [orjson.loads(found.message or "") for found in (*first, *second)] == written
    assert {(found.read_count, found.headers) for found in first} == {(1, '{"event_id": "x"}')}
    assert first[0].enqueued_at.utcoffset() is not None
    assert queue.read(2, 30) == []


def test_an_acknowledged_message_is_in_the_archive(pool: Pool, queue: EventQueue) -> None:
    (msg_id,) = send(pool, QUEUE, event())
    assert queue.acknowledge(msg_id)
    assert not queue.acknowledge(msg_id)
    assert queue_rows(pool, QUEUE) == []
    with pool.connection() as connection:
        assert connection.execute("SELECT msg_id FROM pgmq.a_shop_domain_events").fetchall() == [(msg_id,)]


def test_a_deleted_message_is_nowhere(pool: Pool, any_database_url: str) -> None:
    (msg_id,) = send(pool, QUEUE, event())
    with closing(EventQueue(any_database_url, "shop", archive=False)) as queue:
        assert queue.acknowledge(msg_id)
    with pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM pgmq.a_shop_domain_events").fetchone() == (0,)


def test_commits_that_need_not_wait_for_the_disk_leave_the_session_as_it_is(pool: Pool, queue: EventQueue) -> None:
    (msg_id,) = send(pool, QUEUE, event())
    queue.read(1, 30)
    queue.acknowledge(msg_id)
    assert queue._session.connection().execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_only_the_last_reader_extends_marks_rejects_and_gives_back(pool: Pool, queue: EventQueue) -> None:
    send(pool, QUEUE, event(), event())
    mine, lost = queue.read(2, 30)
    read_elsewhere(pool, lost.msg_id)
    held = {mine.msg_id: 1, lost.msg_id: 1}

    assert list(queue.extend(held, 60)) == [mine.msg_id]
    assert not queue.mark(lost, "mark")
    assert not queue.reject(lost, code="handler_failed", reason="no")
    queue.give_back(held)

    assert visible(pool) == [mine.msg_id]
    assert [(msg_id, read_ct) for msg_id, _, _, read_ct in queue_rows(pool, QUEUE)] == [
        (mine.msg_id, 0),
        (lost.msg_id, 2),
    ]


@pytest.mark.parametrize(
    ("headers", "marked"),
    [
        (None, {"mark": 1}),
        ({"traceparent": "x"}, {"traceparent": "x", "mark": 1}),
        ([1], {"headers": [1], "mark": 1}),
    ],
)
def test_a_mark_leaves_the_other_headers_alone(pool: Pool, queue: EventQueue, headers: Any, marked: Any) -> None:
    send(pool, QUEUE, event())
    with pool.connection() as connection:
        text = None if headers is None else orjson.dumps(headers).decode()
        connection.execute("UPDATE pgmq.q_shop_domain_events SET headers = %s::jsonb", [text])
    (found,) = queue.read(1, 30)
    assert queue.mark(found, "mark")
    assert queue_rows(pool, QUEUE)[0][2] == marked


def test_a_rejected_event_is_a_dead_letter_that_can_be_redriven(pool: Pool, queue: EventQueue) -> None:
    written = event(payload={"big": 18446744073709551615, "text": "Ü"})
    send(pool, QUEUE, written, headers={"traceparent": "x"})
    (found,) = queue.read(1, 30)

    assert queue.reject(found, code="handler_failed", reason="ValueError: no")

    assert queue_rows(pool, QUEUE) == []
    ((_, letter, headers, _),) = queue_rows(pool, LETTERS)
    assert headers == {"traceparent": "x"}
    assert letter["event"] == {key: value for key, value in written.items() if key != "payload"}
    assert letter["payload"] == written["payload"]
    assert letter["reason"] == {"code": "handler_failed", "message": "ValueError: no", "path": ""}
    assert len(letter["failed_at"]) == len(FIRED_AT)
    listed = read_dead_letters(pool, namespace="shop", limit=10)
    assert listed is not None
    assert [orjson.loads(text)["redrivable"] for text in listed.texts] == [True]
    redriven = redrive(pool, RedriveRequest("shop"), new_trace())
    assert redriven is not None
    assert [event_id for _, event_id in redriven.redriven] == [written["event_id"]]
    assert [found for _, found, _, _ in queue_rows(pool, QUEUE)] == [written]


@pytest.mark.parametrize("text", ["null", "7", '"text"', "[]", '["event_id", "payload"]', "{}", '{"n": 1e400}'])
def test_what_is_no_event_is_kept_whole_as_a_dead_letter(pool: Pool, queue: EventQueue, text: str) -> None:
    with pool.connection() as connection:
        connection.execute("SELECT pgmq.send('shop_domain_events', %s::jsonb)", [text])
    (found,) = queue.read(1, 30)

    assert queue.reject(found, code="not_an_event", reason="it is none")

    with pool.connection() as connection:
        row = connection.execute(
            "SELECT message -> 'payload' = %s::jsonb, message -> 'event' FROM pgmq.q_shop_domain_events_dlq", [text]
        ).fetchone()
    assert row == (True, {})
    listed = read_dead_letters(pool, namespace="shop", limit=10)
    assert listed is not None
    assert ['"redrivable": false' in text for text in listed.texts] == [True]


def test_a_message_without_any_value_is_kept_as_null(pool: Pool, queue: EventQueue) -> None:
    with pool.connection() as connection:
        connection.execute("SELECT pgmq.send('shop_domain_events', NULL::jsonb)")
    (found,) = queue.read(1, 30)
    assert (found.message, found.headers) == (None, None)
    assert queue.reject(found, code="not_an_event", reason="it is none")
    ((_, letter, _, _),) = queue_rows(pool, LETTERS)
    assert letter["payload"] is None


def test_a_rejection_without_a_queue_of_dead_letters_changes_nothing(pool: Pool, queue: EventQueue) -> None:
    send(pool, QUEUE, event())
    (found,) = queue.read(1, 30)
    with pool.connection() as connection:
        connection.execute("SELECT pgmq.drop_queue('shop_domain_events_dlq')")
    with pytest.raises(QueueMissingError):
        queue.reject(found, code="handler_failed", reason="no")
    assert len(queue_rows(pool, QUEUE)) == 1


def test_a_namespace_without_a_queue_is_told(pool: Pool, any_database_url: str) -> None:
    with (
        closing(EventQueue(any_database_url, "shops", archive=True)) as queue,
        pytest.raises(QueueMissingError, match="check the namespace 'shops'"),
    ):
        queue.read(1, 30)


def test_a_database_without_pgmq_is_told(empty_database_url: str) -> None:
    with (
        closing(EventQueue(empty_database_url, "shop", archive=True)) as queue,
        pytest.raises(QueueMissingError, match="schema"),
    ):
        queue.read(1, 30)


def test_what_the_server_refuses_for_good_is_no_outage(pool: Pool, queue: EventQueue) -> None:
    with pool.connection() as connection:
        connection.execute("ALTER TABLE pgmq.q_shop_domain_events RENAME COLUMN vt TO hidden_until")
    with pytest.raises(TaskerError, match="refuses to serve queue shop_domain_events") as caught:
        queue.read(1, 30)
    assert not isinstance(caught.value, DatabaseUnavailableError)


def test_a_lost_connection_is_told_and_the_next_use_makes_another(
    pool: Pool, queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    queue.read(1, 30)
    with pool.connection() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'tasker consumer'"
        )
    with pytest.raises(DatabaseUnavailableError):
        queue.read(1, 30)
    assert queue.read(1, 30) == []
    assert [record.message for record in caplog.records] == [
        "The database does not answer; the consumer waits for it",
        "The database answers again",
    ]


@pytest.mark.parametrize("statement", ["extend_visibility", "give_back_messages", "mark_message", "reject_message"])
def test_messages_are_found_by_primary_key_whatever_the_statistics_say(pool: Pool, statement: str) -> None:
    parameters = {
        "seconds": 30, "msg_ids": [1, 2, 3], "read_counts": [1, 1, 1], "msg_id": 1, "read_count": 1, "mark": "m",
        "letters": LETTERS, "code": "c", "reason": "r",
    }  # fmt: skip
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO pgmq.q_shop_domain_events (vt, message) SELECT now(), '{}' FROM generate_series(1, 20000)"
        )
        for statistics in ("", "ANALYZE pgmq.q_shop_domain_events"):
            connection.execute(statistics)
            composed = statement_for(statement, table=queue_table(QUEUE))
            used = {key: value for key, value in parameters.items() if f"%({key})s" in composed.as_string(connection)}
            plan = connection.execute("EXPLAIN " + composed.as_string(connection), used, prepare=False).fetchall()
            assert any("q_shop_domain_events_pkey" in line for (line,) in plan), plan
            assert not any("Seq Scan" in line for (line,) in plan), plan
