"""What becomes of a dead worker's steps and counts (DESIGN 3 rules 3 and 4, SPEC 2.1 and 3)."""

from __future__ import annotations

import asyncio
from functools import partial

import orjson
import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.exporting import log_lines
from support.flow import Flow, Worker
from support.leases import AGAIN, MIB, SHOP, event, finish, returned

from tasker_actors.delivery.committer import WorkerFencedError
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import (
    WorkerState,
    fence,
    heartbeat,
    local_workers,
    stale_workers,
    worker_started,
)
from tasker_actors.stats.counters import CommittedCount
from tasker_actors.steps.claimer import Beginning
from tasker_actors.supervision import settled_lease
from tasker_actors.supervision.settled_spans import ended_spans
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.span_ids import task_span_id
from tasker_actors.telemetry.trace_context import TraceContext, current_correlation_id
from tasker_actors.workflow.outcome import StepSuccess

ONCE = {"max_attempts": 1}
LETTERS = f"{SHOP}_domain_events_dlq"
OWN, ANOTHER = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def settle(flow: Flow, worker: Worker, running, publishers=None):
    return flow.settlement(publishers).settle(worker.worker_id, running=running, reason="SIGKILL")


def the_step(flow: Flow, task_uuid: str):
    (row,) = flow.steps(task_uuid).values()
    return row


# Rule 3: token and attempt are two things


def test_what_had_not_begun_goes_back_uncounted_and_unsuspected(flow: Flow):
    rows = flow.create(flow.register({"only": []}), count=3)
    worker = Worker(flow)
    worker.claim()

    settle(flow, worker, running=())

    for row in rows:
        step = the_step(flow, row.task_uuid)
        assert (step["state"], step["attempts"], step["suspect"], step["token"]) == ("enqueued", 0, False, None)
        assert flow.attempts(row.task_uuid) == []
    assert [step.attempt for step in Worker(flow).claim()] == [1, 1, 1]


@pytest.mark.parametrize("have_begun", [False, True])
def test_steps_that_are_given_back_come_before_the_others_of_their_request(flow: Flow, have_begun: bool):
    """Tasks of one request are equally old; without a place before them a killed worker's steps wait for all."""
    flow.create(flow.register({"only": []}), count=300)
    first, dead = Worker(flow), Worker(flow)
    first.claim(100)
    held = dead.claim(8)

    settle(flow, dead, running={step.token for step in held} if have_begun else ())

    again = Worker(flow).claim(8)
    assert {step.task.task_uuid for step in again} == {step.task.task_uuid for step in held}


def test_a_step_that_ran_alone_is_charged(flow: Flow):
    alone, waiting = (flow.create(flow.register({"only": []}))[0].task_uuid for _ in range(2))
    worker = Worker(flow)
    tokens = {step.task.task_uuid: step.token for step in worker.claim()}

    settle(flow, worker, running={tokens[alone]})

    assert flow.attempts(alone) == [(1, 1, "waiting_for_retry")]
    step = the_step(flow, alone)
    assert (step["state"], step["attempts"], step["suspect"]) == ("waiting_for_retry", 1, True)
    assert step["error"]["error_type"] == "worker_lost"
    assert (step["run_at"] - step["updated_at"]).total_seconds() == 1
    assert the_step(flow, waiting)["state"] == "enqueued"


def test_steps_that_ran_beside_each_other_are_suspects_and_none_is_charged(flow: Flow):
    rows = flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)

    settle(flow, worker, running={step.token for step in worker.claim()})

    for row in rows:
        step = the_step(flow, row.task_uuid)
        assert (step["state"], step["attempts"], step["suspect"]) == ("enqueued", 0, True)
        assert flow.attempts(row.task_uuid) == [(1, 1, "lost")]
    assert [(step.attempt, step.suspect) for step in Worker(flow).claim()] == [(1, True), (1, True)]


