"""Reading the durable queues: the newest of all namespaces, in order, bounded, and nothing consumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from psycopg import sql
from support.stored_work import message, queue_rows, register, send

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres import events
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.session import Pool, statement_for

SHOP = "shop_domain_events"
AIR = "air_domain_events"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
TWO = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a6"


@pytest.fixture
def pool(any_database_url: str) -> Iterator[Pool]:
    with open_pool(any_database_url, application_name="tests", max_size=4) as opened:
        register(opened)
        register(opened, namespace_name="air")
        yield opened


def at(second: int) -> str:
    return f"2025-12-01T10:30:{second:02d}.000000Z"


def read(pool: Pool, **wanted: Any) -> list[dict[str, Any]]:
    found = events.read_events(pool, **{"limit": 100, **wanted})
    assert found is not None
    return [orjson.loads(text) for text in found.texts]


def test_events_of_all_namespaces_come_in_the_order_in_which_they_fired(pool: Pool) -> None:
    send(pool, SHOP, message(ONE, fired_at=at(1)), message(ONE, fired_at=at(4)))
    send(pool, AIR, message(ONE, fired_at=at(2)), message(ONE, fired_at=at(3)))
    found = read(pool)
    assert [(event["metadata"]["fired_at"], event["queue"]) for event in found] == [
        (at(1), SHOP), (at(2), AIR), (at(3), AIR), (at(4), SHOP),
    ]  # fmt: skip


def test_an_event_is_shown_as_it_was_written_with_its_place(pool: Pool) -> None:
    written = message(ONE, fired_at=at(1), payload={"big": 18446744073709551615, "text": "Ü"})
    (msg_id,) = send(pool, SHOP, written)
    (found,) = read(pool)
    assert {key: found[key] for key in written} == written
    assert (found["queue"], found["msg_id"]) == (SHOP, msg_id)
    assert found["enqueued_at"].endswith("Z")


def test_nothing_is_consumed(pool: Pool) -> None:
    send(pool, SHOP, message(ONE, fired_at=at(1)))
    read(pool)
    read(pool, correlation_id=ONE)
    assert [read_ct for _, _, _, read_ct in queue_rows(pool, SHOP)] == [0]


def test_a_correlation_id_selects_over_all_namespaces(pool: Pool) -> None:
    send(pool, SHOP, message(ONE, fired_at=at(1)), message(TWO, fired_at=at(2)))
    send(pool, AIR, message(ONE, fired_at=at(3)))
    assert [event["metadata"]["fired_at"] for event in read(pool, correlation_id=ONE)] == [at(1), at(3)]
    assert [event["metadata"]["fired_at"] for event in read(pool, correlation_id=ONE, namespace="air")] == [at(3)]
    assert read(pool, correlation_id=new_uuid7()) == []


@pytest.mark.parametrize("correlation_id", [None, ONE])
def test_the_limit_keeps_the_newest_and_says_that_there_are_more(pool: Pool, correlation_id: str | None) -> None:
    send(pool, SHOP, *(message(ONE, fired_at=at(second)) for second in (1, 2, 3)))
    send(pool, AIR, *(message(ONE, fired_at=at(second)) for second in (4, 5)))
    found = events.read_events(pool, correlation_id=correlation_id, limit=3)
    assert found is not None
    assert [orjson.loads(text)["metadata"]["fired_at"] for text in found.texts] == [at(3), at(4), at(5)]
    assert found.truncated
    everything = events.read_events(pool, correlation_id=correlation_id, limit=5)
    assert everything is not None
    assert len(everything.texts) == 5
    assert not everything.truncated


def test_an_answer_is_bounded_in_bytes_but_has_at_least_one_event(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_ANSWER_BYTES", 2_500)
    send(pool, SHOP, *(message(ONE, fired_at=at(second), payload="x" * 1_000) for second in (1, 2, 3)))
    found = events.read_events(pool, limit=10)
    assert found is not None
    assert [orjson.loads(text)["metadata"]["fired_at"] for text in found.texts] == [at(3)]
    assert found.truncated


def test_an_unknown_namespace_is_none_and_its_name_reaches_no_statement(pool: Pool) -> None:
    assert events.read_events(pool, namespace="nobody", limit=1) is None
    assert events.read_events(pool, namespace='shop_domain_events"; DROP TABLE tasker.tasks; --', limit=1) is None
    assert events.namespace_has_queue(pool, "shop")
    assert not events.namespace_has_queue(pool, "sho")


def test_messages_that_are_no_events_are_left_out(pool: Pool) -> None:
    halves: list[Any] = [message(ONE, fired_at=at(1)) for _ in range(2)]
    del halves[0]["payload"]
    del halves[1]["metadata"]["fired_at"]
    event = message(ONE, fired_at=at(2))
    send(pool, SHOP, [1, 2], "text", {"metadata": 7}, {"metadata": {}}, None, *halves, event)
    assert [found["event_id"] for found in read(pool)] == [event["event_id"]]


def test_a_queue_whose_table_was_dropped_by_hand_is_passed_over(pool: Pool) -> None:
    send(pool, SHOP, message(ONE, fired_at=at(1)))
    with pool.connection() as connection:
        connection.execute("DROP TABLE pgmq.q_air_domain_events")
    assert len(read(pool)) == 1


def test_a_correlation_id_is_looked_up_in_its_index_whatever_the_statistics_say(pool: Pool) -> None:
    with pool.connection() as connection:
        connection.execute(
            """INSERT INTO pgmq.q_shop_domain_events (vt, message)
               SELECT now(), jsonb_build_object('metadata', jsonb_build_object(
                   'correlation_id', gen_random_uuid(), 'fired_at', '2025-12-01T10:30:00.000000Z'))
               FROM generate_series(1, 20000)"""
        )
        for statistics in ("", "ANALYZE pgmq.q_shop_domain_events"):
            connection.execute(statistics)
            statement = statement_for("correlated_messages", queue=sql.Literal(SHOP), table=events.queue_table(SHOP))
            lines = connection.execute(
                sql.SQL("EXPLAIN ") + statement,
                {"correlation_id": ONE, "time_path": ["metadata", "fired_at"], "limit": 11},
                prepare=False,
            ).fetchall()
            assert any("ix_shop_domain_events_correlation" in line for (line,) in lines), lines
