"""Events and dead letters in the commit of their result: all or nothing, in order, counted exactly (SPEC 2, 3)."""

from __future__ import annotations

import psycopg
import pytest
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, DONE, MIB, NEVER, SHOP, event, finish, publication

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.facts import CodeEvent
from tasker_actors.postgres.connect import connect
from tasker_actors.telemetry.trace_context import parse_traceparent
from tasker_actors.workflow.outcome import StepSuccess

EVENTS = f"{SHOP}_domain_events"
LETTERS = f"{SHOP}_domain_events_dlq"
TOO_LARGE = StepSuccess({"text": "x" * (MIB + 1)})


def names(messages):
    return [message["message"]["event_name"] for message in messages]


def stored(flow: Flow):
    """What a commit writes, as another session sees it."""
    steps = flow.rows("SELECT state, attempts FROM tasker.steps ORDER BY task_uuid, position")
    tasks = flow.rows("SELECT status, open_steps FROM tasker.tasks ORDER BY task_uuid")
    counts = flow.rows("SELECT published, failed FROM tasker.worker_counts")
    attempts = flow.rows("SELECT outcome FROM tasker.step_attempts")
    return steps, tasks, counts, attempts, flow.queue(EVENTS), flow.queue(LETTERS)


# G1: together or not at all


def test_result_events_counts_and_successors_become_visible_in_one_moment(flow: Flow):
    flow.create(flow.register(CHAIN, publishes_events=[event()]))
    worker = Worker(flow)
    batch = worker.batch(finish(worker.claim()[0])).decode()
    before = stored(flow)
    with connect(flow.url, application_name="tests", autocommit=False) as connection:
        connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [batch])
        assert stored(flow) == before
        connection.commit()

    steps, tasks, counts, attempts, events, _ = stored(flow)
    assert [step["state"] for step in steps] == ["complete", "enqueued", "pending"]
    assert tasks == [{"status": "in_progress", "open_steps": 2}]
    assert (counts, attempts, names(events)) == (
        [{"published": 1, "failed": 0}],
        [{"outcome": "complete"}],
        ["step.done"],
    )


@pytest.mark.parametrize("queue", [EVENTS, LETTERS])
def test_where_an_event_cannot_be_stored_nothing_is(flow: Flow, queue: str):
    flow.create(flow.register(CHAIN, publishes_events=[event(), event("step.big")]))
    worker = Worker(flow)
    (step,) = worker.claim()
    code_events = [CodeEvent("too.big", "x" * (MIB + 1), DeliveryMode.DURABLE)]
    batch = worker.batch(finish(step, DONE, code_events=code_events)).decode()
    with connect(flow.url, application_name="tests") as connection:
        connection.execute(f"ALTER TABLE pgmq.q_{queue} RENAME TO away")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT tasker.commit_batch_v1(%s::jsonb)", [batch])
        connection.execute(f"ALTER TABLE pgmq.away RENAME TO q_{queue}")

    steps, _, counts, attempts, events, letters = stored(flow)
    assert [step["state"] for step in steps] == ["in_progress", "pending", "pending"]
    assert (counts, attempts, events, letters) == ([], [], [], [])


def test_a_missing_queue_is_made_again_and_the_commit_goes_through(flow: Flow):
    flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.pool.connection() as connection:
        connection.execute("SELECT pgmq.drop_queue(%s)", [EVENTS])

    assert worker.commit(finish(step)).won == {step.token}
    assert names(flow.queue()) == ["step.done"]


# Which events, where, in which order


def test_fast_events_leave_no_trace_in_the_database(flow: Flow):
    declared = [event("a.durable"), event("a.fast", "fast"), event("a.broadcast", "broadcast")]
    flow.create(flow.register({"only": []}, publishes_events=declared))
    worker = Worker(flow)
    worker.run()

    assert names(flow.queue()) == ["a.durable", "a.broadcast"]
    assert flow.counts(worker.worker_id) == {("a.durable", "durable"): (1, 0), ("a.broadcast", "broadcast"): (1, 0)}


def test_each_attempt_publishes_what_its_outcome_calls_for(flow: Flow):
    declared = [event(f"on.{when}", condition=when) for when in ("success", "failure", "permanent_failure")]
    flow.create(flow.register({"only": []}, publishes_events=declared, retry={"backoff": "none"}))
    worker = Worker(flow)
    for outcome in (AGAIN, NEVER):
        worker.commit(finish(worker.claim()[0], outcome))

    published = [(one["message"]["event_name"], one["message"]["execution"]["attempt"]) for one in flow.queue()]
    assert published == [("on.failure", 1), ("on.failure", 2), ("on.permanent_failure", 2)]


