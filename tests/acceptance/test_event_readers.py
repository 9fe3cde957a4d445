"""What others do with events: read the queue with SQL and the pgmq client, publish from outside (SPEC 2, 8)."""

from __future__ import annotations

import re
import secrets

import psycopg
import pytest
from pgmq import PGMQueue
from psycopg.conninfo import conninfo_to_dict
from support.publishing_project import Difference, publishing, read_lines, run
from support.waiting import until

from tasker_actors.identifiers import new_uuid7

_SEED_QUERY = """
SELECT message->>'event_name' AS event, message->'metadata'->>'step_name' AS step,
message->'metadata'->>'fired_at' AS fired_at
FROM pgmq.q_ev_domain_events WHERE message->'metadata'->>'correlation_id' = '…'
ORDER BY message->'metadata'->>'fired_at'
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    with publishing(tmp_path_factory.mktemp("events") / "project", embedded_server) as found:
        yield found


def test_the_query_of_the_seed_works_as_written_and_uses_an_index(one):
    correlation_id = new_uuid7()
    run(one, "modes", correlation_id=correlation_id)
    run(one, "conditions", "retryable", "success", correlation_id=correlation_id)

    query = _SEED_QUERY.replace("…", correlation_id)
    rows = one.rows(query)
    assert [row["event"] for row in rows][:2] == ["seen.durable", "seen.both"]
    assert len(rows) == 2 + 3 + 2
    with psycopg.connect(one.database_url) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))  # type: ignore[arg-type]  # a query of README
    assert re.search(r"Index Scan (using|on) \S*correlation", plan), plan


def test_the_client_of_the_pgmq_package_reads_the_queue_and_headers(one):
    correlation_id = new_uuid7()
    task_uuid = run(one, "modes", correlation_id=correlation_id)
    parts = conninfo_to_dict(one.database_url)
    queue = PGMQueue(
        host=str(parts["host"]),
        port=str(parts.get("port", 5432)),
        database=str(parts["dbname"]),
        username=str(parts["user"]),
        password=str(parts.get("password", "")),
        init_extension=False,
    )

    try:
        batch = queue.read_batch("ev_domain_events", vt=1, batch_size=1000) or []
    finally:
        queue.close()

    mine = [message for message in batch if message.message["metadata"]["task_uuid"] == task_uuid]
    assert {message.message["event_name"] for message in mine} == {"seen.durable", "seen.both"}
    assert {message.headers["correlation_id"] for message in mine} == {correlation_id}
    traceparents = [message.headers["traceparent"] for message in mine]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found) for found in traceparents)


@pytest.mark.parametrize("mode", ["durable", "fast", "broadcast"])
def test_an_event_from_outside_a_step_takes_the_same_paths(one, mode):
    difference = Difference(one)
    correlation_id, trace_id = new_uuid7(), secrets.token_hex(16)
    body = {
        "name": "seen.outside",
        "namespace": "ev",
        "payload": {"from": "outside"},
        "delivery_mode": mode,
        "correlation_id": correlation_id,
    }

    answer = one.http.post("/v1/events", json=body, headers={"traceparent": f"00-{trace_id}-{'a' * 16}-01"})

    assert answer.status_code == 202
    assert answer.json()["correlation_id"] == correlation_id
    queue = one.queue("ev_domain_events")
    durable = [row for row in queue if row["message"]["metadata"]["correlation_id"] == correlation_id]
    assert len(durable) == (mode != "fast")
    for row in durable:
        metadata = row["message"]["metadata"]
        assert row["message"]["event_id"] == answer.json()["event_id"]
        assert row["message"]["execution"] is None
        assert [metadata[key] for key in ("task_uuid", "step_uuid", "step_name")] == [None] * 3
        assert trace_id in row["headers"]["traceparent"]

    def fast():
        return [event for event in read_lines(one, "class") if event["metadata"]["correlation_id"] == correlation_id]

    difference.wait("router", total_routed=1, **{f"{mode}_routed": 1})
    difference.wait("in_process_bus", total_events_dispatched=int(mode != "durable"))
    until(lambda: len(fast()) == (mode != "durable"))


def test_an_event_from_outside_that_cannot_be_published_is_422_and_a_dead_letter(one):
    difference = Difference(one)
    correlation_id = new_uuid7()
    large = "x" * (1024 * 1024)
    body = {"name": "seen.outside", "namespace": "ev", "payload": {"text": large}, "correlation_id": correlation_id}

    answer = one.http.post("/v1/events", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_large")
    assert answer.json()["error"]["faults"][0]["path"].startswith("/payload")
    letters = one.get("/v1/events/dlq", namespace="ev")["dead_letters"]
    assert [letter["event"]["metadata"]["correlation_id"] for letter in letters].count(correlation_id) == 1
    difference.wait("router", total_routed=1, routing_errors=1)