def test_only_the_step_that_kills_is_charged_for_it(flow: Flow):
    registered = flow.register({"only": []}, retry={"backoff": "none", "max_attempts": 2})
    poison = flow.create(registered)[0].task_uuid
    innocent = {row.task_uuid for row in flow.create(registered, count=7)}
    deaths = 0
    while any(row["state"] != "error" for row in flow.steps(poison).values()):
        worker = Worker(flow)
        steps = worker.claim()
        suspects = [step for step in steps if step.suspect][:1]  # StepSource runs each of them alone
        running = suspects or steps
        if any(step.task.task_uuid == poison for step in running):
            settle(flow, worker, running={step.token for step in running})
            deaths += 1
        else:
            worker.commit(*(finish(step) for step in running))
            settle(flow, worker, running=())

    assert deaths <= 4
    assert [outcome for _, _, outcome in flow.attempts(poison) if outcome != "lost"] == ["waiting_for_retry", "error"]
    Worker(flow).run()
    assert {flow.task(uuid)["status"] for uuid in innocent} == {"complete"}
    assert {outcome for uuid in innocent for *_, outcome in flow.attempts(uuid)} == {"lost", "complete"}


def test_a_suspect_that_ran_to_its_end_is_no_suspect_any_more(flow: Flow):
    (row, _) = flow.create(flow.register({"only": []}, retry={"backoff": "none"}), count=2)
    worker = Worker(flow)
    settle(flow, worker, running={step.token for step in worker.claim()})
    other = Worker(flow)
    other.commit(*(finish(step, AGAIN) for step in other.claim()))

    assert the_step(flow, row.task_uuid)["suspect"] is False


def test_where_nobody_saw_what_had_begun_it_goes_back_and_the_second_time_as_a_suspect(flow: Flow):
    rows = flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)
    worker.claim()

    settle(flow, worker, running=None)
    assert [the_step(flow, row.task_uuid)["suspect"] for row in rows] == [False, False]
    again = Worker(flow)
    again.claim(1)
    settle(flow, again, running=None)

    assert sorted(the_step(flow, row.task_uuid)["suspect"] for row in rows) == [False, True]
    assert {the_step(flow, row.task_uuid)["attempts"] for row in rows} == {0}


def test_a_suspect_that_began_is_charged_although_its_supervisor_died_with_it(flow: Flow):
    """Container and all: every death charges the one that was alone, and nobody who waited behind it."""
    rows = flow.create(flow.register({"only": []}, retry={"backoff": "none", "max_attempts": 2}), count=5)
    poison = rows[2].task_uuid
    charged: list[list[str]] = []
    while the_step(flow, poison)["state"] != "error":
        worker = Worker(flow)
        steps = sorted(worker.claim(), key=lambda step: (not step.suspect, step.task.task_uuid != poison))
        if steps[0].suspect:  # StepSource lets one begin when nothing else runs
            assert worker.claimer.begin_alone(steps[0]) == Beginning.BEGUN
        settle(flow, worker, running=None)
        charged.append([row.task_uuid for row in rows if the_step(flow, row.task_uuid)["attempts"]])

    assert charged == [[], [], [poison], [poison]]
    assert flow.attempts(poison) == [(1, 1, "lost"), (1, 1, "waiting_for_retry"), (1, 2, "error")]
    Worker(flow).run()
    assert {flow.task(row.task_uuid)["status"] for row in rows if row.task_uuid != poison} == {"complete"}


def test_only_a_suspect_whose_lease_holds_can_begin(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    assert worker.claimer.begin_alone(step) == Beginning.BEGUN
    flow.cancel(row.task_uuid)

    assert worker.claimer.begin_alone(step) == Beginning.LOST
    worker.claims.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.claims, "_connect", refuse)
        assert worker.claimer.begin_alone(step) == Beginning.LATER


