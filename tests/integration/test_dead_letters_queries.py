"""Redriving dead letters: published with the same id and removed in one transaction, or left where they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import orjson
import psycopg
import pytest
from support.stored_work import create, dead_letter, message, queue_rows, register, send

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres import dead_letters
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.dead_letters import Redrive, RedriveRequest, redrive
from tasker_actors.postgres.session import DatabaseBusyError, Pool
from tasker_actors.telemetry.trace_context import TraceContext, new_trace

EVENTS = "shop_domain_events"
LETTERS = "shop_domain_events_dlq"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"
TRACE = TraceContext("ab" * 16, "cd" * 8, 1, "vendor=1")


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        register(opened)
        yield opened


def again(pool: Pool, **request: Any) -> Redrive:
    done = redrive(pool, RedriveRequest("shop", **request), TRACE)
    assert done is not None
    return done


def test_the_event_goes_back_into_its_queue_whole_and_leaves_the_dead_letters(pool: Pool) -> None:
    event = message(ONE, fired_at=FIRED_AT)
    (msg_id,) = send(pool, LETTERS, dead_letter(event))

    done = again(pool, msg_ids=[msg_id])

    assert done == Redrive(redriven=((msg_id, event["event_id"]),), refused=(), next_after_msg_id=None)
    ((_, published, headers, _),) = queue_rows(pool, EVENTS)
    assert published == event
    assert headers == {
        "traceparent": TRACE.traceparent,
        "tracestate": "vendor=1",
        "correlation_id": ONE,
        "event_id": event["event_id"],
        "event_name": "order.charged",
        "content_type": "application/json",
    }
    assert queue_rows(pool, LETTERS) == []


def test_an_event_of_a_task_goes_on_in_the_trace_of_its_task(pool: Pool) -> None:
    trace = new_trace()
    row = create(pool, register(pool), traceparent=trace.traceparent)
    event = message(ONE, fired_at=FIRED_AT)
    event["metadata"]["task_uuid"] = row.task_uuid
    event["metadata"]["step_name"] = None
    send(pool, LETTERS, dead_letter(event))

    again(pool, event_ids=[event["event_id"]])

    ((_, published, headers, _),) = queue_rows(pool, EVENTS)
    assert headers["traceparent"] == trace.traceparent
    assert "tracestate" not in headers
    assert published["metadata"]["step_name"] is None


def test_a_dead_letter_without_a_payload_stays_until_it_gets_one(pool: Pool) -> None:
    event = message(ONE, fired_at=FIRED_AT)
    letter = dead_letter(event)
    del letter["payload"]
    (msg_id,) = send(pool, LETTERS, letter)

    (refusal,) = again(pool, msg_ids=[msg_id]).refused
    assert (refusal.msg_id, refusal.event_id, refusal.code) == (msg_id, event["event_id"], "no_payload")
    assert len(queue_rows(pool, LETTERS)) == 1
    assert queue_rows(pool, EVENTS) == []

    assert again(pool, msg_ids=[msg_id], payload=b'{"amount": 2}').redriven == ((msg_id, event["event_id"]),)
    ((_, published, _, _),) = queue_rows(pool, EVENTS)
    assert published == {**event, "payload": {"amount": 2}}


def test_null_is_a_payload(pool: Pool) -> None:
    send(pool, LETTERS, dead_letter(message(ONE, fired_at=FIRED_AT, payload=None)))
    again(pool)
    ((_, published, _, _),) = queue_rows(pool, EVENTS)
    assert published["payload"] is None


def test_what_is_no_dead_letter_of_an_event_stays(pool: Pool) -> None:
    broken = dead_letter(message(ONE, fired_at=FIRED_AT))
    broken["event"]["metadata"]["task_uuid"] = "not-a-uuid"
    send(pool, LETTERS, {"payload": 1}, [1], "text", None, {"event": 7, "payload": 1}, broken)
    done = again(pool)
    assert [refusal.code for refusal in done.refused] == ["not_an_event"] * 5
    assert len(done.redriven) == 1
    assert len(queue_rows(pool, LETTERS)) == 5


def test_what_is_not_there_is_named(pool: Pool) -> None:
    nobody = new_uuid7()
    done = again(pool, event_ids=[nobody])
    assert [(refusal.event_id, refusal.code) for refusal in done.refused] == [(nobody, "not_found")]
    done = again(pool, msg_ids=[7])
    assert [(refusal.msg_id, refusal.code) for refusal in done.refused] == [(7, "not_found")]
    assert redrive(pool, RedriveRequest("nobody"), TRACE) is None


def test_all_goes_on_in_batches_past_what_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    letters = [dead_letter(message(ONE, fired_at=FIRED_AT)) for _ in range(5)]
    del letters[0]["payload"]
    msg_ids = send(pool, LETTERS, *letters)

    after: int | None = 0
    batches = []
    while after is not None:
        done = again(pool, after_msg_id=after)
        batches.append([msg_id for msg_id, _ in done.redriven])
        after = done.next_after_msg_id

    assert batches == [[msg_ids[1]], [msg_ids[2], msg_ids[3]], [msg_ids[4]]]
    assert [row[0] for row in queue_rows(pool, LETTERS)] == [msg_ids[0]]


def test_a_batch_of_all_is_bounded_by_the_bytes_of_its_payloads(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_BATCH_BYTES", 1_500)
    letters = [dead_letter(message(ONE, fired_at=FIRED_AT, payload="x" * 1_000)) for _ in range(3)]
    msg_ids = send(pool, LETTERS, *letters)
    first = again(pool)
    assert [msg_id for msg_id, _ in first.redriven] == msg_ids[:2]
    assert first.next_after_msg_id == msg_ids[1]
    assert again(pool, after_msg_id=msg_ids[1]).next_after_msg_id is None


def test_of_two_redrives_at_once_one_publishes(pool: Pool) -> None:
    send(pool, LETTERS, *(dead_letter(message(ONE, fired_at=FIRED_AT)) for _ in range(50)))
    done: list[Redrive] = []
    start = threading.Barrier(3)

    def run() -> None:
        start.wait()
        done.append(again(pool))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(len(each.redriven) for each in done) == 50
    events = [row[1]["event_id"] for row in queue_rows(pool, EVENTS)]
    assert len(events) == len(set(events)) == 50


def test_a_redrive_that_fails_half_way_moves_nothing(pool: Pool) -> None:
    (msg_id,) = send(pool, LETTERS, dead_letter(message(ONE, fired_at=FIRED_AT)))
    with pool.connection() as connection:
        connection.execute("ALTER TABLE pgmq.q_shop_domain_events RENAME TO elsewhere")
    with pytest.raises(psycopg.errors.UndefinedTable):
        again(pool)
    assert [row[0] for row in queue_rows(pool, LETTERS)] == [msg_id]


def test_a_redrive_does_not_wait_for_a_lock_for_ever(pool: Pool) -> None:
    send(pool, LETTERS, dead_letter(message(ONE, fired_at=FIRED_AT)))
    with pool.connection() as holder, holder.transaction():
        holder.execute("SELECT FROM pgmq.q_shop_domain_events_dlq FOR UPDATE")
        with pytest.raises(DatabaseBusyError):
            again(pool)


def test_dead_letters_are_listed_with_what_can_be_done_about_them(pool: Pool) -> None:
    good = dead_letter(message(ONE, fired_at=FIRED_AT))
    bare = dead_letter(message(ONE, fired_at=FIRED_AT), failed_at="2025-12-01T10:30:01.000000Z")
    del bare["payload"]
    msg_ids = send(pool, LETTERS, bare, good)

    found = dead_letters.read_dead_letters(pool, namespace="shop", limit=10)

    assert found is not None
    shown = [orjson.loads(text) for text in found.texts]
    assert [(each["msg_id"], each["redrivable"]) for each in shown] == [(msg_ids[1], True), (msg_ids[0], False)]
    assert shown[0]["reason"] == good["reason"]
    assert shown[0]["namespace"] == "shop"
    assert dead_letters.read_dead_letters(pool, namespace="nobody", limit=10) is None
    assert [each["event"]["event_id"] for each in shown] == [good["event"]["event_id"], bare["event"]["event_id"]]
    everywhere = dead_letters.read_dead_letters(pool, limit=1)
    assert everywhere is not None
    assert everywhere.truncated


def test_messages_that_are_no_dead_letters_are_listed_as_far_as_they_go(pool: Pool) -> None:
    send(
        pool, LETTERS, [1], "text", None, {"event": 7}, {"event": {}, "reason": {}, "payload_repr": "", "failed_at": ""}
    )
    found = dead_letters.read_dead_letters(pool, namespace="shop", limit=10)
    assert found is not None
    shown = [orjson.loads(text) for text in found.texts]
    assert len(shown) == 5
    for each in shown:
        assert (each["event"], each["redrivable"], each["reason"]["code"]) == ({}, False, "not_an_event")
        assert each["failed_at"] == each["enqueued_at"]
