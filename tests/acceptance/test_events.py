"""Domain events on all three paths, as clients, subscribers and readers of the queues see them (SPEC 2, 3)."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter

import psycopg
import pytest
from pgmq import PGMQueue
from psycopg.conninfo import conninfo_to_dict
from support.project import Project
from support.supervised import supervised
from support.waiting import until

from tasker_actors.identifiers import is_uuid, new_uuid7

HANDLERS = '''
from tasker_actors import PermanentError, step_handler

@step_handler("outcome")
def outcome(context):
    """Comes to what the task asks for in this attempt."""
    wanted = context.get_input("outcomes")[context.retry_count]
    for event in context.get_input("publish", []):
        context.publish(*event["args"], **event.get("options", {}))
    if wanted == "permanent":
        raise PermanentError("for good", error_code="P1", metadata={"hint": "h", "attempt": "not this"})
    if wanted == "retryable":
        raise ValueError("for now")
    return {"value": context.get_input("value"), "big": "x" * context.get_input("size", 0)}

@step_handler("unpublishable")
def unpublishable(context):
    context.publish("code.nul", {"text": "a\\0b"}, delivery="durable")
    context.publish("code.not_json", {"thing": object()}, delivery="broadcast")
    context.publish("code.infinite", {"number": float("inf")})
    context.publish("code.surrogate", {"text": "\\ud800"})
    context.publish("code.integer", {"number": 2 ** 70})
    context.publish("code.large", {"text": "x" * (1024 * 1024)})
    context.publish("code.good", {"text": "good"}, delivery="durable")
    return {"done": True}
'''

PUBLISHERS = """
import json, os
import psycopg
from tasker_actors import BasePublisher

def note(**fields):
    with open("hooks.jsonl", "a") as file:
        file.write(json.dumps(fields) + "\\n")

class Hooks(BasePublisher):
    publisher_name = "hooks"
    def should_publish(self, context):
        return context.input_data["value"] != "should not"
    def before_publish(self, event_name, payload, metadata):
        if payload["value"] == "raise":
            raise RuntimeError("no thanks")
        return payload["value"] != "before not"
    def transform_payload(self, context):
        return {"value": context.input_data["value"], "transformed": True}
    def additional_metadata(self, context):
        return {"step": context.step_name}
    def after_publish(self, event_name, payload, metadata):
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            seen = connection.execute("SELECT status FROM tasker.tasks WHERE task_uuid = %s", [metadata["task_uuid"]])
            note(hook="after", event=event_name, payload=payload, task=metadata["task_uuid"], status=seen.fetchone()[0])
        raise RuntimeError("what a hook raises after the commit changes nothing")
    def on_publish_error(self, event_name, error, payload):
        note(hook="error", event=event_name, error=str(error), payload=payload)
"""

SUBSCRIBERS = """
import asyncio, json, threading
from pathlib import Path
from tasker_actors import BaseSubscriber, subscriber

def note(subscriber, event):
    with open(f"{subscriber}.jsonl", "a") as file:
        file.write(json.dumps(event.to_dict()) + "\\n")

@subscriber("seen.#", "seen.*")
def function(event):
    note("function", event)
    try:
        event.payload["value"] = "changed"
    except TypeError:
        pass

class Class(BaseSubscriber):
    patterns = ("seen.#",)
    def handle(self, event):
        note("class", event)

class Async(BaseSubscriber):
    patterns = ("seen.#",)
    async def handle(self, event):
        await asyncio.sleep(0)
        note("async", event)

@subscriber("seen.bad")
def failing(event):
    raise SystemExit(1)

@subscriber("seen.hang")
def hanging(event):
    threading.Event().wait(60)

@subscriber("seen.endless")
async def endless(event):
    await asyncio.sleep(60)

@subscriber("seen.slow")
def slow(event):
    pause = threading.Event()
    while not Path("slow.open").exists():
        pause.wait(0.01)
    note("slow", event)