def test_a_suspect_that_may_have_ended_a_supervisor_runs_alone_in_one(flow: Flow):
    flow.create(flow.register({"only": []}, retry={"backoff": "none"}), count=3)
    for _ in range(2):
        before = Worker(flow)
        before.claim()
        settle(flow, before, running=None)
    one, other, elsewhere = Worker(flow), Worker(flow), Worker(flow)
    flow.rows(
        "UPDATE tasker.workers SET supervisor_id = %s WHERE worker_id = ANY (%s) RETURNING 1",
        "00000000-0000-0000-0000-000000000000",
        [one.worker_id, other.worker_id],
    )
    (first,), (second,), (third,) = one.claim(1), other.claim(1), elsewhere.claim(1)

    assert one.claimer.begin_alone(first) == Beginning.BEGUN
    assert other.claimer.begin_alone(second) == Beginning.LATER
    assert elsewhere.claimer.begin_alone(third) == Beginning.BEGUN
    flow.rows("UPDATE tasker.steps SET unseen = false WHERE token = %s RETURNING 1", second.token)
    assert other.claimer.begin_alone(second) == Beginning.LATER  # it saw nothing, but the first may end it
    one.commit(finish(first))
    assert other.claimer.begin_alone(second) == Beginning.BEGUN


def test_what_a_suspect_noted_under_one_lease_says_nothing_of_the_next(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    assert worker.claimer.begin_alone(step) == Beginning.BEGUN
    worker.commit(returned(step))
    flow.rows("UPDATE tasker.steps SET suspect = true RETURNING 1")
    other = Worker(flow)
    other.claim()

    settle(flow, other, running=None)

    assert (the_step(flow, row.task_uuid)["attempts"], flow.attempts(row.task_uuid)) == (0, [])


# SPEC 2.1: the last attempt was lost


def test_a_lost_last_attempt_fails_the_step_and_publishes_its_events(flow: Flow):
    declared = [
        event("a.failed", condition="permanent_failure"),
        event("a.always", "broadcast"),
        event("a.fast", "fast"),
        event("a.done", condition="success"),
    ]
    (row,) = flow.create(flow.register({"only": [], "below": ["only"]}, retry=ONCE, publishes_events=declared))
    worker = Worker(flow)
    (step,) = worker.claim()

    counts = settle(flow, worker, running={step.token}).committed

    assert flow.states(row.task_uuid) == {"only": "error", "below": "pending"}
    assert flow.task(row.task_uuid)["status"] == "error"
    messages = [one["message"] for one in flow.queue()]
    assert [message["event_name"] for message in messages] == ["a.failed", "a.always"]
    assert {message["payload"]["error_type"] for message in messages} == {"worker_lost"}
    assert {message["execution"]["status"] for message in messages} == {"error"}
    assert sorted(counts) == [
        CommittedCount(SHOP, "a.always", "broadcast", "default", 1, 0),
        CommittedCount(SHOP, "a.failed", "durable", "default", 1, 0),
    ]


def test_a_lost_attempt_that_is_tried_again_publishes_nothing(flow: Flow):
    flow.create(flow.register({"only": []}, publishes_events=[event(condition="always")]))
    worker = Worker(flow)
    (step,) = worker.claim()

    assert settle(flow, worker, running={step.token}).committed == ()
    assert flow.queue() == []


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
def test_a_publisher_that_fails_costs_its_event_and_not_the_settlement(flow: Flow, error: type[BaseException]):
    class Broken(BasePublisher):
        publisher_name = "broken"

        def transform_payload(self, context):
            raise error("no")

    declared = [{**event("a.broken"), "publisher": "broken"}, event("a.fine")]
    (row,) = flow.create(flow.register({"only": []}, retry=ONCE, publishes_events=declared))
    worker = Worker(flow)
    (step,) = worker.claim()

    settle(flow, worker, running={step.token}, publishers={"broken": Broken()})

    assert flow.states(row.task_uuid) == {"only": "error"}
    assert [one["message"]["event_name"] for one in flow.queue()] == ["a.fine"]
    assert [one["message"]["event"]["event_name"] for one in flow.queue(LETTERS)] == ["a.broken"]


def test_a_missing_queue_does_not_keep_a_dead_workers_steps(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, retry=ONCE, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.pool.connection() as connection:
        connection.execute("SELECT pgmq.drop_queue(%s)", [f"{SHOP}_domain_events"])

    settle(flow, worker, running={step.token})

    assert flow.states(row.task_uuid) == {"only": "error"}
    assert [one["message"]["event_name"] for one in flow.queue()] == ["step.done"]


@pytest.mark.parametrize("broken", ["the queue", "both queues"])
def test_an_event_that_postgresql_refuses_keeps_no_lease_of_a_dead_worker(
    flow: Flow, broken: str, monkeypatch: pytest.MonkeyPatch
):
    """Rule 7: the bad event pays with its place in the queue, nobody with a step."""
    registered = flow.register({"only": []}, retry={"max_attempts": 1}, publishes_events=[event(condition="failure")])
    rows = flow.create(registered, count=4)
    worker = Worker(flow)
    tokens = {step.task.task_uuid: step.token for step in worker.claim()}
    flow.rows("UPDATE tasker.steps SET suspect = true WHERE task_uuid = %s RETURNING 1", rows[1].task_uuid)
    queues = [f"{SHOP}_domain_events", LETTERS][: 1 if broken == "the queue" else 2]
    with flow.pool.connection() as connection:
        for queue in queues:
            connection.execute(f"ALTER TABLE pgmq.q_{queue} ADD CHECK (message IS NULL) NOT VALID")

    with log_lines() as lines:
        monkeypatch.setattr(settled_lease, "logger", get_logger("tests"))  # its own keeps the stream of its first line
        settled = settle(flow, worker, running={tokens[row.task_uuid] for row in rows[1:]})

    ids = {line["correlation_id"] for line in lines.lines("tests")}
    assert ids == {rows[1].correlation_id}
    states = [the_step(flow, row.task_uuid)["state"] for row in rows]
    assert states == ["enqueued", "error", "enqueued", "enqueued"]
    assert flow.task(rows[1].task_uuid)["status"] == "error"
    assert flow.queue() == []
    letters = [one["message"]["reason"]["code"] for one in flow.queue(LETTERS)]
    failed = 1 if broken == "the queue" else 0
    assert letters == ["refused_by_database"] * failed
    assert [(one.published, one.failed) for one in settled.committed] == [(0, 1)] * failed
    assert len(settled.failures) == 3  # an execution, a failure, a task


def test_a_queue_that_cannot_be_made_keeps_no_lease_of_a_dead_worker(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, retry=ONCE, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    with flow.pool.connection() as connection:  # a view stands where the queue's table would have to be made
        connection.execute(f"ALTER TABLE pgmq.q_{SHOP}_domain_events RENAME TO away")
        connection.execute(f"CREATE VIEW pgmq.q_{SHOP}_domain_events AS SELECT 1 AS one")
    settle(flow, worker, running={step.token})
    with flow.pool.connection() as connection:
        connection.execute(f"DROP VIEW pgmq.q_{SHOP}_domain_events")
        connection.execute(f"ALTER TABLE pgmq.away RENAME TO q_{SHOP}_domain_events")

    assert flow.states(row.task_uuid) == {"only": "error"}
    assert len(flow.queue(LETTERS)) == 1


def test_hundreds_of_leases_of_tasks_with_large_contexts_are_settled(flow: Flow):
    """Their contexts together are more than one value of PostgreSQL can be: only those that are needed are read."""
    large = orjson.dumps({"text": "x" * (2 * MIB)})
    rows = flow.create(flow.register({f"leaf{n}": [] for n in range(100)}, retry=ONCE), count=6, context=large)
    worker = Worker(flow)
    while worker.claim(100, max_bytes=200 * MIB):
        continue

    settle(flow, worker, running=())

    assert flow.rows("SELECT DISTINCT state FROM tasker.steps") == [{"state": "enqueued"}]
    assert len(rows) == 6


def test_the_hooks_of_a_lost_steps_publisher_get_the_context_of_its_task(flow: Flow):
    class Telling(BasePublisher):
        publisher_name = "telling"

        def transform_payload(self, context):
            return {**context.input_data, "said_under": current_correlation_id()}

    declared = [{**event("a.told"), "publisher": "telling"}]
    flow.create(flow.register({"only": []}, retry=ONCE, publishes_events=declared), context=b'{"amount": 7}')
    worker = Worker(flow)
    (step,) = worker.claim()

    settle(flow, worker, running={step.token}, publishers={"telling": Telling()})

    (payload,) = [one["message"]["payload"] for one in flow.queue()]
    assert (payload["amount"], payload["said_under"]) == (7, step.correlation_id)


# Rule 4: a dead worker's session may still act


def test_a_settled_worker_can_neither_claim_nor_commit(flow: Flow):
    (first, second) = flow.create(flow.register({"only": []}), count=2)
    worker = Worker(flow)
    (step,) = worker.claim(1)
    settle(flow, worker, running=())

    with pytest.raises(WorkerFencedError):
        worker.commit(finish(step))
    with pytest.raises(WorkerFencedError):
        worker.claim()
    assert {the_step(flow, row.task_uuid)["state"] for row in (first, second)} == {"enqueued"}


def test_settling_returns_all_that_the_worker_has_committed(flow: Flow):
    flow.create(flow.register({"only": []}, publishes_events=[event(), event("b.both", "broadcast")]), count=3)
    worker = Worker(flow)
    big = {"text": "x" * (MIB + 1)}
    first, second, _ = worker.claim()
    worker.commit(finish(first))
    worker.commit(finish(second, StepSuccess(big)))

    assert sorted(settle(flow, worker, running=()).committed) == [
        CommittedCount(SHOP, "b.both", "broadcast", "default", 1, 1),
        CommittedCount(SHOP, "step.done", "durable", "default", 1, 1),
    ]


def test_settling_twice_changes_nothing_and_gives_the_same_counts(flow: Flow):
    (row,) = flow.create(flow.register({"only": []}, retry=ONCE, publishes_events=[event()]))
    worker = Worker(flow)
    (step,) = worker.claim()
    first = settle(flow, worker, running={step.token}).committed
    before = (flow.steps(row.task_uuid), flow.attempts(row.task_uuid), flow.queue())

    assert settle(flow, worker, running={step.token}).committed == first
    assert (flow.steps(row.task_uuid), flow.attempts(row.task_uuid), flow.queue()) == before


def test_a_settlement_that_fails_halfway_leaves_the_worker_alive(flow: Flow):
    flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    with session(flow.pool) as connection, connection.transaction(force_rollback=True):
        fence(connection, worker.worker_id, "test")

    assert worker.commit(finish(step)).won == {step.token}


def test_a_fenced_worker_is_no_longer_listed_and_cannot_come_back_with_a_heartbeat(flow: Flow):
    worker = Worker(flow)
    settle(flow, worker, running=())
    with session(flow.pool) as connection:
        heartbeat(connection, [WorkerState(worker.worker_id, "running", 3)])

        assert local_workers(connection, "testhost") == []
        assert stale_workers(connection, supervisor_id=ANOTHER, stale_ms=0, grace_ms=0) == []
    (row,) = flow.rows("SELECT alive, state, last_reason, in_flight FROM tasker.workers")
    assert row == {"alive": False, "state": "dead", "last_reason": "SIGKILL", "in_flight": 0}


def test_a_worker_is_stale_by_the_servers_clock_only(flow: Flow):
    quiet, lively = Worker(flow), Worker(flow)
    with session(flow.pool) as connection:
        connection.execute("UPDATE tasker.workers SET heartbeat_at = heartbeat_at - interval '1 minute'")
        heartbeat(connection, [WorkerState(lively.worker_id, "running", 0)])

        stale = partial(stale_workers, connection, supervisor_id=ANOTHER, stale_ms=30_000)
        assert stale(grace_ms=0) == [quiet.worker_id]
        assert stale(grace_ms=86_400_000) == []


def test_a_supervisor_does_not_take_its_own_process_for_dead_because_a_row_is_old(flow: Flow):
    """Its heartbeats may have been held up while its maintenance was not; it watches its processes itself."""
    running, never_started = Worker(flow), Worker(flow)
    with session(flow.pool) as connection:
        worker_started(connection, running.worker_id, pid=1, process_start=0.0)
        rows = connection.execute(
            "UPDATE tasker.workers SET heartbeat_at = heartbeat_at - interval '1 minute', supervisor_id = %s"
            " RETURNING worker_id",
            [OWN],
        ).fetchall()
        assert len(rows) == 2

        assert stale_workers(connection, supervisor_id=OWN, stale_ms=30_000, grace_ms=0) == [never_started.worker_id]
        stale = stale_workers(connection, supervisor_id=ANOTHER, stale_ms=30_000, grace_ms=0)
        assert set(stale) == {running.worker_id, never_started.worker_id}


# SPEC 4.2: what the supervisor brings to an end, it traces


def test_a_lost_attempt_is_traced_and_ends_the_span_of_the_task_that_it_fails(flow: Flow):
    registered = flow.register({"only": []}, retry=ONCE, publishes_events=[event("a.failed", condition="failure")])
    caller = TraceContext("ab" * 16, "cd" * 8, 1)
    (row,) = flow.create(registered, traceparent=caller.traceparent)
    worker = Worker(flow)
    (step,) = worker.claim()

    settle(flow, worker, running={step.token})

    (batch,) = flow.traced
    assert batch.count == len(batch.encode())
    spans = {span.name: span for span in map(Span.FromString, batch.encode())}
    assert set(spans) == {
        "task_execution", "step_execution", "publish_domain_event", "route_event", "publish_durable", "record_metrics",
    }  # fmt: skip
    task, attempt = spans["task_execution"], spans["step_execution"]
    assert (task.span_id.hex(), task.parent_span_id.hex()) == (task_span_id(row.task_uuid), caller.span_id)
    assert attempt.parent_span_id == task.span_id
    assert [span.status.code for span in (task, attempt)] == [Status.STATUS_CODE_ERROR] * 2
    (place,) = flow.rows("SELECT slot FROM tasker.workers")
    slots = [one.value.int_value for one in attempt.attributes if one.key == "worker.slot"]
    assert slots == [place["slot"]]
    (queued,) = flow.rows("SELECT headers FROM pgmq.q_shop_domain_events")
    assert queued["headers"]["traceparent"].split("-")[2] == spans["publish_durable"].span_id.hex()


def test_a_step_that_had_not_begun_is_not_traced(flow: Flow):
    flow.create(flow.register({"only": []}), traceparent=TraceContext("ab" * 16, "cd" * 8, 1).traceparent)
    worker = Worker(flow)
    worker.claim()

    settle(flow, worker, running=())

    assert [batch.encode() for batch in flow.traced] == [[]]


def test_a_cancelled_task_ends_its_span(flow: Flow):
    registered = flow.register({"only": []})
    sampled, other = (
        flow.create(registered, traceparent=TraceContext("ab" * 16, "cd" * 8, flags).traceparent)[0] for flags in (1, 0)
    )
    spans = ended_spans(flow.cancel(sampled.task_uuid), "cancelled")
    assert spans is not None
    (span,) = map(Span.FromString, spans.encode())
    assert (span.name, span.span_id.hex(), span.parent_span_id.hex()) == (
        "task_execution",
        task_span_id(sampled.task_uuid),
        "cd" * 8,
    )
    assert ended_spans(flow.cancel(other.task_uuid), "cancelled") is None


def refuse() -> psycopg.Connection:
    raise psycopg.OperationalError("connection refused")