def test_events_of_a_step_keep_their_order_and_a_predecessors_come_before_its_successors(flow: Flow):
    declared = [event("b.first"), event("a.second")]
    rows = flow.create(flow.register(CHAIN, publishes_events=declared), count=5)
    workers = [Worker(flow), Worker(flow)]
    turn = 0
    while steps := workers[turn % 2].claim(3):
        code = [CodeEvent("z.code", step.plan.name, DeliveryMode.DURABLE) for step in steps]
        workers[turn % 2].commit(*(finish(step, code_events=[one]) for step, one in zip(steps, code, strict=True)))
        turn += 1

    order = [
        (one["message"]["metadata"]["step_name"], one["message"]["event_name"])
        for row in rows
        for one in flow.queue()
        if one["message"]["metadata"]["task_uuid"] == row.task_uuid
    ]
    expected = [(step, name) for step in CHAIN for name in ("b.first", "a.second", "z.code")]
    assert order == expected * len(rows)


def test_a_durable_message_carries_what_a_reader_needs_to_go_on_with_the_trace(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    Worker(flow).run()

    (sent,) = flow.queue()
    trace = parse_traceparent(sent["headers"].pop("traceparent"))
    assert sent["headers"] == {
        "correlation_id": row.correlation_id,
        "event_id": sent["message"]["event_id"],
        "event_name": "step.done",
        "content_type": "application/json",
    }
    root = parse_traceparent(row.traceparent)
    assert trace is not None
    assert root is not None
    assert (trace.trace_id, trace.span_id != root.span_id) == (root.trace_id, True)


def test_every_namespace_of_a_batch_gets_its_own_events(flow: Flow):
    for namespace in (SHOP, "cafe"):
        flow.create(flow.register({"only": []}, namespace=namespace, publishes_events=[event(f"{namespace}.done")]))
    Worker(flow, namespaces=(SHOP, "cafe")).run()

    assert names(flow.queue(EVENTS)) == ["shop.done"]
    assert names(flow.queue("cafe_domain_events")) == ["cafe.done"]


# Dead letters


def test_an_event_that_cannot_be_published_is_a_dead_letter_and_the_step_is_complete(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event(), event("also.big", "broadcast")]))
    worker = Worker(flow)
    (step,) = worker.claim()
    fine = [CodeEvent("fine.one", 1, DeliveryMode.DURABLE)]

    worker.commit(finish(step, TOO_LARGE, code_events=fine))

    assert flow.states(row.task_uuid) == {"only": "complete"}
    assert names(flow.queue(EVENTS)) == ["fine.one"]
    letters = [one["message"] for one in flow.queue(LETTERS)]
    assert [letter["event"]["event_name"] for letter in letters] == ["step.done", "also.big"]
    assert {letter["reason"]["code"] for letter in letters} == {"too_large"}
    assert all("payload" not in letter["event"] and len(letter["payload_repr"]) <= 4096 for letter in letters)
    assert flow.counts(worker.worker_id) == {
        ("step.done", "durable"): (0, 1),
        ("also.big", "broadcast"): (0, 1),
        ("fine.one", "durable"): (1, 0),
    }


# Events from outside a step


def test_events_from_outside_a_step_are_committed_beside_results(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()

    worker.commit(publication({"n": 1}), finish(step), publication("x" * (MIB + 1)), publication({"n": 2}))

    assert flow.states(row.task_uuid) == {"only": "complete"}
    assert sorted(names(flow.queue())) == ["ops.noted", "ops.noted", "step.done"]
    assert [one["message"]["event"]["event_name"] for one in flow.queue(LETTERS)] == ["ops.noted"]
    assert flow.counts(worker.worker_id) == {("ops.noted", "durable"): (2, 1), ("step.done", "durable"): (1, 0)}


def test_a_batch_of_nothing_but_outside_events_needs_no_steps(flow: Flow):
    flow.register({"only": []})
    worker = Worker(flow)

    reply = worker.commit(publication(1), publication(2))

    assert (reply.won, reply.finished_tasks, reply.released) == (frozenset(), {}, 0)
    assert [one["message"]["payload"] for one in flow.queue()] == [1, 2]


# SPEC 3: what is committed is counted in the commit


def test_the_counts_of_a_worker_are_exactly_what_its_commits_put_into_the_queues(flow: Flow):
    declared = [event("a.always"), event("a.success", "broadcast", "success"), event("a.failure", condition="failure")]
    flow.create(flow.register(CHAIN, publishes_events=declared, retry={"backoff": "none"}), count=6)
    worker = Worker(flow)
    outcomes = [DONE, AGAIN, NEVER, TOO_LARGE]
    turn = 0
    while steps := worker.claim():
        worker.commit(*(finish(step, outcomes[(turn + n) % 4]) for n, step in enumerate(steps)))
        turn += 1

    counts = flow.counts(worker.worker_id)
    published = names(flow.queue(EVENTS))
    failed = [one["message"]["event"]["event_name"] for one in flow.queue(LETTERS)]
    assert {name: (published.count(name), failed.count(name)) for name in {*published, *failed}} == {
        name: figures for (name, _), figures in counts.items()
    }
    assert {"a.always", "a.success"} <= set(failed)