"""

_SEED_QUERY = """
SELECT message->>'event_name' AS event, message->'metadata'->>'step_name' AS step,
message->'metadata'->>'fired_at' AS fired_at
FROM pgmq.q_ev_domain_events WHERE message->'metadata'->>'correlation_id' = '…'
ORDER BY message->'metadata'->>'fired_at'
"""

CONDITIONS = ("success", "failure", "retryable_failure", "permanent_failure", "always")
PUBLISHED = {
    "complete": {"success", "always"},
    "waiting_for_retry": {"failure", "retryable_failure", "always"},
    "error": {"failure", "permanent_failure", "always"},
}
RETRY = {"max_attempts": 2, "backoff": "none"}
BUFFER = 5


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("events") / "project")
    project.module("event_handlers", HANDLERS)
    project.module("event_publishers", PUBLISHERS)
    project.module("event_subscribers", SUBSCRIBERS)

    def template(name, *events, handler="outcome"):
        step = {"handler": handler, "retry": RETRY, "publishes_events": events}
        project.template(name, {"step": step}, namespace="ev")

    template("conditions", *({"name": f"on.{one}", "condition": one} for one in CONDITIONS))
    template("code")
    template("unpublishable", handler="unpublishable")
    template(
        "modes",
        {"name": "seen.durable", "delivery_mode": "durable"},
        {"name": "seen.fast", "delivery_mode": "fast"},
        {"name": "seen.both", "delivery_mode": "broadcast"},
    )
    schema = {"type": "object", "properties": {"value": {"type": "integer", "minimum": 10}}}
    template("schema", {"name": "with.schema", "schema": schema}, {"name": "without.schema"})
    template("large", {"name": "large.payload"}, {"name": "large.fast", "delivery_mode": "fast"})
    template(
        "hooks",
        {"name": "hooked.durable", "publisher": "hooks"},
        {"name": "hooked.fast", "publisher": "hooks", "delivery_mode": "fast"},
        {"name": "unhooked.event"},
    )
    for name in ("bad", "hang", "endless", "slow"):
        template(name, {"name": f"seen.{name}", "delivery_mode": "fast"})
    variables = {"TASKER_EVENT_BUS__BUFFER_SIZE": str(BUFFER), "TASKER_EVENT_BUS__DISPATCH_TIMEOUT_MS": "700"}
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables) as found,
    ):
        yield found


def run(one, template, *outcomes, status="complete", context=None, **fields):
    context = {"outcomes": outcomes or ("success",), "value": 1, **(context or {})}
    return one.run(template, namespace="ev", status=status, context=context, **fields)["task_uuid"]


def read_lines(one, name):
    path = one.log.parent / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def received(one, subscriber, task_uuid):
    return [event for event in read_lines(one, subscriber) if event["metadata"]["task_uuid"] == task_uuid]


class Difference:
    """What a figure of /metrics/events has grown by since this was made."""

    def __init__(self, one):
        self._one = one
        self._before = one.event_stats()

    def is_now(self, part, **figures):
        now = self._one.event_stats()[part]
        return all(now[name] - self._before[part][name] == value for name, value in figures.items())

    def wait(self, part, **figures):
        until(lambda: self.is_now(part, **figures))


@pytest.mark.parametrize(
    ("outcomes", "states"),
    [
        (("success",), ("complete",)),
        (("retryable", "success"), ("waiting_for_retry", "complete")),
        (("retryable", "retryable"), ("waiting_for_retry", "error")),
        (("permanent",), ("error",)),
    ],
    ids="-".join,
)
def test_each_attempt_publishes_what_its_conditions_say(one, outcomes, states):
    status = "complete" if states[-1] == "complete" else "error"
    task_uuid = run(one, "conditions", *outcomes, status=status)

    found = [
        (row["message"]["execution"]["attempt"], row["message"]["execution"]["status"], row["message"]["event_name"])
        for row in one.messages("ev", task_uuid)
    ]
    assert found == [
        (number, state, f"on.{condition}")
        for number, state in enumerate(states, 1)
        for condition in CONDITIONS
        if condition in PUBLISHED[state]
    ]


def test_the_payload_of_a_failure_is_its_metadata_with_what_is_known_about_it(one):
    task_uuid = run(one, "conditions", "permanent", status="error")

    message = one.messages("ev", task_uuid)[0]["message"]
    failed_at = message["payload"].pop("failed_at")
    assert message["payload"] == {
        "hint": "h",
        "error_type": "permanent_error",
        "error_code": "P1",
        "error_message": "for good",
        "retryable": False,
        "attempt": 1,
        "max_attempts": 2,
    }
    assert failed_at.endswith("Z")
    assert message["execution"]["error"] == {"type": "permanent_error", "code": "P1", "message": "for good"}


def test_a_message_is_laid_out_as_promised_and_its_headers_continue_the_trace(one):
    correlation_id, parent, trace_id = new_uuid7(), new_uuid7(), secrets.token_hex(16)
    body = {
        "name": "modes",
        "namespace": "ev",
        "context": {"outcomes": ["success"], "value": [1, None]},
        "correlation_id": correlation_id,
        "parent_correlation_id": parent,
    }
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    answer = one.http.post("/v1/tasks", json=body, headers={"traceparent": traceparent, "tracestate": "vendor=1"})
    task_uuid = answer.json()["task_uuid"]
    one.wait(task_uuid, "complete")

    row = next(row for row in one.messages("ev", task_uuid) if row["message"]["event_name"] == "seen.durable")
    message = row["message"]
    assert is_uuid(message.pop("event_id"))
    fired_at = message["metadata"].pop("fired_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fired_at)
    assert message["execution"].pop("duration_ms") >= 0
    assert message == {
        "event_name": "seen.durable",
        "event_version": "1.0",
        "payload": {"value": [1, None], "big": ""},
        "execution": {"status": "complete", "attempt": 1, "error": None},
        "metadata": {
            "task_uuid": task_uuid,
            "step_uuid": one.steps(task_uuid)["step"]["step_uuid"],
            "step_name": "step",
            "namespace": "ev",
            "correlation_id": correlation_id,
            "parent_correlation_id": parent,
            "fired_by": "outcome",
            "custom": {},
        },
    }
    headers = row["headers"]
    assert re.fullmatch(rf"00-{trace_id}-[0-9a-f]{{16}}-[0-9a-f]{{2}}", headers.pop("traceparent"))
    assert is_uuid(headers.pop("event_id"))
    assert headers == {
        "tracestate": "vendor=1",
        "correlation_id": correlation_id,
        "event_name": "seen.durable",
        "content_type": "application/json",
    }
    assert answer.headers["x-correlation-id"] == correlation_id
    assert trace_id in answer.headers["traceparent"]


def test_each_mode_takes_its_path_and_a_broadcast_event_is_one_event(one):
    difference = Difference(one)

    task_uuid = run(one, "modes")

    durable = {row["message"]["event_name"]: row["message"] for row in one.messages("ev", task_uuid)}
    assert set(durable) == {"seen.durable", "seen.both"}
    for subscriber in ("function", "class", "async"):
        until(lambda name=subscriber: len(received(one, name, task_uuid)) == 2)
        fast = {event["event_name"]: event for event in received(one, subscriber, task_uuid)}
        assert set(fast) == {"seen.fast", "seen.both"}
        assert fast["seen.both"] == durable["seen.both"]
    difference.wait(
        "router",
        total_routed=3,
        durable_routed=1,
        fast_routed=1,
        broadcast_routed=1,
        fast_delivery_errors=0,
        routing_errors=0,
    )
    difference.wait("in_process_bus", total_events_dispatched=2, rust_handler_dispatches=2, rust_handler_errors=0)


def test_what_code_publishes_goes_with_the_attempt_if_its_condition_does_not_hold(one):
    published = [
        {"args": ["code.default", {"n": 1}]},
        {"args": ["code.durable", {"n": 2}], "options": {"delivery": "durable"}},
        {"args": ["code.on_failure", {"n": 3}], "options": {"delivery": "durable", "when": "retryable_failure"}},
        {"args": ["seen.code", {"n": 4}], "options": {"delivery": "broadcast", "when": "always"}},
    ]

    task_uuid = run(one, "code", "retryable", "success", context={"publish": published})

    messages = [row["message"] for row in one.messages("ev", task_uuid)]
    found = [(message["event_name"], message["execution"]["attempt"]) for message in messages]
    assert found == [("code.on_failure", 1), ("seen.code", 1), ("code.durable", 2), ("seen.code", 2)]
    until(lambda: [event["execution"]["attempt"] for event in received(one, "class", task_uuid)] == [1, 2])


def test_a_payload_against_its_schema_is_a_dead_letter_and_the_step_stays_complete(one):
    difference = Difference(one)

    task_uuid = run(one, "schema", context={"value": 3})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["without.schema"]
    (letter,) = one.dead_letters("ev", task_uuid)
    assert letter["event"]["event_name"] == "with.schema"
    assert "payload" not in letter["event"]
    assert letter["payload"] == {"value": 3, "big": ""}
    assert json.loads(letter["payload_repr"].replace("'", '"')) == letter["payload"]
    assert (letter["reason"]["code"], letter["reason"]["path"]) == ("schema_violation", "/value")
    assert "10" in letter["reason"]["message"]
    assert letter["failed_at"].endswith("Z")
    difference.wait("router", total_routed=2, durable_routed=1, routing_errors=1)
    labels = {"namespace": "ev", "event_name": "with.schema", "delivery_mode": "durable", "publisher": "default"}
    assert one.metrics()["tasker_domain_events_failed_total"][frozenset(labels.items())] == 1
    assert one.metrics()["tasker_domain_events_published_total"][frozenset(labels.items())] == 0


def test_what_is_no_json_is_refused_event_by_event(one):
    difference = Difference(one)

    task_uuid = run(one, "unpublishable")

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["code.good"]
    letters = {letter["event"]["event_name"]: letter for letter in one.dead_letters("ev", task_uuid)}
    codes = {name: letter["reason"]["code"] for name, letter in letters.items()}
    assert codes == {
        "code.nul": "nul_character",
        "code.not_json": "not_json",
        "code.infinite": "nan_or_infinity",
        "code.surrogate": "lone_surrogate",
        "code.integer": "integer_out_of_range",
        "code.large": "too_large",
    }
    assert {letters[name]["reason"]["path"] for name in ("code.nul", "code.surrogate")} == {"/text"}
    assert all("payload" not in letter for letter in letters.values())
    assert all(0 < len(letter["payload_repr"].encode()) <= 4096 for letter in letters.values())
    difference.wait("router", total_routed=7, durable_routed=1, routing_errors=6)


def test_a_result_too_large_for_an_event_is_stored_and_its_events_are_dead_letters(one):
    task_uuid = run(one, "large", context={"size": 1024 * 1024 + 1})

    assert one.messages("ev", task_uuid) == []
    assert [letter["reason"]["code"] for letter in one.dead_letters("ev", task_uuid)] == ["too_large", "too_large"]
    step_uuid = one.steps(task_uuid)["step"]["step_uuid"]
    step = one.get(f"/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}")
    assert len(step["result"]["big"]) == 1024 * 1024 + 1


def test_a_publisher_makes_the_payload_and_is_called_after_the_commit(one):
    task_uuid = run(one, "hooks", context={"value": "yes"})

    messages = {row["message"]["event_name"]: row["message"] for row in one.messages("ev", task_uuid)}
    assert messages["hooked.durable"]["payload"] == {"value": "yes", "transformed": True}
    assert messages["hooked.durable"]["metadata"]["custom"] == {"step": "step"}
    assert messages["unhooked.event"]["payload"] == {"value": "yes", "big": ""}

    def after():
        return [note for note in read_lines(one, "hooks") if note.get("task") == task_uuid]

    until(lambda: len(after()) == 2)
    assert [(note["event"], note["status"]) for note in after()] == [
        ("hooked.durable", "complete"),
        ("hooked.fast", "complete"),
    ]
    labels = {"namespace": "ev", "event_name": "hooked.durable", "delivery_mode": "durable", "publisher": "hooks"}
    until(lambda: one.metrics()["tasker_domain_events_published_total"][frozenset(labels.items())] >= 1)


@pytest.mark.parametrize("value", ["should not", "before not"])
def test_a_publisher_that_says_no_ends_its_event_silently(one, value):
    difference = Difference(one)

    task_uuid = run(one, "hooks", context={"value": value})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    assert one.dead_letters("ev", task_uuid) == []
    difference.wait("router", total_routed=1, durable_routed=1, routing_errors=0)


def test_a_publisher_that_raises_costs_its_own_event(one):
    difference = Difference(one)

    task_uuid = run(one, "hooks", context={"value": "raise"})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    letters = one.dead_letters("ev", task_uuid)
    assert [letter["event"]["event_name"] for letter in letters] == ["hooked.durable", "hooked.fast"]
    assert all("no thanks" in letter["reason"]["message"] for letter in letters)
    difference.wait("router", total_routed=3, durable_routed=1, routing_errors=2)
    until(
        lambda: (
            [note["event"] for note in read_lines(one, "hooks") if note["hook"] == "error"][-2:]
            == ["hooked.durable", "hooked.fast"]
        )
    )


@pytest.mark.parametrize("name", ["bad", "hang", "endless"])
def test_a_subscriber_that_fails_or_hangs_harms_nobody_else(one, name):
    difference = Difference(one)

    task_uuid = run(one, name)

    for subscriber in ("function", "class", "async"):
        until(lambda name=subscriber: len(received(one, name, task_uuid)) == 1)
    difference.wait("in_process_bus", total_events_dispatched=1, rust_handler_dispatches=1, rust_handler_errors=1)
    difference.wait("router", fast_routed=1, fast_delivery_errors=0)
    # The same subscriber takes the next event.
    run(one, name)
    difference.wait("in_process_bus", rust_handler_errors=2)


def test_a_slow_subscriber_loses_its_oldest_events_and_each_is_counted(one):
    difference = Difference(one)
    task_uuids = [run(one, "slow") for _ in range(BUFFER + 4)]
    for name in ("function", "class", "async"):
        until(lambda name=name: {event["metadata"]["task_uuid"] for event in read_lines(one, name)} >= set(task_uuids))
    difference.wait("in_process_bus", subscriber_drops=3, total_events_dispatched=BUFFER + 4)

    (one.log.parent / "slow.open").touch()

    def delivered():
        return [event["metadata"]["task_uuid"] for event in read_lines(one, "slow")]

    # The first was in the subscriber's hands (and may have passed its time limit there); the next three were oldest.
    until(lambda: delivered()[-1:] == task_uuids[-1:])
    assert delivered()[-BUFFER:] == task_uuids[-BUFFER:]
    assert not set(delivered()) & set(task_uuids[1:4])
    dropped = one.metrics()["tasker_domain_events_dropped_total"]
    assert dropped[frozenset({("channel", "subscriber")})] >= 3


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
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))  # type: ignore[arg-type]
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

    batch = queue.read_batch("ev_domain_events", vt=1, batch_size=1000) or []

    mine = [message for message in batch if message.message["metadata"]["task_uuid"] == task_uuid]
    assert {message.message["event_name"] for message in mine} == {"seen.durable", "seen.both"}
    assert {message.headers["correlation_id"] for message in mine} == {correlation_id}
    traceparents = [message.headers["traceparent"] for message in mine]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found) for found in traceparents)


def test_a_dead_letter_is_published_after_all_with_the_event_id_that_it_has(one):
    task_uuid = run(one, "schema", context={"value": 3})
    (letter,) = one.dead_letters("ev", task_uuid)
    event_id = letter["event"]["event_id"]
    redrive = {"namespace": "ev", "event_ids": [event_id]}

    answer = one.http.post("/v1/events/dlq/redrive", json={**redrive, "payload": {"value": 12}})

    assert answer.json()["redriven"][0]["event_id"] == event_id
    messages = {row["message"]["event_name"]: row for row in one.messages("ev", task_uuid)}
    assert messages["with.schema"]["message"]["event_id"] == event_id
    assert messages["with.schema"]["message"]["payload"] == {"value": 12}
    assert messages["with.schema"]["headers"]["event_id"] == event_id
    assert one.dead_letters("ev", task_uuid) == []
    again = one.http.post("/v1/events/dlq/redrive", json=redrive).json()
    assert again["redriven"] == []
    assert "redriven or removed already" in again["refused"][0]["message"]


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


def test_the_figures_add_up_and_agree_with_the_queue_and_with_prometheus(one):
    """The last test of this file: after everything above nothing is in flight, and all three views agree."""
    difference = Difference(one)
    run(one, "modes")
    difference.wait("router", total_routed=3)

    stats = one.event_stats()
    router = stats["router"]
    assert router["total_routed"] == sum(
        router[name] for name in ("durable_routed", "fast_routed", "broadcast_routed", "routing_errors")
    )
    assert stats["workers"][0]["router"] == router
    queue = [row["message"] for row in one.queue("ev_domain_events")]
    in_queue = Counter(message["event_name"] for message in queue)
    redriven = in_queue.pop("with.schema", 0)  # that no worker has published: each one of them was refused before
    assert router["durable_routed"] + router["broadcast_routed"] == len(queue) - redriven
    metrics = one.metrics()
    for name, value in router.items():
        sample = {"total_routed": "router_routed_total"}.get(name, f"router_{name}_total")
        assert sum(metrics[sample].values()) == value
    counted: Counter[str] = Counter()
    for labels, value in metrics["tasker_domain_events_published_total"].items():
        if dict(labels)["delivery_mode"] != "fast":
            counted[dict(labels)["event_name"]] += int(value)
    assert +counted == in_queue
    assert sum(metrics["tasker_domain_events_failed_total"].values()) == router["routing_errors"]
    assert sum(metrics["tasker_domain_events_refusals_total"].values()) == router["routing_errors"]
    durations = metrics["tasker_domain_events_publish_duration_milliseconds_count"]
    assert sum(durations.values()) == router["total_routed"]
